"""The parts of the group's page: text, pictures and figures."""

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bids_recon.dataset.descriptions import read_description
from bids_recon.evaluation.published import published_beside
from bids_recon.reports import group_figures
from bids_recon.reports.citations import citations
from bids_recon.reports.fragments import (
    bullet_list,
    headline,
    metric_words,
    number,
    paragraph,
)
from bids_recon.reports.fragments import table as html_table
from bids_recon.reports.verdict import EXPLAINED
from bids_recon.settings import Settings
from bids_recon.stages.report.group_level.answers import (
    answers,
    others_words,
    people,
    what_it_is,
)
from bids_recon.stages.report.group_level.learning import learning_figures
from bids_recon.stages.report.group_level.pictures import (
    participant_link,
    picture_grid,
    seen_files,
)
from bids_recon.stages.report.group_level.reading import Reading
from bids_recon.stages.report.group_level.rows import Block, by_share, what_differs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOW_SURE = (
    "Is better than: the 95 % interval of the paired difference leaves 0 out. Cannot "
    "be told from: it does not, whatever the means are. Resamplings are draws of "
    "participants and images; of few participants they are too sure, so that the "
    "interval counts where the two disagree."
)

MOST_PAIRS = 12
"""Of more differences than these, those of the best alone are drawn."""

Writer = Callable[[Path], object]


def page_parts(
    settings: Settings,
    folder: Path,
    blocks: list[Block],
    tables: Mapping[str, pd.DataFrame],
    reading: Reading,
) -> dict[Path, Writer]:
    """Return all parts of the page, and what writes each."""
    output_dir = settings.output_dir
    parts: dict[Path, Writer] = {}

    def html(desc: str, text: str) -> None:
        path = folder / f"desc-{desc}_about.html"
        parts[path] = lambda part: part.write_text(text, "utf-8")

    lines = [*reading.problems.values(), *_without_scores(output_dir, blocks, settings)]
    if lines:
        html("problems", bullet_list(lines, "failed"))
    # Of several shares of the training pictures, the largest is shown in full.
    main = [shares[-1] for shares in by_share(blocks)]
    html("answers", _answers(main, tables))
    grids = ""
    for block in main:
        seen = seen_files(settings, block, folder)
        parts |= dict(seen.values())
        copies = {name: copy for name, (copy, _) in seen.items()}
        grids += _title(block, main) + picture_grid(block, copies, output_dir)
    html("pictures", grids)
    for name, text, figures in (
        ("differences", *_difference_figures(main, tables["group_differences"])),
        ("scores", *_score_figures(main, tables["group_scores"])),
        ("ranks", *_rank_figures(main, tables["group_ranks"])),
        ("learning", *learning_figures(blocks, tables["group_scores"])),
    ):
        if text or name != "learning":
            html(name, text)
        for label, figure in figures.items():
            for kind in ("svg", "pdf"):
                path = folder / f"desc-{name}{label}_group.{kind}"
                parts[path] = group_figures.writer(figure, kind)
    text = _published(settings, main, tables["group_scores"])
    if text:
        html("published", text)
    html("table", _whole_table(tables["group_scores"]))
    html("read", _participants(output_dir, blocks))
    html("cite", f"<pre>{escape(citations(reading.cited)[0])}</pre>")
    return parts


def _without_scores(
    output_dir: Path, blocks: list[Block], settings: Settings
) -> list[str]:
    known = {subject for block in blocks for subject in block.subjects}
    wanted = {label.removeprefix("sub-") for label in settings.participant_label}
    names = [path.stem for path in sorted(output_dir.glob("sub-*.html"))]
    return [
        f"{name} has a page but no scores; see there why."
        for name in names
        if (label := name.removeprefix("sub-")) not in known
        and (not wanted or label in wanted)
    ]


def _title(block: Block, blocks: list[Block]) -> str:
    return f"<h3>Table {block.name}</h3>" if len(blocks) > 1 else ""


def _answers(blocks: list[Block], tables: Mapping[str, pd.DataFrame]) -> str:
    text = ""
    for block in blocks:
        said = answers(
            block,
            *(
                tables[name]
                for name in ("group_scores", "group_differences", "group_ranks")
            ),
        )
        text += _title(block, blocks) + paragraph(what_it_is(block))
        for question, sentences in said.items():
            if sentences:
                text += f"<h3>{escape(question)}</h3>" + bullet_list(sentences)
                if question == next(iter(said)):
                    metric = headline(block.metrics)
                    note = f"{EXPLAINED.get(metric, '')} {HOW_SURE}"
                    text += paragraph(note, "caption")
        others = others_words(block)
        text += bullet_list(others, "warning") if others else ""
    apart = what_differs(blocks)
    return text + (bullet_list(apart, "warning") if apart else "")


def _score_figures(
    blocks: list[Block], table: pd.DataFrame
) -> tuple[str, dict[str, "Figure"]]:
    text, figures = "", {}
    for block in blocks:
        text += _title(block, blocks)
        for index, metric in enumerate(block.metrics):
            rows = table[(table["table"] == block.name) & (table["metric"] == metric)]
            if rows.empty:
                continue
            words, better = metric_words(metric)
            people = pd.DataFrame(
                [
                    (
                        *(entry.recipe, entry.roi),
                        entry.pictures[metric].mean(),
                        f"sub-{entry.subject}.html",
                    )
                    for entry in block.entries
                    if metric in entry.pictures
                ],
                columns=["recipe", "roi", "value", "url"],
            )
            figure = group_figures.scores(rows, people, words)
            label = f"{block.name}{index:02d}{''.join(filter(str.isalnum, metric))}"
            figures[label] = figure
            text += f"<h3>{escape(words)} ({better} is better)</h3>"
            text += f'<div class="wide">{group_figures.inline(figure, label)}</div>'
    note = (
        "Diamonds: means with 95 % intervals; what they are taken over stands in the "
        "table below. Dots: participants, each a link to its page."
    )
    return paragraph(note, "caption") + text, figures


def _difference_figures(
    blocks: list[Block], table: pd.DataFrame
) -> tuple[str, dict[str, "Figure"]]:
    text, figures = "", {}
    for block in blocks:
        metric = headline(block.metrics)
        words, better = metric_words(metric)
        for kind, name in (("recipe", "Recipes"), ("roi", "Regions")):
            rows = table[
                (table["table"] == block.name)
                & (table["metric"] == metric)
                & (table["compared"] == kind)
            ]
            if rows.empty:
                continue
            rows = _few(rows, better)
            figure = group_figures.differences(rows, words)
            label = f"{block.name}{kind}"
            figures[label] = figure
            text += f"{_title(block, blocks)}<h3>{name}: {escape(words)} "
            text += f"({better} is better)</h3>"
            text += f'<div class="wide">{group_figures.inline(figure, label)}</div>'
    note = (
        "Differences are paired over the same test pictures. Dots: participants, with "
        "95 % intervals over pictures. Diamonds: the group, with 95 % intervals over "
        "participants and pictures. Of many pairs, those with the best are drawn; all "
        "pairs and metrics are in group_differences.tsv."
    )
    return (paragraph(note, "caption") + text if text else ""), figures


def _few(rows: pd.DataFrame, better: str) -> pd.DataFrame:
    """Keep the pairs with the best one of each kind, where there are too many pairs."""
    group = rows[rows["subject"] == "all"]
    if len(group) <= MOST_PAIRS:
        return rows
    kept = []
    for _, own in rows.groupby("within", sort=False):
        pairs = own[own["subject"] == "all"]
        sign = 1 if better == "higher" else -1
        gains = pd.concat(
            [
                pairs.set_index("a")["difference"] * sign,
                pairs.set_index("b")["difference"] * -sign,
            ]
        )
        best = gains.groupby(level=0).sum().idxmax()
        kept.append(own[(own["a"] == best) | (own["b"] == best)])
    return pd.concat(kept)


def _rank_figures(
    blocks: list[Block], table: pd.DataFrame
) -> tuple[str, dict[str, "Figure"]]:
    text, figures = "", {}
    for block in blocks:
        metric = headline(block.metrics)
        rows = table[(table["table"] == block.name) & (table["metric"] == metric)]
        if rows.empty:
            continue
        figure = group_figures.ranks(rows)
        figures[block.name] = figure
        text += f"{_title(block, blocks)}<h3>{escape(metric_words(metric)[0])}</h3>"
        text += f'<div class="wide">{group_figures.inline(figure, block.name)}</div>'
    note = (
        "Squares: ranks by the mean. Lines: the ranks of 95 % of the draws of one "
        "bootstrap over participants and pictures for all recipes."
    )
    return (paragraph(note, "caption") + text if text else ""), figures


def _published(settings: Settings, blocks: list[Block], scores: pd.DataFrame) -> str:
    """Return what papers report under the profile of each block, beside our scores."""
    name = str((read_description(settings.bids_dir) or {}).get("Name", ""))
    text = ""
    for block in blocks:
        profile = block.terms.profile.rpartition("-")[0]
        for table in published_beside(name, profile):
            own = scores[scores["table"] == block.name]
            rows = [
                (
                    f"{recipe}, {roi} (this run)",
                    *(
                        _value(dict(zip(part["metric"], part["mean"], strict=True)), m)
                        for m in block.metrics
                    ),
                )
                for (recipe, roi), part in own.groupby(["recipe", "roi"])
            ]
            rows += [
                (row.paper, *(_value(row.values, m) for m in block.metrics))
                for row in table.rows
            ]
            heads = [
                metric_words(m)[0] + (" ↑" if metric_words(m)[1] == "higher" else " ↓")
                for m in block.metrics
            ]
            note = (
                f"Published values are of {table.dataset}, participants "
                f"{table.participants}, {table.test_set}; from: {table.where}. This "
                f"run: {people(len(block.subjects))}, "
                f"{len(block.entries[0].pictures)} test pictures."
            )
            text += _title(block, blocks) + paragraph(note, "caption")
            text += (
                f'<div class="sortable">{html_table(("Method", *heads), rows)}</div>'
            )
    return text


def _value(values: Mapping[str, float], metric: str) -> str:
    return number(values[metric]) if metric in values else "n/a"


def _whole_table(scores: pd.DataFrame) -> str:
    by_set, shares = scores["set"].ne("all").any(), scores["train_fraction"].nunique()
    rows = [
        (
            *(row["table"], row["recipe"], row["roi"], row["profile"]),
            *([row["set"]] if by_set else []),
            *([f"{100 * row['train_fraction']:.10g} %"] if shares > 1 else []),
            f"{metric_words(row['metric'])[0]} "
            + ("↑" if row["better"] == "higher" else "↓"),
            number(row["mean"]),
            f"{number(row['ci_low'])} to {number(row['ci_high'])}",
            row["over"],
            *(number(row[name]) for name in ("chance", "floor", "ceiling")),
            "n/a"
            if pd.isna(row["n_significant"])
            else f"{row['n_significant']:.0f} of {row['n_participants']}",
        )
        for row in scores.to_dict("records")
    ]
    headers = (
        *("Table", "Recipe", "Regions", "Profile"),
        *(["Set"] if by_set else []),
        *(["Training pictures"] if shares > 1 else []),
        *("Metric", "Mean"),
        *("95 % interval", "Over", "Chance", "Mean picture", "Ceiling", "p < 0.05"),
    )
    return f'<div class="sortable">{html_table(headers, rows)}</div>'


def _participants(output_dir: Path, blocks: list[Block]) -> str:
    rows = ""
    for block in blocks:
        metric = headline(block.metrics)
        for entry in block.entries:
            if metric not in entry.pictures:
                continue
            cells = (
                participant_link(entry.subject, output_dir),
                escape(block.name),
                escape(entry.recipe),
                escape(entry.roi),
                escape(metric_words(metric)[0]),
                number(entry.pictures[metric].mean()),
                str(len(entry.pictures)),
            )
            rows += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    headers = (
        "Participant",
        "Table",
        "Recipe",
        "Regions",
        "Metric",
        "Mean",
        "Pictures",
    )
    head = "".join(f"<th>{name}</th>" for name in headers)
    return (
        '<div class="sortable"><div class="wide"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div></div>"
    )

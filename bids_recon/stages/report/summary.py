"""What a participant's page says first: the data, the main number, warnings."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

import pandas as pd

from bids_recon.dataset.derivatives import camel_case
from bids_recon.dataset.tables import read_table
from bids_recon.evaluation.group import ALPHA
from bids_recon.evaluation.scores import NUMBERS
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.reports.fragments import (
    bullet_list,
    headline,
    metric_words,
    number,
    pairs,
    paragraph,
)
from bids_recon.reports.verdict import EXPLAINED, Ahead, listed, verdict
from bids_recon.stages.generate.stage import made_by, recon_files
from bids_recon.stages.report.comparison import Compared, interval_words
from bids_recon.stages.report.times import times_path

HOW_SURE = (
    "Intervals are over images: between which values the score would lie with other "
    "images of the kind, in this participant. Differences are paired over the same "
    "trials; where the interval of one holds 0, the two cannot be told apart. Mean and "
    "nearest known image: what the mean of the training images scores in place of a "
    "reconstruction, and the training image with the nearest features. What other "
    "people would give, the group's page says."
)

FEW_IMAGES = 10
"""Intervals over fewer images than these are told to be too narrow."""

MANY = 6
"""More sessions or tasks than these are counted, not named."""

TRANSDUCTIVE = (
    "Transductive: the decoded features of each test trial were scaled by those of all "
    "test trials."
)

SHARES = "The images that were tested were also learned on, in other trials."


def summary_words(
    plan: Plan, done: Sequence[Analysis], compared: Sequence[Compared], notes: list[str]
) -> str:
    """Return the summary as HTML."""
    main = [analysis for analysis in done if analysis in plan.main_analyses]
    text = pairs(_facts(plan, main)) + _time(plan)
    scores = {analysis.key: _scores(plan, analysis) for analysis in main}
    metrics = [name for own in scores.values() for name in own.index]
    if metrics:
        metric = headline(metrics)
        by_label = {own.label: own for own in compared}
        groups = {analysis.label: {} for analysis in main}
        for analysis in main:
            if metric in scores[analysis.key].index:
                row = scores[analysis.key].loc[metric]
                groups[analysis.label][analysis.recipe.name] = row
        groups = {label: rows for label, rows in groups.items() if rows}
        text += "<h3>Which recipe is better, and how sure is that?</h3>"
        text += bullet_list(
            sentence(label, rows, by_label.get(label)) for label, rows in groups.items()
        )
        text += paragraph(f"{EXPLAINED.get(metric, '')} {HOW_SURE}", "caption")
        text += _table(main, groups, by_label)
        few = int(
            min(row["n_pictures"] for own in groups.values() for row in own.values())
        )
        if few < FEW_IMAGES:
            text += paragraph(
                f"With {few} images only, intervals are narrower than they should be: "
                "those of 5 hold the truth in about 84 % of cases, of 10 in 90 %.",
                "warning",
            )
    elif done:
        text += paragraph(
            "None of these trials names an image that exists: nothing was scored."
        )
    lines = warnings_of(plan, done, notes)
    if lines:
        text += "<h3>What you should know</h3>" + bullet_list(lines, "warning")
    return text


def _facts(plan: Plan, done: Sequence[Analysis]) -> dict[str, str]:
    trials = plan.own_trials
    own = trials[trials["role"] == "trial"]
    runs = [run.run.entities for run in plan.runs]
    sessions = list(dict.fromkeys(str(r["session"]) for r in runs if r.get("session")))
    tasks = list(dict.fromkeys(str(r["task"]) for r in runs if r.get("task")))
    data = [
        _named("task", tasks),
        _named("session", sessions),
        _count(len(runs), "run"),
        f"{_count(len(own), 'trial')} of {_count(own['stimulus'].nunique(), 'image')}",
        f"space {plan.space}",
    ]
    facts = {
        "Participant": f"sub-{plan.subject}",
        "Data": ", ".join(piece for piece in data if piece),
        "Preprocessing": ", ".join(made_by(plan)) or "not said",
        "Recipes": ", ".join(dict.fromkeys(a.recipe.name for a in plan.analyses)),
        "Regions": ", ".join(dict.fromkeys(a.label for a in plan.analyses)),
    }
    splits = dict.fromkeys(_sidecar(plan, a)["SplitDescription"] for a in done)
    if splits:
        facts["Split"] = " / ".join(splits)
    if sets := _sets(plan, done):
        facts["Sets of test images"] = sets
    shares = {a.recipe.train_fraction: f"{a.recipe.percent} %" for a in plan.analyses}
    if len(shares) > 1:
        facts["Training images"] = (
            f"{listed([shares[own] for own in sorted(shares)])} of them, each share "
            "contained in the next; see the learning curves. All other scores of this "
            "page are of the largest share."
        )
    return facts


def _sets(plan: Plan, done: Sequence[Analysis]) -> str:
    """Return the sets of pictures that were tested, with their sizes."""
    tables = (read_table(recon_files(plan, analysis).table) for analysis in done[:1])
    counts = [table.groupby("set")["stimulus"].nunique().items() for table in tables]
    return ", ".join(f"{name} ({count})" for own in counts for name, count in own)


def _named(what: str, labels: Sequence[str]) -> str:
    """Return all labels of sessions or tasks, or how many there are and two of them."""
    if not labels:
        return ""
    if len(labels) > MANY:
        return f"{_count(len(labels), what)} ({labels[0]} to {labels[-1]})"
    return f"{what}{'s' * (len(labels) > 1)} {', '.join(labels)}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _sidecar(plan: Plan, analysis: Analysis) -> dict[str, object]:
    return json.loads(recon_files(plan, analysis).sidecar.read_text(encoding="utf-8"))


def _time(plan: Plan) -> str:
    """Return the time taken, which stands in a file of its own; see ``times.py``."""
    path = times_path(plan, ".html").relative_to(plan.settings.output_dir).as_posix()
    return (
        "<dl><dt>Time taken</dt><dd>"
        f'<object type="text/html" data="{quote(path)}">see logs/</object></dd></dl>'
    )


def _scores(plan: Plan, analysis: Analysis) -> pd.DataFrame:
    """Return the rows of the first profile, by metric, where they have a value."""
    scores = read_table(recon_files(plan, analysis).metrics, numeric=NUMBERS)
    first = scores["profile"].drop_duplicates().head(1)
    known = scores["profile"].isin(first) & scores["value"].notna()
    return scores[known].set_index("metric")


def sentence(
    label: str, rows: Mapping[str, pd.Series], compared: Compared | None
) -> str:
    """Say which recipe is the best on some regions, and how sure that is.

    Parameters
    ----------
    label : str
        The regions.
    rows : mapping of str to Series
        What the table of metrics says of each recipe; all of one metric.
    compared : Compared or None
        Where there are several recipes.
    """
    best = _best(rows)
    row = rows[best]
    words, better = metric_words(row.name)
    score = (
        f"{words[0].lower()}{words[1:]} {number(row['value'])} ({_interval(row)}; "
        f"chance {number(row['chance'])}, p = {_p(row)}{_not_above(row)})"
    )
    others, apart = [], []
    for other in rows:
        if other == best:
            continue
        found = compared.difference(best, other, row.name) if compared else None
        if found is None:
            apart.append(other)
        elif better == "higher":
            others.append(Ahead(other, found.mean, found.low, found.high))
        else:
            others.append(Ahead(other, -found.mean, -found.high, -found.low))
    said = verdict(label, best, score, others)
    if apart:
        said += f" Not compared, because its trials are others: {listed(apart)}."
    return said


def _best(rows: Mapping[str, pd.Series]) -> str:
    sign = -1 if metric_words(next(iter(rows.values())).name)[1] == "lower" else 1
    return max(rows, key=lambda recipe: sign * rows[recipe]["value"])


def _interval(row: pd.Series) -> str:
    low, high = number(row["ci_low"]), number(row["ci_high"])
    return "no interval" if low == "n/a" else f"95 % interval {low} to {high}"


def _p(row: pd.Series) -> str:
    return "n/a" if pd.isna(row["p_value"]) else f"{row['p_value']:.2g}"


def _not_above(row: pd.Series) -> str:
    return ": not above chance" * bool(row["p_value"] >= ALPHA)


def _table(
    done: Sequence[Analysis],
    groups: Mapping[str, Mapping[str, pd.Series]],
    by_label: Mapping[str, Compared],
) -> str:
    """Return a row for each recipe and set of regions, with links to their sections."""
    lines = ""
    labels = list(groups)
    for analysis in sorted(
        (own for own in done if own.label in labels),
        key=lambda a: labels.index(a.label),
    ):
        rows = groups[analysis.label]
        row = rows.get(analysis.recipe.name)
        if row is None:
            continue
        best, behind = _best(rows), ""
        if analysis.recipe.name != best and analysis.label in by_label:
            found = by_label[analysis.label].difference(
                analysis.recipe.name, best, row.name
            )
            behind = interval_words(found) if found else "n/a"
        elif len(rows) > 1:
            behind = "the best"
        cells = [
            f'<a href="#{section_of(analysis)}">{escape(analysis.recipe.name)}</a>',
            escape(analysis.label),
            number(row["value"]),
            _interval(row).removeprefix("95 % interval "),
            number(row["chance"]),
            _p(row),
            number(row["floor"]),
            number(row["floor_retrieval"]),
            behind,
        ]
        lines += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    words, better = metric_words(row.name)
    heads = ("Recipe", "Regions", f"{words} {'↑' if better == 'higher' else '↓'}")
    heads += ("95 % interval", "Chance", "p", "Mean image", "Nearest known image")
    heads += ("Less the best, paired",)
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return (
        '<div class="sortable"><div class="wide"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{lines}</tbody></table></div></div>"
    )


def section_of(analysis: Analysis) -> str:
    """Return the anchor of an analysis on the page."""
    return f"{analysis.desc}-{camel_case(analysis.label)}"


def warnings_of(plan: Plan, done: Sequence[Analysis], notes: list[str]) -> list[str]:
    """Return all that a reader should know, each said once and of what it is true."""
    whose: dict[str, list[Analysis]] = {}
    for analysis in done:
        sidecar = _sidecar(plan, analysis)
        path = recon_files(plan, analysis).metrics.with_suffix(".json")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        lines = list(metrics["BidsRecon"]["Warnings"])
        lines += [TRANSDUCTIVE] * sidecar["Transductive"]
        lines += [SHARES] * sidecar["SharesPictures"]
        for line in dict.fromkeys(lines):
            whose.setdefault(line, []).append(analysis)
    said = list(notes)
    for line, own in whose.items():
        everywhere = len(own) == len(done)
        said.append(line if everywhere else f"{_names(plan, own)}: {line}")
    return list(dict.fromkeys(said))


def _names(plan: Plan, some: Sequence[Analysis]) -> str:
    """Return analyses in words; all shares of one together."""
    keys = {analysis.key for analysis in some}
    names = []
    for analysis in some:
        every = {own.key for own in plan.variants_of(analysis)} <= keys
        recipe = analysis.recipe.name if every else analysis.recipe.variant
        names.append(f"{recipe} on {analysis.label}")
    return ", ".join(dict.fromkeys(names))

"""The group level: all participants of an output directory in one table and page."""

import json
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.leftovers import remove_listed
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.tables import read_table, table_text
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.scores import NUMBERS
from bids_recon.files import write_text, write_whole
from bids_recon.reports import figures
from bids_recon.reports.citations import citations
from bids_recon.reports.fragments import (
    bullet_list,
    metric_words,
    number,
    paragraph,
    table,
)
from bids_recon.reports.page import write_page
from bids_recon.settings import Settings


def group_stage(settings: Settings) -> Path:
    """Collect the tables of all participants and write the group's page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UserError
        If no participant has scores.
    """
    output_dir = settings.output_dir
    wanted = [label.removeprefix("sub-") for label in settings.participant_label]
    metrics = _collect(output_dir, "metrics", wanted)
    recon = _collect(output_dir, "recon", wanted)
    if metrics.empty:
        raise UserError(
            f"{output_dir}: no participant has scores. Run the participant level "
            "first: bids-recon BIDS_DIR OUTPUT_DIR participant",
            Status.NO_INPUT,
        )
    write_text(output_dir / "group_metrics.tsv", table_text(metrics))
    write_text(output_dir / "group_recon.tsv", table_text(recon))
    folder = output_dir / "figures"
    parts = _parts(output_dir, metrics)
    for path, write in parts.items():
        write_whole(path, write)
    page = output_dir / "group.html"
    outputs = {"page": page, **{path.name: path for path in parts}}
    sidecar = Sidecar(folder / "group_report.json", outputs)
    remove_listed(folder, sidecar.listed, parts)
    write_whole(page, lambda part: write_page(output_dir, folder, part.name, "group"))
    tables = [output_dir / name for name in ("group_metrics.tsv", "group_recon.tsv")]
    record = Record("group", {"participants": wanted}, checksums(tables), settings.seed)
    sidecar.write(record, {"Description": f"Figures of {page.name}."}, [])
    return page


def _collect(output_dir: Path, suffix: str, wanted: list[str]) -> pd.DataFrame:
    parts = []
    for path in sorted(output_dir.glob(f"sub-*/recon/sub-*_{suffix}.tsv")):
        entities = _entities(path)
        if not entities or (wanted and entities["sub"] not in wanted):
            continue
        sidecar = _recon_sidecar(
            path.with_name(path.name.replace(f"_{suffix}.tsv", "_recon.json"))
        )
        part = read_table(path, numeric=NUMBERS if suffix == "metrics" else ())
        part = part.rename(columns={"task": "trial_task"})
        part.insert(0, "recipe", str(sidecar["Recipe"]["name"]))
        part.insert(0, "roi", entities["label"])
        part.insert(0, "task", entities.get("task"))
        part.insert(0, "subject", entities["sub"])
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _entities(path: Path) -> dict[str, str]:
    """Return the entities in the name of a table of ours; none if it is not one."""
    pieces = [piece.partition("-") for piece in path.stem.split("_")[:-1]]
    if not all(value.isalnum() for _, _, value in pieces):
        return {}
    entities = {name: value for name, _, value in pieces}
    return entities if {"sub", "label", "desc"} <= set(entities) else {}


def _recon_sidecar(path: Path) -> dict[str, Any]:
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        _ = sidecar["Recipe"]["name"], sidecar["Cite"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a sidecar that bids-recon wrote ({error}). Run the "
            "participant level again, which makes what is missing."
        ) from error
    return sidecar


def _parts(output_dir: Path, metrics: pd.DataFrame) -> dict[Path, object]:
    folder = output_dir / "figures"

    def html(text: str) -> object:
        return lambda part: part.write_text(text, "utf-8")

    subjects = sorted(metrics["subject"].unique())
    pages = {name: (output_dir / f"sub-{name}.html").is_file() for name in subjects}
    links = "".join(
        f'<li><a href="sub-{escape(name)}.html">sub-{escape(name)}</a></li>'
        for name, exists in pages.items()
        if exists
    )
    read = (
        paragraph(f"Participants with scores: {len(subjects)}.") + f"<ul>{links}</ul>"
    )
    parts = {folder / "desc-read_about.html": html(read)}
    without = [
        path.stem
        for path in sorted(output_dir.glob("sub-*.html"))
        if path.stem.removeprefix("sub-") not in subjects
    ]
    if without:
        lines = [f"{name} has a page but no scores; see there why." for name in without]
        parts[folder / "desc-problems_about.html"] = html(bullet_list(lines, "failed"))
    for index, metric in enumerate(dict.fromkeys(metrics["metric"])):
        rows = metrics[metrics["metric"] == metric]
        words, better = metric_words(metric)
        # The order of the metrics is kept by a number in front.
        desc = f"{index:02d}{metric.replace('_', '')}"
        heading = f"<h3>{words} ({better} is better)</h3>"
        parts[folder / f"desc-{desc}_heading.html"] = html(heading)
        parts[folder / f"desc-{desc}_scores.svg"] = lambda part, rows=rows, m=metric: (
            figures.save(figures.scores_by_participant(rows, m), part)
        )
    parts[folder / "desc-table_about.html"] = html(_summary(metrics))
    recipes = _cited(output_dir)

    parts[folder / "desc-cite_about.html"] = html(
        f"<pre>{escape(citations(recipes)[0])}</pre>"
    )
    return parts


def _cited(output_dir: Path) -> set[str]:
    return {
        key
        for path in output_dir.glob("sub-*/recon/*_recon.json")
        for key in _recon_sidecar(path)["Cite"]
    }


def _summary(metrics: pd.DataFrame) -> str:
    rows = []
    groups = metrics.groupby(["recipe", "roi", "profile", "metric"], sort=False)
    for (recipe, roi, profile, metric), part in groups:
        significant = (part["p_value"] < 0.05).sum()
        rows.append(
            (
                recipe,
                roi,
                profile,
                metric_words(metric)[0],
                number(part["value"].mean()),
                f"{number(part['value'].min())} to {number(part['value'].max())}",
                number(part["chance"].mean()),
                f"{significant} of {len(part)}",
            )
        )
    headers = (
        "Recipe",
        "Regions",
        "Profile",
        "Metric",
        "Mean",
        "Lowest to highest",
        "Chance",
        "Participants with p < 0.05",
    )
    note = paragraph(
        "Means over participants. p-values are each participant's own; none is given "
        "for the group, because few participants do not allow one."
    )
    return note + table(headers, rows)

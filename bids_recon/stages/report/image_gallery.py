"""All reconstructions of a participant beside what was seen, trial by trial."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from bids_recon.dataset.derivatives import LONGEST_STEM, camel_case, output_path
from bids_recon.dataset.tables import read_table
from bids_recon.evaluation.scores import NUMBERS
from bids_recon.pictures import open_picture, size_of
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.reports.fragments import headline_first
from bids_recon.reports.gallery import Gallery, Made, Row, gallery_html
from bids_recon.stages.generate.stage import recon_files, trial_keys

SMALL = 64
"""Pixels of the longer side up to which an image is copied as it is."""

SIDE = 256
"""Pixels of the longer side of copies of larger images."""

Writer = Callable[[Path], object]


def seen_folder(plan: Plan) -> Path:
    """Return where copies of the images that were seen lie."""
    return output_path(
        plan.settings.output_dir, "seen", subject=plan.subject, task=plan.task
    )


def gallery_parts(
    plan: Plan, done: Sequence[Analysis]
) -> tuple[str, dict[Path, Writer]]:
    """Return the gallery as HTML, and the copies of images seen that it shows.

    Returns
    -------
    str
        Empty where nothing was reconstructed.
    dict of Path to callable
        Each copy, and what writes it.
    """
    tables = [_table(plan, analysis) for analysis in done]
    metrics = headline_first([name for _, own in tables for name in own])
    listed = pd.concat([table for table, _ in tables]) if tables else pd.DataFrame()
    if listed.empty:
        return "", {}
    copies = _copies(plan, listed["stimulus"])
    first = listed.drop_duplicates("key")
    made = [_made(table, metrics) for table, _ in tables]
    root, folder = plan.settings.output_dir, seen_folder(plan)
    gallery = Gallery(
        columns=[
            (
                f"{analysis.recipe.variant}, {analysis.label}",
                recon_files(plan, analysis).folder.relative_to(root).as_posix(),
            )
            for analysis in done
        ],
        metrics=metrics,
        seen=folder.relative_to(root).as_posix(),
        rows=[
            Row(
                int(row["trial"]),
                row["stimulus"],
                _place(row),
                copies.get(row["stimulus"]),
                tuple(own.get(row["key"]) for own in made),
            )
            for row in first.sort_values("trial", kind="stable").to_dict("records")
        ],
    )
    writers = {
        folder / name: partial(_write_copy, plan.pictures[stimulus])
        for stimulus, name in copies.items()
    }
    return gallery_html(gallery), writers


def _table(plan: Plan, analysis: Analysis) -> tuple[pd.DataFrame, list[str]]:
    """Return the reconstructions of an analysis by trial, and its first scores."""
    files = recon_files(plan, analysis)
    scores = read_table(files.metrics, numeric=NUMBERS)
    first = scores["profile"].drop_duplicates().head(1)
    names = scores.loc[scores["profile"].isin(first), "metric"]
    table = read_table(files.table, numeric=("trial", "sample", *names))
    table["key"] = trial_keys(table)
    return table, [name for name in names if name in table]


def _made(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Made]:
    """Return what was made of each trial."""
    scores = table.reindex(columns=list(metrics)).astype(float)
    images = table.groupby("key", sort=False)["image"].agg(tuple)
    first = table["sample"].eq(1)
    values = scores[first].itertuples(index=False, name=None)
    by_key = dict(zip(table.loc[first, "key"], values, strict=True))
    return {key: Made(own, by_key[key]) for key, own in images.items()}


def _place(row: dict[str, object]) -> str:
    names = ("session", "task", "run", "onset")
    said = [f"{name} {row[name]}" for name in names if row[name] is not None]
    return ", ".join(said) + (" s" if row["onset"] is not None else "")


def _copies(plan: Plan, stimuli: pd.Series) -> dict[str, str]:
    """Return the file name of the copy of each image that was seen."""
    shown = sorted(set(stimuli) & set(plan.pictures))
    names = {}
    for place, stimulus in enumerate(shown, start=1):
        stem = camel_case(Path(stimulus).stem, LONGEST_STEM - 10)
        small = max(size_of(plan.pictures[stimulus])) <= SMALL
        names[stimulus] = f"seen-{place:04d}_{stem}.{'png' if small else 'jpg'}"
    return names


def _write_copy(source: Path, part: Path) -> None:
    image = open_picture(source)
    if max(image.size) <= SMALL:
        image.save(part, format="PNG")
        return
    # Only ever made smaller.
    image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    image.save(part, format="JPEG", quality=90)

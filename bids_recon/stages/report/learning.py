"""How scores of a participant grow with the number of training pictures."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from bids_recon.dataset.tables import read_table
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.reports import figures
from bids_recon.reports.fragments import headline, metric_words, number, table
from bids_recon.reports.learning_figure import Panel, learning_curves
from bids_recon.stages.learning import SCORES, SIZES, learning_path
from bids_recon.stages.report.participant_figures import Figures

CURVE = ["label", "profile", "set", "metric"]
"""What the curves of one panel share."""


def learning_tables(plan: Plan, done: Sequence[Analysis]) -> list[Path]:
    """Return the tables of recipes that are done on several shares, all of them."""
    finished = {analysis.key for analysis in done}
    found = []
    for analysis in plan.main_analyses:
        variants = plan.variants_of(analysis)
        whole = {own.key for own in variants} <= finished
        path = learning_path(plan, analysis)
        found += [path] if len(variants) > 1 and whole and path.is_file() else []
    return found


def learning_scores(plan: Plan, done: Sequence[Analysis]) -> pd.DataFrame:
    """Return what is drawn, a row for each point.

    The score that sentences are about, of the first profile, and of each set of
    pictures where a profile tells them apart.
    """
    paths, parts = learning_tables(plan, done), []
    for analysis in plan.main_analyses:
        path = learning_path(plan, analysis)
        if path not in paths:
            continue
        scores = read_table(path, numeric=(*SIZES, *SCORES))
        whose = {"recipe": analysis.recipe.name, "label": analysis.label}
        parts += [part.assign(**whose) for part in _headlines(scores)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _headlines(scores: pd.DataFrame) -> Iterator[pd.DataFrame]:
    known = scores[scores["value"].notna()].fillna({"set": ""})
    shown = known["profile"].isin(known["profile"].head(1)) | known["set"].ne("")
    for _, part in known[shown].groupby(["profile", "set"], sort=False):
        yield part[part["metric"].eq(headline(list(part["metric"])))]


def learning_words(scores: pd.DataFrame) -> str:
    """Return the table below the curves."""
    rows = []
    for row in scores.to_dict("records"):
        words, better = metric_words(row["metric"])
        rows.append(
            (
                *(row["recipe"], row["label"]),
                f"{words} {'↑' if better == 'higher' else '↓'}",
                row["set"] or "all",
                f"{100 * row['train_fraction']:.10g} %",
                f"{row['n_training_pictures']:.4g}",
                f"{row['n_training_trials']:.4g}",
                number(row["value"]),
                f"{number(row['ci_low'])} to {number(row['ci_high'])}",
                number(row["chance"]),
                "n/a" if pd.isna(row["p_value"]) else f"{row['p_value']:.2g}",
            )
        )
    headers = ("Recipe", "Regions", "Metric", "Set", "Share", "Training pictures")
    headers += ("Training trials", "Mean", "95 % interval", "Chance", "p")
    return f'<div class="sortable">{table(headers, rows)}</div>'


def learning_figures(scores: pd.DataFrame) -> Figures:
    """Return the figure of the curves."""
    panels = list(_panels(scores))
    draw = partial(learning_curves, panels)
    return {"learning_curves": lambda part: figures.save(draw(), part)}


def _panels(scores: pd.DataFrame) -> Iterator[Panel]:
    for (label, _, name, metric), part in scores.groupby(CURVE, sort=False):
        title = f"{label}, {name}" if name else str(label)
        curves = dict(iter(part.groupby("recipe", sort=False)))
        yield Panel(title, metric_words(metric)[0], curves, {})

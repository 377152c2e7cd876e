"""The posterior of a decoder with a prior, and how often its intervals hold."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bids_recon.evaluation.folds import Split
from bids_recon.plan.plan import Analysis, Plan, load_plan_pictures
from bids_recon.reports.figures import save
from bids_recon.reports.posterior_figure import Shown, posterior_figure
from bids_recon.stages.decode.posterior import posterior_path, read_posterior

LEVELS = (0.68, 0.95)
"""Of the intervals whose coverage the report tells."""

N_SHOWN = 6
"""Trials in the figure."""


def posterior_steps(plan: Plan, analysis: Analysis, split: Split) -> list[str]:
    """Return the decoded feature spaces that left a posterior in every fold."""
    return [
        name
        for name in analysis.recipe.decode
        if all(
            posterior_path(plan, analysis, fold, name).is_file() for fold in split.folds
        )
    ]


def draw_posterior(
    plan: Plan, analysis: Analysis, table: pd.DataFrame, split: Split, path: Path
) -> None:
    """Draw the posterior of the first trials of the listing.

    Parameters
    ----------
    plan, analysis
        What was done.
    table : DataFrame
        The reconstructions, as ``listing`` gives them.
    split : Split
        Its folds.
    path : Path
        Where the figure goes.
    """
    (name, *_) = posterior_steps(plan, analysis, split)
    pictures = load_plan_pictures(plan, analysis.recipe)
    inside, shown = dict.fromkeys(LEVELS, 0.0), []
    for fold in split.folds:
        part = read_posterior(posterior_path(plan, analysis, fold, name))
        rows = table[table["split"] == fold.name]
        seen = np.asarray(pictures[plan.positions(rows["stimulus"])])
        distance = np.abs(seen - part.mean) / np.maximum(part.deviation, 1e-9)
        for level in LEVELS:
            within = distance <= ndtri(0.5 + level / 2)
            inside[level] += float(within.mean(axis=(1, 2, 3)).sum())
        for row, trial in enumerate(rows["trial"]):
            if len(shown) < N_SHOWN:
                shown.append(
                    Shown(
                        f"trial {trial}",
                        seen[row],
                        part.mean[row],
                        part.deviation[row].mean(axis=0),
                        part.exemplars[row],
                        part.weights[row],
                    )
                )
    coverage = {level: count / len(table) for level, count in inside.items()}
    save(posterior_figure(shown, coverage), path)

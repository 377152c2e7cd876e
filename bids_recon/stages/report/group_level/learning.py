"""How scores of the group grow with the number of training pictures."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bids_recon.reports import group_figures
from bids_recon.reports.fragments import headline, metric_words, paragraph
from bids_recon.reports.learning_figure import Panel, learning_curves
from bids_recon.stages.report.group_level.rows import Block, Entry, by_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = (
    "The same test pictures, by the number of pictures that decoders learned from; "
    "each share of the training pictures is contained in the next. Each point is the "
    "mean of its own table, with its 95 % interval; thin lines are participants; "
    "dotted: chance. Scores of different shares are not compared with each other."
)


def learning_figures(
    blocks: Sequence[Block], scores: pd.DataFrame
) -> tuple[str, dict[str, "Figure"]]:
    """Return the curves of tables that differ in the share alone, and their figures.

    Parameters
    ----------
    blocks : sequence of Block
        All tables.
    scores : DataFrame
        The group's scores of all of them.
    """
    text, figures = "", {}
    for rising in by_share(list(blocks)):
        if len(rising) < 2:
            continue
        panels = _panels(rising, scores)
        figure = learning_curves(panels)
        label = "".join(block.name for block in rising)
        figures[label] = figure
        names = ", ".join(block.name for block in rising)
        terms = rising[0].terms
        title = f"Tables {names}: profile {terms.profile}"
        title += "" if terms.set == "all" else f", set {terms.set}"
        text += f"<h3>{escape(title)}</h3>"
        text += f'<div class="wide">{group_figures.inline(figure, label)}</div>'
    return (paragraph(NOTE, "caption") + text if text else ""), figures


def _panels(blocks: Sequence[Block], scores: pd.DataFrame) -> list[Panel]:
    """Return a panel for each set of regions, of tables with rising shares."""
    metric = headline(blocks[0].metrics)
    rois = dict.fromkeys(roi for block in blocks for roi in block.rois)
    panels = []
    for roi in rois:
        recipes = dict.fromkeys(r for block in blocks for r in block.recipes)
        curves = {recipe: _curve(blocks, scores, recipe, roi) for recipe in recipes}
        curves = {recipe: curve for recipe, curve in curves.items() if len(curve)}
        people = {recipe: _people(blocks, recipe, roi, metric) for recipe in curves}
        panels.append(Panel(roi, metric_words(metric)[0], curves, people))
    return panels


def _curve(
    blocks: Sequence[Block], scores: pd.DataFrame, recipe: str, roi: str
) -> pd.DataFrame:
    metric, points = headline(blocks[0].metrics), []
    for block in blocks:
        row = scores[
            scores["table"].eq(block.name)
            & scores["recipe"].eq(recipe)
            & scores["roi"].eq(roi)
            & scores["metric"].eq(metric)
        ]
        trials = [own.n_training[1] for own in block.of(recipe, roi).values()]
        points.append(row.assign(n_training_trials=np.mean(trials) if trials else 0.0))
    return pd.concat(points).rename(columns={"mean": "value"})


def _people(
    blocks: Sequence[Block], recipe: str, roi: str, metric: str
) -> list[pd.DataFrame]:
    """Return the curve of each participant."""
    entries: dict[str, list[Entry]] = {}
    for block in blocks:
        for subject, entry in block.of(recipe, roi).items():
            if metric in entry.pictures:
                entries.setdefault(subject, []).append(entry)
    return [
        pd.DataFrame(
            {
                "n_training_pictures": [entry.n_training[0] for entry in own],
                "value": [entry.pictures[metric].mean() for entry in own],
            }
        )
        for own in entries.values()
    ]

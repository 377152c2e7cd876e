"""How scores grow with the number of training pictures, drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bids_recon.reports.figures import colours_of, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """The curves of one score.

    Parameters
    ----------
    title, score : str
        What it is of, and what it is called.
    curves : mapping of str to DataFrame
        By name, a row for each share: n_training_pictures, n_training_trials, value,
        ci_low, ci_high, chance.
    people : mapping of str to sequence of DataFrame
        The curves of single participants behind these.
    """

    title: str
    score: str
    curves: Mapping[str, pd.DataFrame]
    people: Mapping[str, Sequence[pd.DataFrame]]


def learning_curves(panels: Sequence[Panel]) -> "Figure":
    """Draw curves with intervals over the number of training pictures; chance dotted.

    Ticks are at the numbers of the first curve of a panel, with those of trials where
    pictures were shown more than once.
    """
    # One below the other, so that they can be read on a narrow screen.
    size = (6, 3 * len(panels))
    with styled_figure(figsize=size, layout="constrained") as figure:
        axes = figure.subplots(len(panels), squeeze=False).ravel()
        for axis, panel in zip(axes, panels, strict=True):
            _draw(axis, panel)
    return figure


def _draw(axis: "Axes", panel: Panel) -> None:
    colours = colours_of(len(panel.curves))
    for (name, curve), colour in zip(panel.curves.items(), colours, strict=True):
        for own in panel.people.get(name, ()):
            axis.plot(
                own["n_training_pictures"], own["value"], color=colour, alpha=0.35, lw=1
            )
        low = (curve["value"] - curve["ci_low"]).clip(lower=0).fillna(0)
        high = (curve["ci_high"] - curve["value"]).clip(lower=0).fillna(0)
        axis.errorbar(
            curve["n_training_pictures"],
            curve["value"],
            yerr=np.vstack([low, high]),
            fmt="o-",
            color=colour,
            capsize=3,
            label=name,
        )
        axis.plot(
            curve["n_training_pictures"], curve["chance"], color=colour, linestyle=":"
        )
    first = next(iter(panel.curves.values()))
    axis.set_xticks(first["n_training_pictures"], _ticks(first))
    axis.set_xlabel("training pictures")
    axis.set_ylabel(panel.score)
    axis.set_title(panel.title)
    axis.legend(frameon=False, fontsize=8)


def _ticks(curve: pd.DataFrame) -> list[str]:
    pairs = zip(curve["n_training_pictures"], curve["n_training_trials"], strict=True)
    return [
        f"{pictures:.4g}" + ("" if pictures == trials else f"\n({trials:.4g} trials)")
        for pictures, trials in pairs
    ]

"""The figure of a posterior: its mean, its uncertainty, and the pictures it prefers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_recon.reports.figures import styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


@dataclass(frozen=True)
class Shown:
    """One trial of the figure.

    Parameters
    ----------
    title : str
    seen, mean : array of shape (3, H, W)
    deviation : array of shape (H, W)
        Of the posterior, in units of pixel values.
    exemplars : array of shape (n_shown, 3, H, W)
    weights : array of shape (n_shown,)
    """

    title: str
    seen: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    exemplars: np.ndarray
    weights: np.ndarray


def posterior_figure(
    shown: Sequence[Shown], coverage: Mapping[float, float]
) -> "Figure":
    """Draw the posterior of some trials.

    Parameters
    ----------
    shown : sequence of Shown
        The trials, one column each.
    coverage : mapping of float to float
        Nominal level of intervals -> share of all pixels seen that lie within theirs.
    """
    n_exemplars = len(shown[0].weights)
    highest = max(float(one.deviation.max()) for one in shown)
    rows = ["seen", "posterior mean", "deviation"]
    rows += [f"known picture {n + 1}" for n in range(n_exemplars)]
    size = (1.35 * len(shown) + 1.8, 1.5 * len(rows) + 0.6)
    with styled_figure(figsize=size, layout="constrained") as figure:
        axes = figure.subplots(len(rows), len(shown), squeeze=False)
        for column, one in enumerate(shown):
            pictures = [one.seen, one.mean, one.deviation, *one.exemplars]
            for row, picture in enumerate(pictures):
                drawn = _draw(axes[row, column], picture, highest)
                if row == 2:
                    scale = drawn
            for row, weight in enumerate(one.weights, start=3):
                axes[row, column].set_xlabel(f"weight {weight:.2f}", fontsize=7)
            axes[0, column].set_title(one.title, fontsize=8)
        for row, name in enumerate(rows):
            axes[row, 0].set_ylabel(name, fontsize=8)
        bar = figure.colorbar(scale, ax=axes, shrink=0.25, aspect=10)
        bar.set_label("deviation, in pixel values", fontsize=8)
        held = ", ".join(
            f"{100 * level:.0f} % intervals: {100 * share:.0f} %"
            for level, share in coverage.items()
        )
        figure.suptitle(f"Pixels seen that lie within {held}", fontsize=9)
    return figure


def _draw(axis: "Axes", picture: np.ndarray, highest: float) -> "AxesImage":
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color("0.6")
    if picture.ndim == 2:
        return axis.imshow(picture, vmin=0, vmax=highest, cmap="viridis")
    picture = np.clip(picture.transpose(1, 2, 0), 0, 1)
    return axis.imshow(picture, interpolation="nearest")

"""Figures of decoders: how they were trained, where they read, and connectivity."""

from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_recon.reports.figures import Slices, colours_of, styled_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_curves(curves: dict[str, tuple[np.ndarray, int]]) -> "Figure":
    """Draw how the loss of networks fell, a line for each fold.

    Parameters
    ----------
    curves : dict of str to (array of shape (n_epochs, 2), int)
        Feature space and fold -> loss on training trials and error on those held out,
        and the epoch whose weights were kept.
    """
    with styled_figure(figsize=(11, 3)) as figure:
        axes = figure.subplots(1, 2, sharex=True)
        titles = ("Loss on training trials", "Error on held-out training trials")
        for column, (axis, title) in enumerate(zip(axes, titles, strict=True)):
            colours = colours_of(len(curves))
            for (name, (curve, best)), colour in zip(
                curves.items(), colours, strict=True
            ):
                epochs = np.arange(1, len(curve) + 1)
                axis.plot(epochs, curve[:, column], color=colour, alpha=0.7, label=name)
                if column:
                    axis.plot(best, curve[best - 1, 1], "o", color=colour, ms=5)
            axis.set_title(title)
            axis.set_xlabel("epoch")
        axes[0].set_ylabel("squared error, over variance")
        if len(curves) <= 12:
            axes[1].legend(
                frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1)
            )
        figure.tight_layout()
    return figure


def maps_on_mean(mean: nib.Nifti1Image, maps: dict[str, np.ndarray]) -> "Figure":
    """Draw maps of voxels on axial slices of the mean BOLD, a row for each.

    Parameters
    ----------
    mean : image
        The mean BOLD.
    maps : dict of str to array of shape (x, y, z)
        What is shown by its name; NaN where there is nothing.
    """
    turned = {
        name: np.asarray(
            nib.as_closest_canonical(
                nib.Nifti1Image(own.astype(np.float32), mean.affine)
            ).dataobj
        )
        for name, own in maps.items()
    }
    known = np.logical_or.reduce([np.isfinite(own) for own in turned.values()])
    slices = Slices.through(mean, known)
    height = (slices.height + 0.3) * len(turned)
    with styled_figure(figsize=(11, height), layout="constrained") as figure:
        rows = figure.subplots(len(turned), 1, squeeze=False)[:, 0]
        for axis, (name, own) in zip(rows, turned.items(), strict=True):
            slices.draw_mean(axis)
            shown = axis.imshow(
                np.ma.masked_invalid(slices.of(own)),
                cmap="inferno",
                vmin=0,
                vmax=float(np.nanmax(own)) or 1.0,
                **slices.options,
            )
            axis.set_ylabel(name, fontsize=9)
            figure.colorbar(shown, ax=axis, shrink=0.8, pad=0.01)
    return figure


def connectivity_matrix(
    matrix: np.ndarray, names: Sequence[str], what: str
) -> "Figure":
    """Draw how alike nodes are.

    Parameters
    ----------
    matrix : array of shape (n_nodes, n_nodes)
        The measure.
    names : sequence of str
        Of the nodes.
    what : str
        What the measure is.
    """
    n_nodes = len(names)
    off = np.abs(matrix[~np.eye(n_nodes, dtype=bool)])
    most = float(off.max(initial=0.0)) or 1.0
    side = min(3.2 + 0.28 * n_nodes, 8)
    with styled_figure(figsize=(side + 1, side)) as figure:
        axis = figure.subplots()
        shown = axis.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most)
        if n_nodes <= 60:
            short = [shorten(name, 24, placeholder="…") for name in names]
            axis.set_xticks(range(n_nodes), short, rotation=90, fontsize=8)
            axis.set_yticks(range(n_nodes), short, fontsize=8)
        if n_nodes <= 12:
            for (row, column), value in np.ndenumerate(matrix):
                dark = abs(value) > 0.6 * most
                axis.text(
                    column,
                    row,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if dark else "black",
                )
        figure.colorbar(shown, ax=axis, label=what, shrink=0.8)
        figure.tight_layout()
    return figure


def connectome(
    matrix: np.ndarray, positions: np.ndarray, strongest: int = 100
) -> "Figure":
    """Draw nodes and the strongest edges in a glass brain.

    Parameters
    ----------
    matrix : array of shape (n_nodes, n_nodes)
        The measure.
    positions : array of shape (n_nodes, 3), mm
        In MNI space.
    strongest : int
        How many edges are drawn.
    """
    from nilearn.plotting import plot_connectome

    n_edges = len(matrix) * (len(matrix) - 1) // 2
    share = max(0.0, 100 * (1 - strongest / max(n_edges, 1)))
    off = matrix - np.diag(np.diag(matrix))
    with styled_figure(figsize=(11, 3.6)) as figure:
        plot_connectome(
            off,
            positions,
            node_size=25,
            edge_threshold=f"{share:.1f}%" if share else None,
            figure=figure,
            colorbar=True,
        )
    return figure

"""Figures of a report, as SVG whose bytes repeat."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

STYLE = {
    "svg.hashsalt": "bids-recon",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG without a date."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def masks_on_mean(mean: nib.Nifti1Image, masks: dict[str, np.ndarray]) -> Figure:
    """Draw regions on axial slices of the mean BOLD.

    Parameters
    ----------
    mean : image
        The mean BOLD.
    masks : dict of str to array of shape (x, y, z), bool
        Regions by name.
    """
    canonical = nib.as_closest_canonical(mean)
    values = np.asarray(canonical.dataobj)
    regions = {name: _canonical(mask, mean) for name, mask in masks.items()}
    union = np.logical_or.reduce(list(regions.values()))
    occupied = np.flatnonzero(union.any(axis=(0, 1)))
    picks = np.unique(np.linspace(0, len(occupied) - 1, 8).round().astype(int))
    area = bounds((values != 0) | union)
    zooms = nib.affines.voxel_sizes(canonical.affine)
    top = np.percentile(values[values > 0], 99) if (values > 0).any() else 1
    options = {
        "origin": "lower",
        "interpolation": "nearest",
        "aspect": zooms[1] / zooms[0],
    }
    colours = dict(zip(masks, colours_of(len(masks)), strict=True))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 11 / len(picks) * 1.15 + 0.5))
        axes = np.atleast_1d(figure.subplots(1, len(picks)))
        for axis, z in zip(axes, occupied[picks], strict=True):
            axis.imshow(values[(*area, z)].T, cmap="gray", vmin=0, vmax=top, **options)
            for name, region in regions.items():
                inside = region[(*area, z)].T
                layer = np.zeros((*inside.shape, 4))
                layer[inside] = mpl.colors.to_rgba(colours[name], 0.6)
                axis.imshow(layer, **options)
            height = nib.affines.apply_affine(canonical.affine, (0, 0, z))[2]
            axis.set_title(f"z = {height:.0f} mm", fontsize=9)
            axis.set_axis_off()
        handles = [
            mpl.patches.Patch(
                color=colours[name], alpha=0.6, label=f"{name} ({mask.sum():,} voxels)"
            )
            for name, mask in masks.items()
        ]
        figure.legend(
            handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=9
        )
    return figure


def _canonical(mask: np.ndarray, mean: nib.Nifti1Image) -> np.ndarray:
    image = nib.Nifti1Image(mask.astype(np.uint8), mean.affine)
    return np.asarray(nib.as_closest_canonical(image).dataobj).astype(bool)


def bounds(brain: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold something, with a margin of a voxel."""
    x, y = (np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    return slice(max(x[0] - 1, 0), x[-1] + 2), slice(max(y[0] - 1, 0), y[-1] + 2)


def colours_of(n: int) -> list[str]:
    """Return colours that can be told apart, again from the first after six."""
    return [COLOURS[index % len(COLOURS)] for index in range(n)]


def response_quality(table: pd.DataFrame) -> Figure:
    """Draw how alike responses are, run by run.

    Parameters
    ----------
    table : DataFrame
        Columns ``run``, ``same`` (correlation of response patterns to one picture),
        ``different`` (to different pictures) and ``deviation`` (of responses).
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.2))
        left, right = figure.subplots(1, 2)
        places = np.arange(len(table))
        left.bar(places, table["deviation"], color=COLOURS[0], width=0.6)
        left.set_title("Standard deviation of responses over trials\n(median voxel)")
        left.set_ylabel("units of the estimator")
        if table["same"].notna().any():
            right.plot(
                places, table["same"], "o", color=COLOURS[1], label="same picture"
            )
            right.plot(
                places, table["different"], "o", color="grey", label="other pictures"
            )
            right.axhline(0, color="black", linewidth=0.6)
            right.legend(frameon=False, fontsize=9)
            right.set_ylabel("mean correlation of patterns")
        else:
            right.text(
                0.5,
                0.5,
                "No picture was shown more than once:\nnothing to compare.",
                ha="center",
                va="center",
                transform=right.transAxes,
            )
            right.set_yticks([])
        right.set_title("Response patterns of a run, with all other trials\n")
        step = max(1, len(table) // 12)
        for axis in (left, right):
            axis.set_xticks(
                places[::step], table["run"][::step], rotation=20, ha="right"
            )
            axis.set_xlim(-0.6, len(table) - 0.4)
        figure.tight_layout()
    return figure


def ceilings(percent: dict[str, np.ndarray]) -> Figure:
    """Draw how the noise ceiling is distributed over the voxels of each region.

    Parameters
    ----------
    percent : dict of str to array of shape (n_voxels,)
        Region -> noise ceiling in percent.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 2.8))
        axis = figure.subplots()
        bins = np.linspace(0, 100, 41)
        for (name, values), colour in zip(
            percent.items(), colours_of(len(percent)), strict=True
        ):
            median = float(np.median(values))
            axis.hist(
                values,
                bins=bins,
                histtype="step",
                linewidth=1.6,
                color=colour,
                label=f"{name}: median {median:.0f} %",
            )
            axis.axvline(median, color=colour, linestyle=":")
        axis.set_xlabel("noise ceiling, percent of variance")
        axis.set_ylabel("voxels")
        axis.legend(frameon=False, fontsize=9)
        figure.tight_layout()
    return figure


def seen_and_reconstructed(
    groups: dict[str, Sequence[tuple[np.ndarray, np.ndarray, str]]],
) -> Figure:
    """Draw pictures seen above their reconstructions.

    Parameters
    ----------
    groups : dict of str to sequence of (array, array, str)
        Title of a group -> (seen, reconstructed, caption); pictures are (3, H, W).
    """
    n_columns = max(len(items) for items in groups.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.35 * n_columns + 1.2, 3.4 * len(groups)))
        parts = figure.subfigures(len(groups), 1, squeeze=False)[:, 0]
        for part, (title, items) in zip(parts, groups.items(), strict=True):
            part.suptitle(title, fontsize=11, x=0.02, ha="left")
            axes = part.subplots(
                2,
                n_columns,
                squeeze=False,
                gridspec_kw={"hspace": 0.06, "top": 0.9, "bottom": 0.14, "left": 0.08},
            )
            for axis in axes.flat:
                axis.set_axis_off()
            for column, (seen, made, caption) in enumerate(items):
                for row, picture in enumerate((seen, made)):
                    axis = axes[row, column]
                    axis.set_axis_on()
                    axis.set_xticks([])
                    axis.set_yticks([])
                    axis.spines[:].set_visible(True)
                    axis.spines[:].set_color("0.6")
                    axis.imshow(
                        np.clip(picture.transpose(1, 2, 0), 0, 1),
                        interpolation="nearest",
                    )
                axes[1, column].set_xlabel(caption, fontsize=8)
            axes[0, 0].set_ylabel("seen", fontsize=9)
            axes[1, 0].set_ylabel("reconstructed", fontsize=9)
    return figure


def combination_weights(weights: dict[str, dict[str, float]]) -> Figure:
    """Draw the weight of each patch size, one dot per fold.

    Parameters
    ----------
    weights : dict of str to dict of str to float
        Fold -> patch size -> weight.
    """
    sizes = list(next(iter(weights.values())))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 2.8))
        axis = figure.subplots()
        for index, size in enumerate(sizes):
            values = np.array([fold[size] for fold in weights.values()])
            spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0.0]
            axis.bar(index, values.mean(), color=COLOURS[0], alpha=0.35, width=0.6)
            axis.plot(index + np.asarray(spread), values, "o", color=COLOURS[0], ms=4)
        axis.set_xticks(range(len(sizes)), sizes)
        axis.set_xlabel("patch size, height x width in pixels")
        axis.set_ylabel("weight")
        axis.set_title(shorten("Learned weights; dots are folds, bars their mean", 80))
        figure.tight_layout()
    return figure

"""Figures of a report, as SVG whose bytes repeat."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Self

import nibabel as nib
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    # Each picture as it is, in place of one drawing of all.
    "image.composite_image": False,
    "svg.hashsalt": "bids-recon",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
}
GAP = 2
"""Voxels between slices."""

PITCH = 1.06
"""From one picture to the next, whose longer side is one."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@contextmanager
def in_style(**changes: object) -> Iterator[None]:
    """Have matplotlib draw as pages have it, but for some of its settings."""
    # Only pages need it, and it takes long to load.
    import matplotlib as mpl

    with mpl.rc_context({**STYLE, **changes}):
        yield


@contextmanager
def styled_figure(**options: object) -> Iterator["Figure"]:
    """Have an empty figure, drawn as pages have it."""
    from matplotlib.figure import Figure

    with in_style():
        yield Figure(**options)


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as SVG without a date."""
    with in_style():
        figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def masks_on_mean(mean: nib.Nifti1Image, masks: dict[str, np.ndarray]) -> "Figure":
    """Draw regions on axial slices of the mean BOLD.

    Parameters
    ----------
    mean : image
        The mean BOLD.
    masks : dict of str to array of shape (x, y, z), bool
        Regions by name.
    """
    regions = {name: _canonical(mask, mean) for name, mask in masks.items()}
    slices = Slices.through(mean, np.logical_or.reduce(list(regions.values())))
    colours = dict(zip(masks, colours_of(len(masks)), strict=True))
    with styled_figure(figsize=(11, slices.height + 0.5)) as figure:
        from matplotlib.colors import to_rgba
        from matplotlib.patches import Patch

        axis = figure.subplots()
        slices.draw_mean(axis)
        for name, region in regions.items():
            inside = slices.of(region) == 1
            layer = np.zeros((*inside.shape, 4))
            layer[inside] = to_rgba(colours[name], 0.6)
            axis.imshow(layer, **slices.options)
        handles = [
            Patch(
                color=colours[name], alpha=0.6, label=f"{name} ({mask.sum():,} voxels)"
            )
            for name, mask in masks.items()
        ]
        figure.legend(
            handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=9
        )
    return figure


@dataclass(frozen=True)
class Slices:
    """Axial slices of a brain, side by side.

    Parameters
    ----------
    mean : image
        The mean BOLD, its axes along those of the scanner.
    area : tuple of slice
        The rows and columns that are shown.
    picks : array of int
        The slices that are shown.
    """

    mean: nib.Nifti1Image
    area: tuple[slice, slice]
    picks: np.ndarray

    @classmethod
    def through(cls, mean: nib.Nifti1Image, shown: np.ndarray) -> Self:
        """Choose at most eight slices through what is shown, (x, y, z) of bool."""
        canonical = nib.as_closest_canonical(mean)
        occupied = np.flatnonzero(shown.any(axis=(0, 1)))
        places = np.unique(np.linspace(0, len(occupied) - 1, 8).round().astype(int))
        area = bounds((np.asarray(canonical.dataobj) != 0) | shown)
        return cls(canonical, area, occupied[places])

    @property
    def height(self) -> float:
        """Of a row of slices that is 11 inches wide, in inches."""
        return 11 / len(self.picks) * 1.15

    @property
    def options(self) -> dict[str, Any]:
        """How ``imshow`` shows them."""
        zooms = nib.affines.voxel_sizes(self.mean.affine)
        return {
            "origin": "lower",
            "interpolation": "nearest",
            "aspect": zooms[1] / zooms[0],
        }

    def of(self, volume: np.ndarray) -> np.ndarray:
        """Return slices of a volume in one array, with NaN between them."""
        parts = [volume[(*self.area, z)].T.astype(np.float32) for z in self.picks]
        between = np.full((len(parts[0]), GAP), np.nan, dtype=np.float32)
        both = [array for part in parts for array in (part, between)]
        return np.concatenate(both[:-1], axis=1)

    def draw_mean(self, axis: "Axes") -> None:
        """Draw the mean BOLD, with the place of each slice above it."""
        values = np.asarray(self.mean.dataobj)
        top = np.percentile(values[values > 0], 99) if (values > 0).any() else 1
        drawn = self.of(values)
        axis.imshow(drawn, cmap="gray", vmin=0, vmax=top, **self.options)
        pitch = (drawn.shape[1] + GAP) // len(self.picks)
        centres = np.arange(len(self.picks)) * pitch + (pitch - GAP - 1) / 2
        places = [
            nib.affines.apply_affine(self.mean.affine, (0, 0, z))[2] for z in self.picks
        ]
        axis.set_xticks(centres, [f"z = {place:.0f} mm" for place in places])
        axis.set_yticks([])
        axis.tick_params(labelsize=9, length=0, labeltop=True, labelbottom=False)
        axis.spines[:].set_visible(False)


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


def response_quality(table: pd.DataFrame) -> "Figure":
    """Draw how alike responses are, run by run.

    Parameters
    ----------
    table : DataFrame
        Columns ``run``, ``same`` (correlation of response patterns to one picture),
        ``different`` (to different pictures) and ``deviation`` (of responses).
    """
    with styled_figure(figsize=(11, 3.2)) as figure:
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


def ceilings(percent: dict[str, np.ndarray]) -> "Figure":
    """Draw how the noise ceiling is distributed over the voxels of each region.

    Parameters
    ----------
    percent : dict of str to array of shape (n_voxels,)
        Region -> noise ceiling in percent.
    """
    with styled_figure(figsize=(6, 2.8)) as figure:
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
) -> "Figure":
    """Draw pictures seen above their reconstructions.

    Parameters
    ----------
    groups : dict of str to sequence of (array, array, str)
        Title of a group -> (seen, reconstructed, caption); pictures are (3, H, W).
    """
    n_columns = max(len(items) for items in groups.values())
    with styled_figure(figsize=(1.35 * n_columns + 1.2, 3.8 * len(groups))) as figure:
        spaced = {"hspace": 0.3}
        axes = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw=spaced)[:, 0]
        for axis, (title, items) in zip(axes, groups.items(), strict=True):
            axis.set_title(title, fontsize=11, loc="left")
            for row, word in enumerate(("seen", "reconstructed")):
                place = (-0.05, (row + 0.5) * PITCH)
                axis.text(*place, word, rotation=90, ha="right", va="center", size=9)
            for column, (seen, made, caption) in enumerate(items):
                centre = (column + 0.5) * PITCH
                _draw_framed(axis, seen, centre, 0.5 * PITCH)
                _draw_framed(axis, made, centre, 1.5 * PITCH)
                axis.text(centre, 2 * PITCH, caption, ha="center", va="top", size=8)
            axis.set_axis_off()
            axis.set(xlim=(0, n_columns * PITCH), ylim=(2 * PITCH, 0), aspect="equal")
    return figure


def _draw_framed(axis: "Axes", picture: np.ndarray, x: float, y: float) -> None:
    """Draw a picture (3, H, W) around a place, its longer side one."""
    from matplotlib.patches import Rectangle

    height, width = np.array(picture.shape[1:]) / max(picture.shape[1:])
    axis.imshow(
        np.clip(picture.transpose(1, 2, 0), 0, 1),
        interpolation="nearest",
        extent=(x - width / 2, x + width / 2, y + height / 2, y - height / 2),
    )
    corner = (x - width / 2, y - height / 2)
    frame = Rectangle(corner, width, height, fill=False, edgecolor="0.6")
    axis.add_patch(frame)


def combination_weights(weights: dict[str, dict[str, float]]) -> "Figure":
    """Draw the weight of each patch size, one dot per fold.

    Parameters
    ----------
    weights : dict of str to dict of str to float
        Fold -> patch size -> weight.
    """
    sizes = list(next(iter(weights.values())))
    with styled_figure(figsize=(6, 2.8)) as figure:
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

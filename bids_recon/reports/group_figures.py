"""Figures of the group's page: scores, paired differences, ranks."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bids_recon.reports.figures import COLOURS, in_style, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUP, PERSON, QUIET = "#1b1f24", COLOURS[0], "#8b949e"

BANDS = (
    ("ceiling", "#009e73", "ceiling"),
    ("floor_retrieval", "#e69f00", "nearest known picture"),
    ("floor", "#d55e00", "mean picture"),
    ("chance", QUIET, "chance"),
)
"""Columns drawn as levels, with colour and name."""


def inline(figure: "Figure", salt: str) -> str:
    """Return a figure as SVG that can stand in a page, with links that work."""
    text = StringIO()
    with in_style(**{"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def writer(figure: "Figure", kind: str) -> Callable[[Path], None]:
    """Return what writes a figure as SVG or PDF without a date."""
    date = "CreationDate" if kind == "pdf" else "Date"

    def write(part: Path) -> None:
        with in_style():
            figure.savefig(
                part, format=kind, metadata={date: None}, bbox_inches="tight"
            )

    return write


def scores(table: pd.DataFrame, people: pd.DataFrame, label: str) -> "Figure":
    """Draw the score of each recipe and set of regions, and of each participant.

    Parameters
    ----------
    table : DataFrame
        Rows of one metric of the group's scores.
    people : DataFrame
        recipe, roi, value and url for each participant.
    label : str
        What the metric is called.
    """
    rows = table.to_dict("records")
    with styled_figure(figsize=(8, 0.9 + 0.42 * len(rows))) as figure:
        axis = figure.subplots()
        for place, row in enumerate(rows):
            for name, colour, _ in BANDS:
                if np.isfinite(row[name]):
                    axis.vlines(
                        row[name], place - 0.38, place + 0.38, color=colour, lw=2.5
                    )
            own = people[
                (people["recipe"] == row["recipe"]) & (people["roi"] == row["roi"])
            ]
            shift = np.linspace(-0.22, 0.22, len(own)) if len(own) > 1 else [0.0]
            points = axis.scatter(
                own["value"], place + np.array(shift), s=16, color=PERSON, alpha=0.7
            )
            points.set_urls(list(own["url"]))
            _interval(axis, row["mean"], row, place)
        axis.set_yticks(
            range(len(rows)), [f"{row['recipe']}, {row['roi']}" for row in rows]
        )
        _finish(axis, label, len(rows))
        for _, colour, words in BANDS:
            axis.plot([], [], color=colour, lw=2.5, label=words)
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def differences(table: pd.DataFrame, label: str) -> "Figure":
    """Draw paired differences: a point per participant, and the group's interval.

    Parameters
    ----------
    table : DataFrame
        Rows of one metric and kind of the group's differences.
    label : str
        What the metric is called.
    """
    pairs = list(
        dict.fromkeys(zip(table["a"], table["b"], table["within"], strict=True))
    )
    with styled_figure(figsize=(8, 0.9 + 0.45 * len(pairs))) as figure:
        axis = figure.subplots()
        axis.axvline(0, color=QUIET, lw=1, linestyle=":")
        for place, (a, b, within) in enumerate(pairs):
            rows = table[
                (table["a"] == a) & (table["b"] == b) & (table["within"] == within)
            ]
            people = rows[rows["subject"] != "all"]
            shift = np.linspace(-0.25, 0.25, len(people)) if len(people) > 1 else [0.0]
            for offset, row in zip(shift, people.to_dict("records"), strict=True):
                axis.hlines(
                    place + offset, row["ci_low"], row["ci_high"], color=PERSON, lw=0.8
                )
                axis.plot(row["difference"], place + offset, "o", ms=3, color=PERSON)
            (group,) = rows[rows["subject"] == "all"].to_dict("records")
            _interval(axis, group["difference"], group, place)
        axis.set_yticks(
            range(len(pairs)), [f"{a} − {b}, {within}" for a, b, within in pairs]
        )
        _finish(axis, f"Difference of {label[0].lower()}{label[1:]}", len(pairs))
    return figure


def ranks(table: pd.DataFrame) -> "Figure":
    """Draw the rank of each recipe, the ranks of 95 % of the draws, and P(best)."""
    rows = table.sort_values(["roi", "rank", "recipe"]).to_dict("records")
    with styled_figure(figsize=(8, 0.9 + 0.36 * len(rows))) as figure:
        axis = figure.subplots()
        for place, row in enumerate(rows):
            axis.hlines(place, row["rank_low"], row["rank_high"], color=GROUP, lw=2)
            axis.plot(row["rank"], place, "s", color=GROUP, ms=5)
            axis.annotate(
                f"best in {row['p_best']:.0%}",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
            )
        axis.set_yticks(
            range(len(rows)), [f"{row['recipe']}, {row['roi']}" for row in rows]
        )
        axis.set_xticks(range(1, int(max(r["rank_high"] for r in rows)) + 1))
        _finish(axis, "Rank", len(rows))
    return figure


def _interval(axis: "Axes", mean: float, row: dict[str, float], place: float) -> None:
    if np.isfinite(row["ci_low"]):
        axis.hlines(place, row["ci_low"], row["ci_high"], color=GROUP, lw=2.2)
    axis.plot(mean, place, "D", color=GROUP, ms=5)


def _finish(axis: "Axes", label: str, n_rows: int) -> None:
    axis.set_xlabel(label)
    axis.set_ylim(n_rows - 0.4, -0.6)

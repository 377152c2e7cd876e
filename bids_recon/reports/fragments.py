"""Pieces of HTML for reports; all text from outside is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isfinite

import pandas as pd

METRIC_WORDS = {
    "pixel_correlation": ("Pixel correlation", "higher"),
    "ssim": ("Structural similarity (SSIM)", "higher"),
    "mse": ("Mean squared error", "lower"),
    "two_way_identification": ("Two-way identification", "higher"),
    "top1_identification": ("Identification, first of n", "higher"),
    "patch_accuracy": ("Pixels on the right side of ½", "higher"),
    "f1": ("F1 of bright pixels", "higher"),
    "mcc": ("Matthews correlation of bright pixels", "higher"),
}


NETWORK_WORDS = {
    "ssim": "SSIM",
    "alexnet": "AlexNet",
    "inception": "Inception v3",
    "clip": "CLIP",
    "dinov2": "DINOv2",
    "swav": "SwAV",
    "efficientnet": "EfficientNet",
}


def metric_words(name: str) -> tuple[str, str]:
    """Return how a reader knows a metric, and whether higher or lower is better."""
    if name in METRIC_WORDS:
        return METRIC_WORDS[name]
    if name == "lpips":
        return "Perceptual distance (LPIPS)", "lower"
    start, _, kind = name.partition("_")
    layer = start.lstrip("abcdefghijklmnopqrstuvwxyz")
    if start in NETWORK_WORDS:
        layer = ""
    network = NETWORK_WORDS.get(
        start, NETWORK_WORDS.get(start.removesuffix(layer), start)
    )
    network += f", layer {layer}" if layer else ""
    if kind == "distance":
        return f"Distance of features, {network}", "lower"
    return f"Two-way identification, {network}", "higher"


HEADLINES = ("two_way_identification", "pixel_correlation")


def headline(metrics: Sequence[str]) -> str:
    """Return the metric that sentences are about."""
    identified = [name for name in metrics if name.endswith("two_way")]
    return next((m for m in (*HEADLINES, *identified) if m in metrics), metrics[0])


def headline_first(metrics: Sequence[str]) -> list[str]:
    """Return metrics, each once, that which sentences are about before the others."""
    first = [headline(metrics)] if metrics else []
    return list(dict.fromkeys([*first, *metrics]))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are escaped."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headers)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        '<div class="wide"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pairs(data: Mapping[str, object]) -> str:
    """Return a list of names and values; both are escaped."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in data.items()
    )
    return f"<dl>{items}</dl>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; its text is escaped."""
    return f'<p class="{escape(kind)}">{escape(text)}</p>'


def bullet_list(lines: Iterable[str], kind: str = "") -> str:
    """Return a list; its lines are escaped."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{escape(kind)}">{items}</ul>'


def folded(title: str, note: str, html: str) -> str:
    """Return what is seen when it is opened; the title and the note are escaped."""
    return (
        f"<details><summary>{escape(title)}</summary>"
        f"{paragraph(note, 'caption')}{html}</details>"
    )


def number(value: float, digits: int = 3) -> str:
    """Return a number for a reader; n/a where there is none."""
    if value is None or not isfinite(float(value)):
        return "n/a"
    return f"{float(value):.{digits}f}"


def short(value: float) -> str:
    """Return a number with three digits; what rounding in tables left is 0.

    >>> short(-2.5e-8), short(0.00012), short(-0.0083), short(12345.6)
    ('0.000', '0.00012', '-0.008', '1.23e+04')
    """
    if abs(value) < 1e-6:
        return "0.000"
    return f"{value:.3g}" if abs(value) >= 100 or abs(value) < 0.001 else number(value)


def score_table(scores: pd.DataFrame) -> str:
    """Return the scores of one analysis, with chance, intervals and floors."""
    rows, by_set = [], scores["set"].notna().any()
    for row in scores.to_dict("records"):
        words, better = metric_words(row["metric"])
        if row["metric"] == "top1_identification":
            words += f" = {_count(row['n_candidates'])}"
        words += " ↑" if better == "higher" else " ↓"
        interval = f"{number(row['ci_low'])} to {number(row['ci_high'])}"
        p_value = row["p_value"]
        rows.append(
            (
                row["profile"],
                *(["all" if pd.isna(row["set"]) else row["set"]] if by_set else []),
                words,
                number(row["value"]),
                interval if "n/a" not in interval else "n/a",
                number(row["chance"]),
                "n/a" if pd.isna(p_value) else f"{p_value:.2g}",
                number(row["floor"]),
                number(row["floor_retrieval"]),
                number(row["ceiling"]),
                number(row["n"], 0),
                number(row["n_pictures"], 0),
            )
        )
    headers = (
        "Profile",
        *(["Set"] if by_set else []),
        "Metric",
        "Mean",
        "95 % interval",
        "Chance",
        "p",
        "Mean picture",
        "Nearest known",
        "Ceiling",
        "n",
        "Pictures",
    )
    return table(headers, rows)


SPURIOUS_WORDS = {
    "zero_shot_top1": "True feature first among it and all training features",
    "zero_shot_top10": "True feature among the first 10 of these",
    "zero_shot_top50": "True feature among the first 50 of these",
    "within_category_two_way": "Two-way identification within categories",
    "two_way_identification": "Two-way identification by features",
    "two_way_of_categories_alone": "Two-way identification of perfect categories alone",
    "two_way_near_training_pictures": "Two-way, pictures like training pictures",
    "two_way_far_training_pictures": "Two-way, pictures unlike training pictures",
    "effective_dimension_decoded": "Effective dimension of decoded features",
    "effective_dimension_true": "Effective dimension of true features",
}


def spurious_table(checks: pd.DataFrame) -> str:
    """Return the checks for spurious reconstruction of one analysis."""
    rows = [
        (
            SPURIOUS_WORDS.get(row["measure"], row["measure"]),
            number(row["value"]),
            number(row["chance"]),
            "n/a" if pd.isna(row["p_value"]) else f"{row['p_value']:.2g}",
        )
        for row in checks.to_dict("records")
    ]
    return table(("Could categories alone explain it?", "Value", "Chance", "p"), rows)


def _count(value: object) -> str:
    if pd.isna(value):
        return "n/a"
    return str(int(value)) if isinstance(value, float) else str(value)

"""The gallery of all reconstructions, as HTML that ``page.js`` sorts and filters."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from urllib.parse import quote

import numpy as np

from bids_recon.reports.fragments import metric_words, paragraph

N_STATIC = 24
"""Trials that are shown without JavaScript."""


@dataclass(frozen=True)
class Made:
    """What was reconstructed of a trial.

    Parameters
    ----------
    images : tuple of str
        File names, one for each sample.
    scores : tuple of float
        Of the first, one for each metric; NaN where there is none.
    """

    images: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A test trial.

    Parameters
    ----------
    trial : int
        Its number.
    stimulus : str
        The image that was seen.
    place : str
        Session, task, run and onset, in words.
    seen : str or None
        The file name of a copy of the image; None where none was seen.
    made : tuple of Made or None
        What each column has of it.
    """

    trial: int
    stimulus: str
    place: str
    seen: str | None
    made: tuple[Made | None, ...]


@dataclass(frozen=True)
class Gallery:
    """All trials of a participant.

    Parameters
    ----------
    columns : sequence of (str, str)
        Recipe with regions, and the folder of its images as the page sees it.
    metrics : sequence of str
        The scores, the one to show first.
    seen : str
        The folder of copies of images that were seen.
    rows : sequence of Row
        The trials.
    """

    columns: Sequence[tuple[str, str]]
    metrics: Sequence[str]
    seen: str
    rows: Sequence[Row]


def gallery_html(gallery: Gallery) -> str:
    """Return the gallery: some trials to be read as they are, and the data of all."""
    places = np.linspace(0, len(gallery.rows) - 1, N_STATIC).round().astype(int)
    shown = [gallery.rows[place] for place in np.unique(places)]
    narrow = " narrow" if len(gallery.columns) == 1 else ""
    cards = "".join(_card(gallery, row) for row in shown)
    folders = ", ".join(
        f'<a href="{quote(folder)}/">{escape(name)}</a>'
        for name, folder in gallery.columns
    )
    sample = ""
    if len(shown) < len(gallery.rows):
        sample = (
            f'<p class="sample">{len(shown)} of {len(gallery.rows)} trials, evenly '
            "spaced; with JavaScript, all of them. All files: "
            f"{folders}.</p>"
        )
    note = (
        f"{len(gallery.rows)} test trials: the image that was seen, and what each "
        "recipe made of the responses to it. Open one to see it large, with its scores."
    )
    return (
        f"{paragraph(note, 'caption')}"
        f'<div class="gallery">{sample}<ul class="cards{narrow}">{cards}</ul>'
        f'<script type="application/json">{_data(gallery)}</script></div>'
    )


def _card(gallery: Gallery, row: Row) -> str:
    if row.seen:
        smooth = ' class="smooth"' if row.seen.endswith(".jpg") else ""
        seen = _image(f"{gallery.seen}/{row.seen}", f"seen: {row.stimulus}", smooth)
    else:
        seen = '<div class="none">no image</div>'
    figures = [f"<figure>{seen}<figcaption>seen</figcaption></figure>"]
    for (name, folder), made in zip(gallery.columns, row.made, strict=True):
        if made is None:
            image = '<div class="none">not made</div>'
        else:
            path = f"{folder}/{made.images[0]}"
            words = f"reconstructed by {name}: {row.stimulus}"
            image = f'<a href="{quote(path)}">{_image(path, words)}</a>'
        caption = name if len(gallery.columns) > 1 else "reconstructed"
        if made is not None and made.scores and isfinite(made.scores[0]):
            caption += f": {made.scores[0]:.2f}"
        figures.append(
            f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return (
        f'<li><p class="title" title="{escape(row.place)}">{row.trial}. '
        f'{escape(row.stimulus)}</p><div class="strip">{"".join(figures)}</div></li>'
    )


def _image(path: str, words: str, attributes: str = "") -> str:
    return (
        f'<img loading="lazy" decoding="async" src="{quote(path)}" '
        f'alt="{escape(words)}"{attributes}>'
    )


def _data(gallery: Gallery) -> str:
    """Return the data as JSON in which nothing can end the element that holds it."""
    metrics = [(name, *metric_words(name)) for name in gallery.metrics]
    data = {
        "columns": [{"name": n, "folder": folder} for n, folder in gallery.columns],
        "metrics": [{"words": words, "better": better} for _, words, better in metrics],
        "seen": gallery.seen,
        "rows": [
            {
                "trial": row.trial,
                "stimulus": row.stimulus,
                "place": row.place,
                "seen": row.seen,
                "made": [
                    made
                    and {
                        "images": made.images,
                        "scores": [
                            round(score, 4) if isfinite(score) else None
                            for score in made.scores
                        ],
                    }
                    for made in row.made
                ],
            }
            for row in gallery.rows
        ],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028")

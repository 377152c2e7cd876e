"""The same test pictures, seen and as each recipe reconstructed them."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from bids_recon.errors import UserError
from bids_recon.pictures import open_picture
from bids_recon.settings import Settings
from bids_recon.stages.report.group_level.rows import Block, Entry

N_SHOWN = 8
SIDE = 96
"""Pixels of the longer side of a picture that was seen."""

OPEN_ROWS = 12
"""More rows than these are folded, recipe by recipe."""


def shown_pictures(block: Block) -> list[str]:
    """Return which test pictures are shown: evenly over their names."""
    names = sorted(block.entries[0].images)
    places = np.unique(np.linspace(0, len(names) - 1, N_SHOWN).round().astype(int))
    return [names[place] for place in places]


def seen_files(
    settings: Settings, block: Block, folder: Path
) -> dict[str, tuple[Path, Callable[[Path], None]]]:
    """Return small copies of the pictures shown, where the pictures can be found.

    Parameters
    ----------
    settings : Settings
        What the run was asked for; pictures are in ``--stimuli`` or BIDS_DIR/stimuli.
    block : Block
        Whose pictures.
    folder : Path
        Where copies go.

    Returns
    -------
    dict of str to tuple of Path and callable
        For each picture, its copy, and what writes it.
    """
    root = settings.stimuli or settings.bids_dir / "stimuli"
    roots = [root, *sorted(settings.work.glob("sub-*/patterns"))]
    found = {}
    for index, name in enumerate(shown_pictures(block), start=1):
        for place in roots:
            path = place / name
            inside = path.resolve().is_relative_to(place.resolve())
            leaves = Path(name).is_absolute() or ".." in Path(name).parts
            if leaves or not (inside or path.is_symlink()):
                continue
            try:
                picture = open_picture(path)
            except UserError:
                continue
            picture = _small(picture)
            copy = folder / f"desc-seen{block.name}{index:02d}_picture.png"
            found[name] = (
                copy,
                lambda part, picture=picture: picture.save(part, format="PNG"),
            )
            break
    return found


def _small(picture: Image.Image) -> Image.Image:
    scale = SIDE / max(picture.size)
    size = [max(1, round(side * scale)) for side in picture.size]
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC
    return picture.resize(size, method)


def picture_grid(block: Block, seen: dict[str, Path], output_dir: Path) -> str:
    """Return the grid: a column for each picture, a row for each reconstruction."""
    names = shown_pictures(block)
    heads = "".join(
        _cell(seen[name].relative_to(output_dir).as_posix(), name)
        if name in seen
        else f"<td>{escape(name)}</td>"
        for name in names
    )
    first = f"<tr><th>Seen</th>{heads}</tr>"
    groups: dict[str, list[Entry]] = {}
    for entry in block.entries:
        groups.setdefault(f"{entry.recipe}, {entry.roi}", []).append(entry)
    tables = []
    opened = " open" if len(block.entries) <= OPEN_ROWS else ""
    for title, entries in groups.items():
        rows = "".join(_row(entry, names, output_dir) for entry in entries)
        tables.append(
            f"<details{opened or (' open' if not tables else '')}>"
            f"<summary>{escape(title)}</summary>"
            f'<div class="wide"><table class="pictures">{first}{rows}</table></div>'
            "</details>"
        )
    return "".join(tables)


def _row(entry: Entry, names: list[str], output_dir: Path) -> str:
    label = participant_link(entry.subject, output_dir)
    cells = "".join(
        _cell(entry.images[name], f"{name}, sub-{entry.subject}, {entry.recipe}")
        if name in entry.images
        else "<td></td>"
        for name in names
    )
    return f"<tr><th>{label}</th>{cells}</tr>"


def _cell(path: str, words: str) -> str:
    return (
        f'<td><a href="{quote(path)}"><img loading="lazy" src="{quote(path)}" '
        f'alt="{escape(words)}" title="{escape(words)}"></a></td>'
    )


def participant_link(subject: str, output_dir: Path) -> str:
    """Return a link to a participant's page, or the name where there is none."""
    name = f"sub-{subject}"
    if (output_dir / f"{name}.html").is_file():
        return f'<a href="{escape(name)}.html">{escape(name)}</a>'
    return escape(name)

"""Pictures that were shown: found by name below ``stimuli/``, and read."""

import os
from collections.abc import Iterable
from hashlib import sha256
from math import gcd
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from bids_recon.dataset.locks import locked
from bids_recon.dataset.tables import read_table
from bids_recon.errors import Status, UserError, first_few
from bids_recon.files import (
    check_regular,
    is_as_noted,
    new_array,
    note_checksum,
    write_whole,
)
from bids_recon.pictures import (
    EXTENSIONS,
    Pictures,
    as_bytes,
    as_floats,
    open_picture,
    size_of,
)

COLOUR = 0.02
"""A picture whose colours differ by less has none; compression leaves that much."""

ALIKE = 0.02
"""Pictures that differ by less, root mean square, are the same picture."""

SMALLEST = 8
"""Blocks are not taken for pixels where fewer than this would be left on a side."""


class Stimuli:
    """The pictures below a folder, looked up as events name them.

    A name may have or lack its extension, and may leave out folders on its left: what
    it says must be the end of the picture's path. A picture whose whole path below the
    folder it is comes first.

    Parameters
    ----------
    folder : Path
        ``stimuli/`` of the dataset, or the folder given by ``--stimuli``.
    mapping : Path, optional
        A table with the columns ``stimulus`` (what the events say) and ``file`` (the
        picture below the folder), which comes first.
    where_from : str, optional
        Where the pictures of this dataset are from, for those who lack them.

    Raises
    ------
    UserError
        If there is no such folder.
    """

    def __init__(
        self, folder: Path, mapping: Path | None = None, where_from: str = ""
    ) -> None:
        if not folder.is_dir():
            raise UserError(
                f"{folder}: there is no folder of pictures. Put the pictures that were "
                "shown into stimuli/ of the dataset, or pass --stimuli DIR. "
                f"{where_from}".rstrip(),
                Status.NO_INPUT,
            )
        self.folder = folder
        self._where_from = where_from
        self._mapping = _read_mapping(mapping)
        # By the last part of the path, with and without extension.
        self._by_name: dict[str, list[Path]] = {}
        for root, _, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                if path.suffix.lower() in EXTENSIONS:
                    for key in {path.name, path.stem}:
                        self._by_name.setdefault(key, []).append(path)

    def paths(self) -> list[Path]:
        """Return all pictures of the folder."""
        return sorted({path for paths in self._by_name.values() for path in paths})

    def look_up(self, names: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
        """Return the file of each name, and the names that have none.

        Raises
        ------
        UserError
            If a name leaves the folder or fits several files.
        """
        found = {name: self._find_one(name) for name in names}
        missing = [name for name, path in found.items() if path is None]
        return {n: path for n, path in found.items() if path is not None}, missing

    def find(self, names: Iterable[str]) -> dict[str, Path]:
        """Return the file of each name.

        Raises
        ------
        UserError
            If a name leaves the folder, fits several files, or some fit none.
        """
        found, missing = self.look_up(names)
        if missing:
            raise self.absent(missing, len(missing) + len(found))
        return found

    def absent(self, missing: list[str], n_names: int) -> UserError:
        """Return what to raise for names that no picture has."""
        elsewhere = next(
            (path for name in missing for path in self._namesakes(name)), ""
        )
        if elsewhere:
            elsewhere = (
                f" There is {elsewhere.relative_to(self.folder)}, in another folder "
                "than the events say."
            )
        return UserError(
            f"{self.folder}: {len(missing)} of {n_names} pictures that the events name "
            f"do not exist: {first_few(missing)}. Looked up with and without folder "
            f"and extension.{elsewhere} Say where they are with --stimuli DIR, which "
            "column names them with --stimulus-column NAME, which file each is with "
            "--stimulus-map TSV, which rows are trials with --trials EXPRESSION, or "
            f"which tasks to read with -t TASK. {self._where_from}".rstrip(),
            Status.NO_INPUT,
        )

    def _namesakes(self, name: str) -> list[Path]:
        """Return pictures of the same name in other folders."""
        path = PurePosixPath(self._mapping.get(name, name).replace("\\", "/"))
        return self._by_name.get(path.name) or self._by_name.get(_stem(path), [])

    def _find_one(self, name: str) -> Path | None:
        wanted = self._mapping.get(name, name)
        parts = PurePosixPath(wanted.replace("\\", "/") or ".")
        if parts.is_absolute() or ".." in parts.parts:
            raise UserError(
                f"{wanted!r} is not a path below {self.folder}: it leaves the folder "
                "of pictures. Name pictures relative to it."
            )
        path = PurePosixPath(parts.as_posix().removeprefix("stimuli/"))
        paths = self._fitting(path, path.name) or self._fitting(path, _stem(path))
        if len(paths) > 1:
            raise UserError(
                f"{self.folder}: {name!r} may be {paths[0].name} in "
                f"{' or '.join(str(path.parent) for path in paths[:2])}. Name its "
                "folder and extension, or say which with --stimulus-map TSV."
            )
        if not paths:
            return None
        check_regular(paths[0])
        relative = paths[0].relative_to(self.folder).as_posix()
        if not relative.isprintable():
            raise UserError(
                f"{self.folder}: the path of the picture {relative!r} holds characters "
                "that cannot be printed, such as a new line. Rename it."
            )
        if not paths[0].resolve().is_relative_to(self.folder.resolve()):
            _check_link(paths[0], self.folder)
        return paths[0]

    def _fitting(self, path: PurePosixPath, name: str) -> list[Path]:
        """Return pictures of a name, in the folders that a path says they are in."""
        folders = path.parent.parts
        found = [
            picture
            for picture in self._by_name.get(name, [])
            if not folders or picture.parent.parts[-len(folders) :] == folders
        ]
        exact = [p for p in found if p.parent == self.folder.joinpath(*folders)]
        return sorted(exact or found)


def _stem(path: PurePosixPath) -> str:
    """Return a name without the extension of a picture; any other dot belongs to it."""
    return path.stem if path.suffix.lower() in EXTENSIONS else path.name


def _check_link(path: Path, folder: Path) -> None:
    # A clone keeps file contents beside the dataset, in .git/annex: links there are
    # part of the dataset. Any other link that leads out of the folder is refused.
    if "annex" not in path.resolve().parts:
        raise UserError(
            f"{path}: this link leads out of {folder}, to {path.resolve()}. Put the "
            "picture itself there."
        )


def _read_mapping(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    table = read_table(path, required=("stimulus", "file"))
    table = table.dropna(subset=["stimulus", "file"])
    return dict(zip(table["stimulus"], table["file"], strict=True))


def common_size(paths: Iterable[Path], max_size: int) -> tuple[int, int]:
    """Return the height and width to which pictures are brought.

    Pictures of one size keep it, or are scaled down to ``max_size`` on the longer side.
    Patterns that were drawn with blocks for pixels, all alike, come down to one pixel a
    block, which loses nothing. Pictures of several sizes become squares of the smallest
    side among them.
    """
    paths = list(paths)
    sizes = {size_of(path) for path in paths}
    if len(sizes) > 1:
        side = min(max_size, *(min(size) for size in sizes))
        return side, side
    height, width = sizes.pop()
    block = _block(paths, height, width)
    height, width = height // block, width // block
    scale = min(1.0, max_size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _block(paths: list[Path], height: int, width: int) -> int:
    """Return the side of the blocks that all pictures are made of; mostly 1."""
    step = gcd(height, width)
    for path in paths:
        if step == 1:
            return 1
        pixels = np.asarray(open_picture(path))
        rows = np.flatnonzero((pixels[1:] != pixels[:-1]).any(axis=(1, 2))) + 1
        columns = np.flatnonzero((pixels[:, 1:] != pixels[:, :-1]).any(axis=(0, 2))) + 1
        step = gcd(step, *rows.tolist(), *columns.tolist())
    most = min(height, width) // SMALLEST
    return max(k for k in range(1, step + 1) if step % k == 0 and k <= max(most, 1))


def read_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read a picture as (3, H, W), RGB, float32 in [0, 1]."""
    return as_floats(_sized(open_picture(path), size))


def at_size(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return pictures (n, 3, *size) as they come back from a file, in bytes."""
    return np.stack([_sized(_image(picture), size) for picture in pictures])


def _sized(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Return the bytes (3, H, W) of a picture at a size."""
    height, width = size
    if (picture.height, picture.width) != size:
        whole = picture.height % height == 0 and picture.width % width == 0
        # The mean of whole blocks is exact; between pixels, Pillow's filter is smooth.
        method = Image.Resampling.BOX if whole else Image.Resampling.BICUBIC
        picture = picture.resize((width, height), method)
    return np.asarray(picture).transpose(2, 0, 1)


def is_grey(pictures: np.ndarray | Pictures) -> bool:
    """Tell whether all pictures (n, 3, H, W) have no colour."""
    return all(
        np.ptp(block, axis=1).max() < COLOUR
        for _, block in Pictures.of(pictures).blocks()
    )


def equal_to_any(
    pictures: np.ndarray | Pictures, others: np.ndarray | Pictures
) -> np.ndarray:
    """Tell which pictures are one of others, but for what saving and scaling change.

    Parameters
    ----------
    pictures : array of shape (n, 3, H, W)
    others : array of shape (m, 3, H, W)

    Returns
    -------
    array of shape (n,), bool
        Whether the root mean squared difference from any is below ``ALIKE``.
    """
    result = np.zeros(len(pictures), dtype=bool)
    for rows, block in Pictures.of(pictures).blocks():
        a = block.reshape(len(block), -1).astype(np.float64)
        for _, other in Pictures.of(others).blocks():
            b = other.reshape(len(other), -1).astype(np.float64)
            squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
            squares -= 2 * a @ b.T
            result[rows] |= (squares / a.shape[1] < ALIKE**2).any(axis=1)
    return result


def load_pictures(
    paths: list[Path], checksums: list[str], size: tuple[int, int], cache: Path
) -> Pictures:
    """Read pictures once into a file of bytes, which is mapped.

    Of a file they are 8-bit RGB, and so they are after a change of size, so that bytes
    hold all there is.

    Parameters
    ----------
    paths : list of Path
        The pictures.
    checksums : list of str
        SHA-256 of each, by which the array is found again.
    size : (height, width)
        What they are brought to.
    cache : Path
        The folder in which the array is kept.

    Returns
    -------
    Pictures of shape (n_stimuli, 3, H, W)
    """
    digest = sha256(f"{size} {' '.join(checksums)}".encode()).hexdigest()[:16]
    target = cache / f"pictures-{digest}.npy"

    def write(part: Path) -> None:
        array = new_array(part, (len(paths), 3, *size), "uint8")
        with part.open("r+b") as stream:
            stream.seek(array.offset)
            for path in paths:
                stream.write(_sized(open_picture(path), size).tobytes())

    # Participants who saw the same pictures share the file.
    with locked([target.with_suffix(".lock")]):
        if not is_as_noted(target):
            write_whole(target, write)
            note_checksum(target)
    return Pictures.of(np.load(target, mmap_mode="r"))


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write (3, H, W) in [0, 1] as an 8-bit RGB PNG."""
    image = _image(picture)
    write_whole(path, lambda part: image.save(part, format="PNG"))


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(as_bytes(picture).transpose(1, 2, 0)))

"""Picture files, opened only in formats that are read; pictures kept as bytes."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, TiffImagePlugin

from bids_recon.datatypes import fresh
from bids_recon.errors import UserError
from bids_recon.files import check_regular

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Pillow knows others, some of which start programs."""

LARGEST = 10_000 * 10_000
DEEP = 65535
"""The largest value of 16 bits."""

BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
"""Tags of TIFF."""

# Pillow keeps the first of the two bytes of a colour. Read in the other order of bytes,
# it keeps the second; pairs of grey and opacity come whole as four bytes.
OTHER_BYTES = {
    "RGB;16B": "RGB;16L",
    "RGB;16L": "RGB;16B",
    "RGB;16N": "RGB;16B",
    "RGBA;16B": "RGBA;16L",
    "RGBA;16L": "RGBA;16B",
    "RGBA;16N": "RGBA;16B",
    "LA;16B": "RGBA",
}


BLOCK_VALUES = 2**22
"""How many values of pictures are turned into numbers at a time: 16 MB."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures that are kept as bytes, and come as float32 in [0, 1].

    ``np.asarray`` reads all of them, and iteration one after the other; ``[rows]``
    chooses some and reads nothing.

    Parameters
    ----------
    values : array of shape (n_kept, 3, H, W), uint8 or float32
        May be memory-mapped. Those that are no bytes come as they are.
    rows : array of shape (n,)
        Which of them these are.
    """

    values: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, pictures: "np.ndarray | Pictures") -> Self:
        """Take an array (n, 3, H, W) for pictures."""
        if isinstance(pictures, cls):
            return pictures
        return cls(pictures, np.arange(len(pictures)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, 3, H, W)."""
        return (len(self.rows), *self.values.shape[1:])

    def __getitem__(self, rows: slice | np.ndarray) -> Self:
        return type(self)(self.values, self.rows[rows])

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, block in self.blocks():
            yield from block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        result = np.empty(self.shape, dtype=dtype or np.float32)
        for rows, block in self.blocks():
            result[rows] = block
        return result

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield some pictures (n, 3, H, W) at a time, float32 in [0, 1]."""
        step = max(1, BLOCK_VALUES // max(1, int(np.prod(self.shape[1:]))))
        for start in range(0, len(self), step):
            part = slice(start, min(start + step, len(self)))
            # What was read through a map of its own stops counting as memory with it.
            yield part, as_floats(fresh(self.values)[self.rows[part]])

    def mean(self) -> np.ndarray:
        """Return the mean picture (3, H, W)."""
        total = np.zeros(self.shape[1:], dtype=np.float32)
        for picture in self:
            total += picture
        return total / len(self)


def as_floats(pixels: np.ndarray) -> np.ndarray:
    """Return bytes as float32 in [0, 1], and what is no bytes as it is."""
    if pixels.dtype != np.uint8:
        return np.asarray(pixels, dtype=np.float32)
    return pixels.astype(np.float32) / 255


def as_bytes(picture: np.ndarray) -> np.ndarray:
    """Return a picture in [0, 1], rounded to the bytes that a file of it holds."""
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def open_picture(path: Path) -> Image.Image:
    """Read a picture as 8-bit RGB, on white where it is clear.

    Values of 16 bits are scaled by their depth, whatever the largest of them is.
    Numbers with a decimal point go from 0 to 1.

    Raises
    ------
    UserError
        If the file is no picture, is damaged, is unreasonably large, or holds several
        pictures or values whose range nobody knows.
    """
    with _opened(path) as picture:
        if picture.width * picture.height > LARGEST:
            raise UserError(
                f"{path}: the picture has {picture.width} x {picture.height} pixels; "
                "at most 10,000 x 10,000 are read. Make it smaller."
            )
        if picture.format != "MPO" and getattr(picture, "is_animated", False):
            raise UserError(
                f"{path}: the file holds {picture.n_frames} pictures, and a trial "
                "shows one. Save the one that was shown."
            )
        if picture.mode == "F" or picture.mode.startswith("I"):
            return _from_deep_grey(picture, path).convert("RGB")
        raw_mode = _raw_mode(picture)
        if raw_mode in OTHER_BYTES:
            picture = _from_deep_colours(picture, raw_mode, path)
        if "A" in picture.getbands() or "transparency" in picture.info:
            rgba = picture.convert("RGBA")
            canvas = Image.new("RGBA", rgba.size, "white")
            return Image.alpha_composite(canvas, rgba).convert("RGB")
        return picture.convert("RGB")


def size_of(path: Path) -> tuple[int, int]:
    """Return the height and width of a picture.

    Raises
    ------
    UserError
        If the file is no picture.
    """
    with _opened(path) as picture:
        return picture.height, picture.width


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    check_regular(path)
    try:
        # Pillow warns of pictures that are large, and of odd tags.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as picture:
                yield picture
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes Pillow raise whatever it meets
        raise UserError(
            f"{path}: not a picture that can be read ({error}). These formats are "
            f"read: {', '.join(FORMATS)}."
        ) from error


def _from_deep_grey(picture: Image.Image, path: Path) -> Image.Image:
    values = np.asarray(picture, dtype=np.float64)
    if picture.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):
            raise UserError(
                f"{path}: its values go from {values.min():g} to {values.max():g}; "
                "numbers with a decimal point are read from 0 (black) to 1 (white). "
                "Scale them, or save it with 8 or 16 bits."
            )
        return Image.fromarray((values * 255).round().astype(np.uint8))
    top = DEEP
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(BITS, (1,))[0]
        if picture.mode == "I":
            raise UserError(
                f"{path}: its values have {bits} bits and a sign or a range that the "
                "file does not say. Save it with 8 or 16 bits, without a sign."
            )
        top = 2**bits - 1
        if picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = top - values
    return Image.fromarray((values / top * 255).round().astype(np.uint8))


def _raw_mode(picture: Image.Image) -> str:
    """Return how the values stand in the file, in Pillow's words."""
    arguments = picture.tile[0].args if picture.tile else ""
    return arguments[0] if isinstance(arguments, tuple) else str(arguments)


def _from_deep_colours(picture: Image.Image, raw_mode: str, path: Path) -> Image.Image:
    """Return a picture of 16 bits a colour in 8 bits, rounded as it should be."""
    other = OTHER_BYTES[raw_mode]
    with _opened(path) as again:
        again.tile = [
            tile._replace(
                args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other
            )
            for tile in again.tile
        ]
        second = np.asarray(again, dtype=np.uint32)
    if raw_mode == "LA;16B":
        values = second[..., ::2] * 256 + second[..., 1::2]
        values = values[..., [0, 0, 0, 1]]
    else:
        values = np.asarray(picture, dtype=np.uint32) * 256 + second
    return Image.fromarray(((values * 255 + DEEP // 2) // DEEP).astype(np.uint8))


def stretched(picture: np.ndarray, percent: float) -> np.ndarray:
    """Return a picture in [0, 1], so many percent of its values clipped at its ends."""
    low, high = np.percentile(picture, (percent / 2, 100 - percent / 2))
    if high <= low:
        return np.clip(picture, 0, 1)
    return (np.clip(picture, low, high) - low) / (high - low)

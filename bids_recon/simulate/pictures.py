"""Pictures to show to a simulated person."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import skimage.data
from skimage import img_as_float
from skimage.transform import resize
from sklearn.datasets import load_digits, load_sample_image

from bids_recon.errors import UserError


def digits(n_pictures: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Draw scikit-learn's handwritten digits, 8 x 8 pixels, in 17 shades of grey.

    Returns
    -------
    pictures : array of shape (n_pictures, 8, 8)
        In [0, 1], no two equal.
    names : list of str
        The category, then a number: ``three-0017``.
    """
    data = load_digits()
    chosen = rng.permutation(len(data.images))[:n_pictures]
    words = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
    ]
    names = [f"{words[data.target[index]]}-{index:04d}" for index in chosen]
    return data.images[chosen] / 16, names


def patterns(
    n_pictures: int, rng: np.random.Generator, side: int = 10
) -> tuple[np.ndarray, list[str]]:
    """Draw random patterns of black and white squares.

    Returns
    -------
    pictures : array of shape (n_pictures, side, side)
        0 or 1.
    names : list of str
        The category (brighter or darker than the middle), then a number.
    """
    pictures = (rng.random((n_pictures, side, side)) < 0.5).astype(float)
    means = pictures.mean(axis=(1, 2))
    words = np.where(means > np.median(means), "bright", "dark")
    return pictures, [f"{word}-{index:04d}" for index, word in enumerate(words)]


PHOTOGRAPHS = (
    "astronaut",
    "cat",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
)
"""Those of scikit-image in colour that come with it."""

SAMPLES = ("china.jpg", "flower.jpg")
"""Those of scikit-learn."""


def photographs(
    n_pictures: int, rng: np.random.Generator, side: int = 64
) -> tuple[np.ndarray, list[str]]:
    """Cut squares out of photographs; no two overlap.

    Returns
    -------
    pictures : array of shape (n_pictures, side, side, 3)
        In [0, 1].
    names : list of str
        The photograph, then a number: ``coffee-0017``.
    """
    squares, names = [], []
    for name, image in _photographs():
        # Every photograph gives about 60 squares, each brought to one size.
        step = max(side, int(np.sqrt(image.shape[0] * image.shape[1] / 60)))
        rows = range(0, image.shape[0] - step + 1, step)
        columns = range(0, image.shape[1] - step + 1, step)
        for row, column in product(rows, columns):
            square = image[row : row + step, column : column + step]
            squares.append(resize(square, (side, side), anti_aliasing=True))
            names.append(name)
    if n_pictures > len(squares):
        raise UserError(
            f"The photographs give {len(squares)} squares; {n_pictures} were asked for."
        )
    chosen = rng.permutation(len(squares))[:n_pictures]
    return (
        np.stack([squares[index] for index in chosen]),
        [f"{names[index]}-{index:04d}" for index in chosen],
    )


def _photographs() -> Iterator[tuple[str, np.ndarray]]:
    for name in PHOTOGRAPHS:
        yield name.replace("_", ""), img_as_float(getattr(skimage.data, name)())
    for name in SAMPLES:
        yield name.removesuffix(".jpg"), img_as_float(load_sample_image(name))


PICTURES = {"digits": digits, "patterns": patterns, "photographs": photographs}

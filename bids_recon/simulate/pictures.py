"""Pictures to show to a simulated person."""

import numpy as np
from sklearn.datasets import load_digits


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


PICTURES = {"digits": digits, "patterns": patterns}

"""Whether a reconstruction is closer to its own picture than to others.

All functions take the similarity (n, n_candidates) of every reconstruction with every
candidate, NaN where one is no candidate, and give the score of every reconstruction if
each candidate in turn had been its own: (n, n_candidates).
"""

from collections.abc import Iterator

import numpy as np

DECIMALS = 9
"""Similarities that agree to so many decimals are ties."""


def two_way(similarity: np.ndarray) -> np.ndarray:
    """Share of the other candidates to which a reconstruction is less alike.

    A tie counts one half, so that chance is 0.5; NaN without other candidates.
    """
    result = np.full(similarity.shape, np.nan)
    for rows, columns, values in _blocks(similarity):
        if len(columns) > 1:
            ranks = _ranks(values, axis=1)
            result[np.ix_(rows, columns)] = (ranks - 1) / (len(columns) - 1)
    return result


def top1(similarity: np.ndarray) -> np.ndarray:
    """Whether a candidate is the most alike of all.

    A tie for the first place counts one over the number of tied candidates, so that
    chance is one over the number of candidates; NaN without other candidates.
    """
    result = np.full(similarity.shape, np.nan)
    for rows, columns, values in _blocks(similarity):
        if len(columns) > 1:
            first = values == values.max(axis=1, keepdims=True)
            result[np.ix_(rows, columns)] = first / first.sum(axis=1, keepdims=True)
    return result


def two_way_of_originals(similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Share of the other reconstructions to which a picture is less alike.

    Of those that share the candidates, and are of other pictures than ``own`` (n,)
    says; a tie counts one half.
    """
    result = np.full(similarity.shape, np.nan)
    for rows, columns, values in _blocks(similarity):
        among_all = _ranks(values, axis=0)
        among_own = np.empty_like(among_all)
        n_other = np.empty(len(rows))
        for picture in np.unique(own[rows]):
            same = own[rows] == picture
            among_own[same] = _ranks(values[same], axis=0)
            n_other[same] = len(rows) - same.sum()
        if (n_other > 0).all():
            result[np.ix_(rows, columns)] = (among_all - among_own) / n_other[:, None]
    return result


def _ranks(values: np.ndarray, axis: int) -> np.ndarray:
    # scipy.stats takes long to load.
    from scipy.stats import rankdata

    return rankdata(values, axis=axis)


def _blocks(
    similarity: np.ndarray,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give rows that share their candidates, these, and the rounded similarities."""
    masks, which = np.unique(np.isfinite(similarity), axis=0, return_inverse=True)
    for index, mask in enumerate(masks):
        rows, columns = np.flatnonzero(which.ravel() == index), np.flatnonzero(mask)
        yield rows, columns, np.round(similarity[np.ix_(rows, columns)], DECIMALS)


def candidates(fold: np.ndarray, own: np.ndarray, n_pictures: int) -> np.ndarray:
    """Return which pictures each reconstruction is compared with, (n, n_pictures).

    The distinct pictures of its own fold, because the decoders of other folds were
    trained on them; those of all folds where a fold has one picture only, as in
    leave-one-picture-out.

    Parameters
    ----------
    fold : array of shape (n,)
        The fold in which each reconstruction was made.
    own : array of shape (n,)
        The picture that was seen.
    n_pictures : int
        How many pictures there are.
    """
    mask = np.zeros((len(own), n_pictures), dtype=bool)
    for name in np.unique(fold):
        rows = fold == name
        pictures = np.unique(own[rows])
        if len(pictures) < 2:
            mask[:, np.unique(own)] = True
            return mask
        mask[np.ix_(rows, pictures)] = True
    return mask

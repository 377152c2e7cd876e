"""Whether a reconstruction is closer to its own picture than to others."""

import numpy as np


def two_way(similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Share of the other candidates to which a reconstruction is less alike.

    Parameters
    ----------
    similarity : array of shape (n, n_candidates)
        Of every reconstruction with every candidate; NaN where one is no candidate.
    own : array of shape (n,)
        The column of the picture that was seen.

    Returns
    -------
    array of shape (n,)
        A tie counts one half, so that chance is 0.5; NaN without other candidates.
    """
    right, other = _compare(similarity, own)
    n_other = other.sum(axis=1)
    return np.divide(
        right.sum(axis=1), n_other, out=np.full(len(own), np.nan), where=n_other > 0
    )


def top1(similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Whether the own picture is the most alike of all candidates.

    A tie for the first place counts one over the number of tied candidates, so that
    chance is one over the number of candidates; NaN without other candidates.
    """
    right, other = _compare(similarity, own)
    lost = (right == 0) & other
    tied = ((right == 0.5) & other).sum(axis=1)
    result = np.where(lost.any(axis=1), 0.0, 1 / (1 + tied))
    return np.where(other.any(axis=1), result, np.nan)


def _compare(similarity: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 1, 0.5 or 0 for a won, tied or lost comparison, and which are real."""
    rows = np.arange(len(own))
    mine = similarity[rows, own][:, None]
    other = np.isfinite(similarity)
    other[rows, own] = False
    tied = np.isclose(similarity, mine, rtol=0, atol=1e-9)
    right = np.where(tied, 0.5, similarity < mine).astype(float)
    return np.where(other, right, 0.0), other


def two_way_of_originals(similarity: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Share of the other reconstructions to which a picture is less alike.

    Parameters
    ----------
    similarity : array of shape (n, n_candidates)
        Of every reconstruction with every candidate; NaN where one is no candidate.
    own : array of shape (n,)
        The column of the picture that was seen.

    Returns
    -------
    array of shape (n, n_candidates)
        For every reconstruction, if each candidate had been its own, how it compares
        with the reconstructions of the same fold that are of other pictures; a tie
        counts one half.
    """
    result = np.full(similarity.shape, np.nan)
    for column in range(similarity.shape[1]):
        rows = np.flatnonzero(np.isfinite(similarity[:, column]))
        values = similarity[rows, column]
        tied = np.isclose(values[:, None], values[None], rtol=0, atol=1e-9)
        right = np.where(tied, 0.5, values[:, None] > values[None])
        other = own[rows][:, None] != own[rows][None]
        n_other = other.sum(axis=1)
        won = np.where(other, right, 0.0).sum(axis=1)
        result[rows, column] = np.divide(
            won, n_other, out=np.full(len(rows), np.nan), where=n_other > 0
        )
    return result


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

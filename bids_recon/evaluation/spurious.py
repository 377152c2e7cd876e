"""Whether a reconstruction could have come from categories or known pictures alone.

A decoder that only tells the categories of training pictures apart makes pictures that
look right and identifies them well among pictures of other categories. It cannot tell
pictures of one category apart, nor a new picture from the training pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_recon.evaluation.chance import Chance, permutation_test
from bids_recon.evaluation.identification import two_way
from bids_recon.evaluation.metrics import correlation_matrix, pixel_correlation

MIN_PICTURES = 20
"""Fewer distinct test pictures than this say too little."""

N_CLUSTERS = 10
N_PERMUTATIONS = 1000
RANKS = (1, 10, 50)
AT_A_TIME = 256
"""Decoded features that are compared with those of all training pictures."""

SIGNIFICANT = 0.01
"""Above this p, pictures of one category count as not told apart."""


@dataclass(frozen=True)
class Decodings:
    """Decoded features of one fold beside the true ones.

    Parameters
    ----------
    decoded : array of shape (n, n_features)
        What was decoded for each test trial.
    true : array of shape (n, n_features)
        The features of the picture that was seen.
    training : array of shape (n_training_pictures, n_features)
        The features of the distinct training pictures.
    own : array of shape (n,)
        Which picture each trial showed.
    category : array of shape (n,)
        What each picture is of; see ``categories_of``.
    """

    decoded: np.ndarray
    true: np.ndarray
    training: np.ndarray
    own: np.ndarray
    category: np.ndarray


def categories_of(
    training: np.ndarray, tested: np.ndarray, named: np.ndarray | None
) -> np.ndarray:
    """Return a category for each tested picture.

    Parameters
    ----------
    training, tested : array of shape (n_pictures, n_features)
        Features of training and of tested pictures.
    named : array of shape (n_tested,) or None
        Categories that the events name; without them, clusters of the training
        pictures stand in, to which tested pictures are assigned.
    """
    if named is not None:
        return named
    from sklearn.cluster import KMeans

    n_clusters = min(N_CLUSTERS, max(2, len(training) // 5))
    clusters = KMeans(n_clusters, n_init=10, random_state=0).fit(training)
    return clusters.predict(tested).astype(str)


def zero_shot(fold: Decodings) -> np.ndarray:
    """Return the rank of the true feature among it and all training features, (n,).

    By correlation with the decoded feature; 1 is the best, and ties share their mean.
    """
    ranks = []
    for part in _parts(len(fold.decoded)):
        to_training = correlation_matrix(fold.training, fold.decoded[part])
        to_true = pixel_correlation(fold.true[part], fold.decoded[part])[:, None]
        tied = np.isclose(to_training, to_true, rtol=0, atol=1e-9)
        better = (to_training > to_true) & ~tied
        ranks.append(1 + better.sum(axis=1) + 0.5 * tied.sum(axis=1))
    return np.concatenate(ranks)


def nearest_training(fold: Decodings) -> np.ndarray:
    """Return how far the closest training picture is from each one seen, (n,).

    One minus the correlation of their features.
    """
    nearest = [
        correlation_matrix(fold.training, fold.true[part]).max(axis=1)
        for part in _parts(len(fold.true))
    ]
    return 1 - np.concatenate(nearest)


def _parts(n: int) -> list[slice]:
    """Return which of n are compared with all training pictures at a time."""
    return [slice(start, start + AT_A_TIME) for start in range(0, n, AT_A_TIME)]


def effective_dimension(features: np.ndarray) -> float:
    r"""Return the participation ratio :math:`(\sum\lambda)^2 / \sum\lambda^2`.

    Of the eigenvalues of the covariance of ``features`` (n, n_features).
    """
    centred = features - features.mean(axis=0)
    gram = centred @ centred.T if len(features) < features.shape[1] else None
    matrix = gram if gram is not None else centred.T @ centred
    trace, squares = np.trace(matrix), (matrix**2).sum()
    return float(trace**2 / squares) if squares > 0 else 0.0


def categories_alone(category: np.ndarray) -> float:
    """Return the two-way identification of perfect categories and chance within them.

    For every test trial, a candidate of another category is told apart, and one of the
    same category half the time.
    """
    same = category[:, None] == category[None]
    np.fill_diagonal(same, False)
    n_other = len(category) - 1
    return float((1 - 0.5 * same.sum(axis=1) / n_other).mean())


def by_features(fold: Decodings) -> np.ndarray:
    """Return the two-way identification of each decoded feature, (n,)."""
    _, first, own = np.unique(fold.own, return_index=True, return_inverse=True)
    pairs = two_way(correlation_matrix(fold.true[first], fold.decoded))
    return pairs[np.arange(len(own)), own]


def within_category(
    folds: list[Decodings], rng: np.random.Generator
) -> tuple[float, Chance]:
    """Return two-way identification among pictures of one category, and its chance.

    Pictures take each other's place within a category and fold.

    Returns
    -------
    value : float
        NaN if no category has two pictures in a fold.
    chance : Chance
        Over ``N_PERMUTATIONS`` permutations.
    """
    values, nulls = [], []
    for fold in folds:
        _, first, own = np.unique(fold.own, return_index=True, return_inverse=True)
        category = fold.category[first]
        similarity = correlation_matrix(fold.true[first], fold.decoded)
        mask = category[own][:, None] == category[None]
        pairs = two_way(np.where(mask, similarity, np.nan))
        rows = np.arange(len(own))
        values.append(pairs[rows, own])
        orders = list(_orders_within(category, rng))
        nulls.append(np.stack([pairs[rows, order[own]] for order in orders], axis=1))
    observed, null = np.concatenate(values), np.concatenate(nulls)
    known = np.isfinite(observed)
    if not known.any():
        nothing = float("nan")
        return nothing, Chance(nothing, nothing, np.empty(0))
    # The test of chance.py, on means that are there already.
    means = np.concatenate([[observed[known].mean()], null[known].mean(axis=0)])
    chance = permutation_test(
        means[None],
        np.zeros(1, dtype=int),
        np.arange(1, len(means))[:, None],
    )
    return float(means[0]), chance


def _orders_within(
    category: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield orders in which pictures take each other's place within a category."""
    same = [np.flatnonzero(category == name) for name in np.unique(category)]
    several = [rows for rows in same if len(rows) > 1]
    for _ in range(N_PERMUTATIONS):
        order = np.arange(len(category))
        for rows in several:
            order[rows] = rng.permutation(rows)
        yield order


def battery(folds: list[Decodings], seed: int) -> tuple[pd.DataFrame, str, bool]:
    """Run all checks.

    Parameters
    ----------
    folds : list of Decodings
        The folds of an analysis.
    seed : int
        For the permutations.

    Returns
    -------
    table : DataFrame
        Columns ``measure``, ``value``, ``chance``, ``p_value``, ``n``.
    verdict : str
        In words, whether categories alone could explain the reconstructions.
    suspicious : bool
        Whether they could.
    """
    rng = np.random.default_rng(seed)
    scores = np.concatenate([by_features(fold) for fold in folds])
    ranks = np.concatenate([zero_shot(fold) for fold in folds])
    sizes = np.concatenate([np.full(len(f.own), len(f.training) + 1) for f in folds])
    rows: list[tuple[str, float, float, float]] = [
        (
            f"zero_shot_top{rank}",
            float((ranks <= rank).mean()),
            float(np.minimum(1, rank / sizes).mean()),
            float("nan"),
        )
        for rank in RANKS
        if rank < sizes.min()
    ]
    value, chance = within_category(folds, rng)
    rows.append(("within_category_two_way", value, chance.level, chance.p_value))
    alone = np.average(
        [categories_alone(fold.category) for fold in folds],
        weights=[len(fold.own) for fold in folds],
    )
    rows.append(("two_way_identification", float(np.nanmean(scores)), 0.5, np.nan))
    rows.append(("two_way_of_categories_alone", float(alone), 0.5, np.nan))
    distance = np.concatenate([nearest_training(fold) for fold in folds])
    near = distance <= np.median(distance)
    for name, half in (("near", near), ("far", ~near)):
        if half.any():
            mean = float(np.nanmean(scores[half]))
            rows.append((f"two_way_{name}_training_pictures", mean, 0.5, np.nan))
    for name in ("decoded", "true"):
        # Feature spaces may be fitted to each fold's training pictures.
        dimension = np.average(
            [effective_dimension(getattr(fold, name)) for fold in folds],
            weights=[len(fold.own) for fold in folds],
        )
        rows.append((f"effective_dimension_{name}", dimension, np.nan, np.nan))
    table = pd.DataFrame(rows, columns=["measure", "value", "chance", "p_value"])
    return table.assign(n=len(ranks)), *_verdict(value, chance.p_value)


def _verdict(value: float, p_value: float) -> tuple[str, bool]:
    if not np.isfinite(p_value):
        return (
            "No category has two test pictures in one part, so it cannot be said "
            "whether categories alone explain the reconstructions."
        ), True
    numbers = f"(two-way identification {value:.2f}, p = {p_value:.2g})"
    if p_value > SIGNIFICANT:
        return (
            f"Pictures of one category are not told apart {numbers}: these "
            "reconstructions could have come from categories alone."
        ), True
    return (
        f"Pictures of one category are told apart {numbers}: categories alone do not "
        "explain these reconstructions."
    ), False

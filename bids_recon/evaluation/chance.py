"""Permutations over pictures, and bootstrap intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from math import factorial, prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bids_recon.evaluation.judge import Prepared

N_PERMUTATIONS = 1000
N_BOOTSTRAPS = 1000
BLOCK_VALUES = 2**22
"""How many numbers of reconstructions are scored at a time: 32 MB."""

LARGEST_BLOCK = 100
"""Pictures are exchanged within blocks of at most so many, to bound the cost."""


@dataclass(frozen=True)
class Chance:
    """What a score is without any relation between pictures and reconstructions.

    Parameters
    ----------
    level : float
        The mean over permutations.
    p_value : float
        One-sided, (1 + hits) / (1 + permutations).
    null : array of shape (n_permutations,)
        The mean score of each permutation; all that exist, if there are fewer than
        asked for.
    """

    level: float
    p_value: float
    null: np.ndarray

    @property
    def n_permutations(self) -> int:
        """How many permutations there were."""
        return len(self.null)


def exchangeable(
    fold: np.ndarray, own: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return blocks of pictures that may take each other's place.

    Pictures of the same folds are: their reconstructions come from the same decoders.
    Where a fold has one picture only, as in leave-one-picture-out, all are, as they all
    are candidates of each other.
    """
    membership: dict[tuple[str, ...], list[int]] = {}
    for picture in np.unique(own):
        key = tuple(np.unique(fold[own == picture]).tolist())
        membership.setdefault(key, []).append(int(picture))
    blocks = [np.array(block) for block in membership.values() if len(block) > 1]
    fewest = min(len(np.unique(own[fold == name])) for name in np.unique(fold))
    if not blocks or fewest < 2:
        blocks = [np.unique(own)]
    result = []
    for block in blocks:
        shuffled = rng.permutation(block)
        n_parts = -(-len(block) // LARGEST_BLOCK)
        result += [np.sort(part) for part in np.array_split(shuffled, n_parts)]
    return result


def pairings(
    blocks: list[np.ndarray], n_pictures: int, rng: np.random.Generator
) -> np.ndarray:
    """Return permutations of the pictures, (n_permutations, n_pictures).

    All but the identity where there are no more than ``N_PERMUTATIONS``.
    """
    identity = np.arange(n_pictures)
    n_all = prod(factorial(len(block)) for block in blocks)
    if n_all - 1 <= N_PERMUTATIONS:
        result = [identity]
        for block in blocks:
            result = [
                _replaced(base, block, np.array(order))
                for base in result
                for order in permutations(block.tolist())
            ]
        return np.array(result[1:]).reshape(-1, n_pictures)
    return np.array([_shuffled(identity, blocks, rng) for _ in range(N_PERMUTATIONS)])


def _replaced(base: np.ndarray, block: np.ndarray, order: np.ndarray) -> np.ndarray:
    result = base.copy()
    result[block] = order
    return result


def _shuffled(
    identity: np.ndarray, blocks: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    result = identity.copy()
    for block in blocks:
        result[block] = rng.permutation(block)
    return result


def permutation_test(
    scores: np.ndarray,
    own: np.ndarray,
    orders: np.ndarray,
    lower_is_better: bool = False,
) -> Chance:
    """Compare the mean score with that under exchanged pictures.

    Parameters
    ----------
    scores : array of shape (n, n_pictures)
        The score of every reconstruction if each picture had been its own; only pairs
        that ``orders`` can bring together need a value.
    own : array of shape (n,)
        The picture that was seen.
    orders : array of shape (n_permutations, n_pictures)
        Which picture takes the place of each.
    lower_is_better : bool
        Whether a hit is a lower score.
    """
    rows = np.arange(len(own))
    scored = np.isfinite(scores[rows, own])
    if len(orders) == 0 or not scored.any():
        return Chance(float("nan"), float("nan"), np.empty(0))
    rows, own = rows[scored], own[scored]
    observed = scores[rows, own].mean()
    null = np.array([scores[rows, order[own]].mean() for order in orders])
    slack = 1e-12
    hits = null <= observed + slack if lower_is_better else null >= observed - slack
    return Chance(float(null.mean()), (1 + int(hits.sum())) / (1 + len(null)), null)


def pair_scores(
    metric: Callable[[np.ndarray, np.ndarray], np.ndarray],
    seen: np.ndarray,
    reconstructed: "np.ndarray | Prepared",
    own: np.ndarray,
    blocks: list[np.ndarray],
    of_all_pairs: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Return the score of every pair that permutations can bring together.

    Parameters
    ----------
    metric : callable
        Of pairs of pictures.
    seen : array of shape (n_pictures, 3, H, W)
        The distinct pictures.
    reconstructed : array of shape (n, 3, H, W), or Prepared
        The reconstructions; some at a time are asked for.
    own : array of shape (n,)
        The picture that each is of.
    blocks : list of arrays
        Which pictures take each other's place.
    of_all_pairs : callable, optional
        The same metric of (n_pictures, 3, H, W) and (n, 3, H, W), to (n, n_pictures);
        not needed without blocks.

    Returns
    -------
    array of shape (n, n_pictures)
        NaN for pairs that never meet.
    """
    result = np.full((len(own), len(seen)), np.nan)
    for block in blocks:
        rows = np.flatnonzero(np.isin(own, block))
        scores = of_all_pairs(seen[block], reconstructed[rows])
        result[np.ix_(rows, block)] = scores
    alone = np.isnan(result[np.arange(len(own)), own])
    if alone.any():
        rows = np.flatnonzero(alone)
        result[rows, own[rows]] = of_pairs(metric, seen, reconstructed, own, rows)
    return result


def of_pairs(
    metric: Callable[[np.ndarray, np.ndarray], np.ndarray],
    seen: np.ndarray,
    reconstructed: "np.ndarray | Prepared",
    own: np.ndarray,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Return the score of reconstructions and their own pictures, some at a time.

    Parameters
    ----------
    metric, seen, reconstructed, own
        As in ``pair_scores``.
    rows : array of shape (n_rows,), optional
        Of which reconstructions; of all without.
    """
    rows = np.arange(len(own)) if rows is None else rows
    step = max(1, BLOCK_VALUES // max(1, int(np.prod(seen.shape[1:]))))
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    return np.concatenate(
        [metric(seen[own[part]], reconstructed[part]) for part in parts]
    )


def bootstrap_interval(
    values: np.ndarray, own: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval of the mean score, drawing pictures with replacement.

    Parameters
    ----------
    values : array of shape (n,)
        A score per reconstruction.
    own : array of shape (n,)
        The picture that each is of; all of its reconstructions are drawn together.
    """
    finite = np.isfinite(values)
    codes = np.unique(own[finite], return_inverse=True)[1]
    if len(codes) == 0 or codes.max() < 1:
        return float("nan"), float("nan")
    sums = np.bincount(codes, weights=values[finite])
    counts = np.bincount(codes)
    draws = rng.integers(len(sums), size=(N_BOOTSTRAPS, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)

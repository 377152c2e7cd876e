"""All numbers of one set of reconstructions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_recon.evaluation import (
    BINARY_METRICS,
    IDENTIFICATION,
    LOWER_IS_BETTER,
    METRICS,
    PROFILES,
    metrics,
)
from bids_recon.evaluation.chance import (
    bootstrap_interval,
    exchangeable,
    pair_scores,
    pairings,
    permutation_test,
)
from bids_recon.evaluation.identification import candidates, top1, two_way
from bids_recon.registry import load

COLUMNS = [
    "profile",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "chance",
    "p_value",
    "ceiling",
    "floor",
    "floor_retrieval",
    "n",
    "n_pictures",
    "n_candidates",
    "n_permutations",
]


@dataclass(frozen=True)
class Reconstructed:
    """Reconstructions beside what was seen.

    Parameters
    ----------
    seen : array of shape (n_pictures, 3, H, W)
        The distinct pictures of the test trials.
    pictures : array of shape (n, 3, H, W)
        The reconstructions.
    own : array of shape (n,)
        Which of ``seen`` each is of.
    fold : array of shape (n,)
        The fold in which each was made.
    instead : mapping of str to array of shape (n, 3, H, W)
        What is scored in place of each reconstruction, by the column that it fills:
        ``floor``, the mean of the pictures its decoders were trained on;
        ``floor_retrieval``, the training picture whose features are nearest to the
        decoded ones; ``ceiling``, what the generator makes of the true features.
    """

    seen: np.ndarray
    pictures: np.ndarray
    own: np.ndarray
    fold: np.ndarray
    instead: Mapping[str, np.ndarray]


def score(
    recon: Reconstructed, profile: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Compute every metric of a profile.

    Parameters
    ----------
    recon : Reconstructed
        What to score.
    profile : str
        Which metrics.
    seed : int
        For permutations and the bootstrap.

    Returns
    -------
    summary : DataFrame
        One row per metric, with ``COLUMNS``.
    per_picture : DataFrame
        One row per reconstruction, one column per metric.
    notes : list of str
        What a reader should know, such as constant pictures.
    """
    rng = np.random.default_rng(seed)
    blocks = exchangeable(recon.fold, recon.own, rng)
    orders = pairings(blocks, len(recon.seen), rng)
    binary = metrics.is_binary(recon.seen)
    rows, per_picture = [], {}
    for name in PROFILES[profile]:
        if name in BINARY_METRICS and not binary:
            continue
        if name in IDENTIFICATION:
            pairs, instead, n_candidates = _identification(recon, name)
        else:
            pairs, instead = _metric(recon, name, blocks)
            n_candidates = None
        per_picture[name] = pairs[np.arange(len(recon.own)), recon.own]
        row = _row(name, pairs, recon, orders, rng)
        row |= {"profile": profile, "n_candidates": n_candidates, **instead}
        rows.append(row)
    summary = pd.DataFrame(rows, columns=COLUMNS)
    return summary, pd.DataFrame(per_picture), _notes(recon, orders)


def _row(
    name: str,
    pairs: np.ndarray,
    recon: Reconstructed,
    orders: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, object]:
    """Return the mean of a metric with its interval and chance."""
    values = pairs[np.arange(len(recon.own)), recon.own]
    low, high = bootstrap_interval(values, recon.own, rng)
    chance = permutation_test(
        pairs, recon.own, orders, lower_is_better=name in LOWER_IS_BETTER
    )
    return {
        "metric": name,
        "value": _mean(values),
        "ci_low": low,
        "ci_high": high,
        "chance": chance.level,
        "p_value": chance.p_value,
        "n": int(np.isfinite(values).sum()),
        "n_pictures": len(recon.seen),
        "n_permutations": chance.n_permutations,
    }


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _metric(
    recon: Reconstructed, name: str, blocks: list[np.ndarray]
) -> tuple[np.ndarray, dict[str, float]]:
    metric = load(METRICS, "metric", name)
    pairs = pair_scores(metric, recon.seen, recon.pictures, recon.own, blocks)
    seen = recon.seen[recon.own]
    instead = {key: _mean(metric(seen, made)) for key, made in recon.instead.items()}
    if name in BINARY_METRICS:
        # For black and white pictures, the trivial answer is that all is background.
        instead["floor"] = _mean(metric(seen, np.zeros_like(recon.pictures)))
    return pairs, instead


def _identification(
    recon: Reconstructed, name: str
) -> tuple[np.ndarray, dict[str, float], str]:
    """Return the score if each picture had been the own one, and what is instead."""
    rule = two_way if name == "two_way_identification" else top1
    mask = candidates(recon.fold, recon.own, len(recon.seen))
    pairs = np.full((len(recon.own), len(recon.seen)), np.nan)
    similarity = _masked(recon.seen, recon.pictures, mask)
    for picture in range(len(recon.seen)):
        rows = np.flatnonzero(mask[:, picture])
        pairs[rows, picture] = rule(
            similarity[rows], np.full(len(rows), picture, dtype=int)
        )
    instead = {
        key: _mean(rule(_masked(recon.seen, made, mask), recon.own))
        for key, made in recon.instead.items()
    }
    counts = np.unique(mask.sum(axis=1))
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
    return pairs, instead, text


def _masked(seen: np.ndarray, made: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask, metrics.correlation_matrix(seen, made), np.nan)


def _notes(recon: Reconstructed, orders: np.ndarray) -> list[str]:
    notes = []
    flat = recon.pictures.reshape(len(recon.pictures), -1)
    constant = int((np.ptp(flat, axis=1) < 1e-9).sum())
    if constant:
        notes.append(
            f"{constant} of {len(flat)} reconstructions are constant; their "
            "correlation counts as 0 and their comparisons as ties."
        )
    seen = recon.seen.reshape(len(recon.seen), -1)
    plain = int((np.ptp(seen, axis=1) < 1e-9).sum())
    if plain:
        notes.append(f"{plain} of {len(seen)} pictures that were seen are constant.")
    if len(recon.seen) < 2:
        notes.append(
            "There is one test picture only: identification, intervals and p-values "
            "are n/a."
        )
    elif len(orders) < 1000:
        notes.append(
            f"Only {len(orders) + 1} pairings of pictures exist; all were used, so no "
            f"p-value can be below {1 / (len(orders) + 1):.2g}."
        )
    return notes

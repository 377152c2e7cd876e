"""All numbers of one set of reconstructions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from bids_recon.evaluation import METRICS, metrics
from bids_recon.evaluation.chance import (
    bootstrap_interval,
    exchangeable,
    of_pairs,
    pair_scores,
    pairings,
    permutation_test,
)
from bids_recon.evaluation.identification import (
    candidates,
    top1,
    two_way,
    two_way_of_originals,
)
from bids_recon.evaluation.judge import AnyPictures, Judge, Prepared
from bids_recon.evaluation.pairs import OF_ALL_PAIRS
from bids_recon.evaluation.profiles import BINARY_KINDS, MetricSpec, Profile
from bids_recon.machine import AbsentWeightsError
from bids_recon.pictures import Pictures
from bids_recon.registry import load
from bids_recon.weights import absent as weights_absent
from bids_recon.weights import weights_called

COLUMNS = (
    *("profile", "metric", "set", "value", "ci_low", "ci_high", "chance", "p_value"),
    *("ceiling", "floor", "floor_retrieval", "n", "n_pictures", "n_candidates"),
    "n_permutations",
)

NUMBERS = tuple(
    name for name in COLUMNS if name not in ("profile", "metric", "set", "n_candidates")
)
"""Columns of the table of scores that hold numbers."""


@dataclass(frozen=True)
class Reconstructed:
    """Reconstructions beside what was seen.

    Parameters
    ----------
    seen : array or Pictures of shape (n_pictures, 3, H, W)
        The distinct pictures of the test trials.
    pictures : array of shape (n * n_samples, 3, h, w), or PictureFiles
        The reconstructions; the samples of a trial stand one after another.
    own : array of shape (n,)
        Which of ``seen`` the samples of each trial are of.
    fold : array of shape (n,)
        The fold in which they were made.
    instead : mapping of str to array or Pictures of shape (n, 3, h, w)
        What is scored in place of each trial's, by the column that it fills:
        ``floor``, the mean of the pictures its decoders were trained on;
        ``floor_retrieval``, the training picture whose features are nearest to the
        decoded ones; ``ceiling``, what the generator makes of the true features.
    sets : array of shape (n,), str
        The set that each picture belongs to, empty for none; no entries where sets are
        not known.
    """

    seen: np.ndarray | Pictures
    pictures: AnyPictures
    own: np.ndarray
    fold: np.ndarray
    instead: Mapping[str, np.ndarray | Pictures]
    sets: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=str))

    @property
    def has_sets(self) -> bool:
        """Whether any picture belongs to a set."""
        return bool((self.sets != "").any())

    @property
    def n_samples(self) -> int:
        """How many pictures were made of each trial."""
        return len(self.pictures) // len(self.own)

    @property
    def first_samples(self) -> "Reconstructed":
        """The same with the first picture of each trial alone."""
        return replace(self, pictures=self.pictures[:: self.n_samples])

    def of_set(self, name: str) -> "Reconstructed":
        """Return the reconstructions of one set, among the pictures of that set."""
        rows = np.flatnonzero(self.sets == name)
        of_set, own = np.unique(self.own[rows], return_inverse=True)
        samples = rows[:, None] * self.n_samples + np.arange(self.n_samples)
        return Reconstructed(
            seen=self.seen[of_set],
            pictures=self.pictures[samples.ravel()],
            own=own,
            fold=self.fold[rows],
            instead={key: made[rows] for key, made in self.instead.items()},
        )

    def mean_over_samples(self, scores: np.ndarray) -> np.ndarray:
        """Return the means (n, ...) of what was found for every picture."""
        return scores.reshape(len(self.own), self.n_samples, -1).mean(axis=1)


class Scored(NamedTuple):
    """The scores of a profile.

    Parameters
    ----------
    summary : DataFrame
        One row per metric, with ``COLUMNS``.
    per_picture : DataFrame
        One row per reconstruction, one column per metric. The score of a trial stands
        with its first sample, and those of the others are NaN.
    notes : list of str
        What a reader should know, such as constant pictures.
    null : mapping of str to array of shape (n_permutations,)
        The mean of each metric under exchanged pictures.
    """

    summary: pd.DataFrame
    per_picture: pd.DataFrame
    notes: list[str]
    null: dict[str, np.ndarray]


@dataclass(frozen=True)
class Computed:
    """One metric before it is compared with chance.

    Parameters
    ----------
    pairs : array of shape (n, n_pictures)
        The score if each picture had been the own one.
    instead : mapping of str to float
        The mean score of what stands in place of the reconstructions.
    n_candidates : str or None
        Among how many pictures one is identified.
    """

    pairs: np.ndarray
    instead: Mapping[str, float]
    n_candidates: str | None = None


def score(recon: Reconstructed, profile: Profile, seed: int, judge: Judge) -> Scored:
    """Compute every metric of a profile, over all that was reconstructed.

    A metric whose weights are absent has no value, and a note says how to fetch them.

    Parameters
    ----------
    recon : Reconstructed
        What to score.
    profile : Profile
        Which metrics.
    seed : int
        For permutations and the bootstrap.
    judge : Judge
        Resizes pictures and computes features.
    """
    n_samples = recon.n_samples
    if profile.samples == "first":
        recon = recon.first_samples
    rng = np.random.default_rng(seed)
    blocks = exchangeable(recon.fold, recon.own, rng)
    orders = pairings(blocks, len(recon.seen), rng)
    rows, per_picture, null = [], {}, {}
    absent: dict[str, list[str]] = {}
    for spec in profile.metrics:
        if not applies(spec, recon):
            continue
        row = {"profile": f"{profile.name}-{profile.version}", "metric": spec.name}
        try:
            computed = _compute(spec, recon, judge, blocks)
        except AbsentWeightsError as error:
            absent.setdefault(error.name, []).append(spec.name)
            rows.append(row)
            continue
        values = np.full((len(recon.own), n_samples), np.nan)
        values[:, 0] = computed.pairs[np.arange(len(recon.own)), recon.own]
        per_picture[spec.name] = values.ravel()
        found, null[spec.name] = _row(spec, computed, recon, orders, rng)
        row |= found
        rows.append(row)
    summary = pd.DataFrame(rows, columns=COLUMNS)
    notes = _notes(recon, orders)
    if absent:
        missing = ", ".join(name for names in absent.values() for name in names)
        what = weights_absent([weights_called(name) for name in absent])
        notes.append(f"Not computed: {missing}. {what}")
    return Scored(summary, pd.DataFrame(per_picture), notes, null)


def applies(spec: MetricSpec, recon: Reconstructed) -> bool:
    """Tell whether a metric is one of such pictures."""
    if min(recon.seen.shape[2:]) < spec.min_size:
        return False
    if spec.kind not in BINARY_KINDS:
        return True
    blocks = Pictures.of(recon.seen).blocks()
    return all(metrics.is_binary(block) for _, block in blocks)


def _row(
    spec: MetricSpec,
    computed: Computed,
    recon: Reconstructed,
    orders: np.ndarray,
    rng: np.random.Generator,
) -> tuple[dict[str, object], np.ndarray]:
    """Return the mean of a metric with its interval and chance, and its null values."""
    values = computed.pairs[np.arange(len(recon.own)), recon.own]
    low, high = bootstrap_interval(values, recon.own, rng)
    # A metric too costly for pairs that were not seen together has no chance level.
    known = orders if spec.kind != "lpips" else orders[:0]
    chance = permutation_test(
        computed.pairs, recon.own, known, lower_is_better=spec.lower_is_better
    )
    row = {
        "value": finite_mean(values),
        "ci_low": low,
        "ci_high": high,
        "chance": chance.level,
        "p_value": chance.p_value,
        "n": int(np.isfinite(values).sum()),
        "n_pictures": len(recon.seen),
        "n_candidates": computed.n_candidates,
        "n_permutations": chance.n_permutations,
        **computed.instead,
    }
    return row, chance.null


def finite_mean(values: np.ndarray) -> float:
    """Return the mean of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _compute(
    spec: MetricSpec, recon: Reconstructed, judge: Judge, blocks: list[np.ndarray]
) -> Computed:
    if spec.kind in ("two_way", "top1"):
        return _identification(spec, recon, judge)
    if spec.kind == "distance":
        return _distance(spec, recon, judge)
    return _pixels(spec, recon, judge, blocks)


def _pixels(
    spec: MetricSpec, recon: Reconstructed, judge: Judge, blocks: list[np.ndarray]
) -> Computed:
    size = recon.seen.shape[2:]
    if spec.kind == "lpips":
        metric, blocks, of_all_pairs = judge.lpips, [], None
    else:
        metric = load(METRICS, "metric", spec.kind)
        of_all_pairs = OF_ALL_PAIRS[spec.kind]
        if spec.kind == "ssim":
            how = {"regime": spec.regime, "grey": spec.grey}
            metric = partial(metric, **how)
            of_all_pairs = partial(of_all_pairs, **how)
    seen = judge.prepare(recon.seen, spec, size)
    made = Prepared(judge, recon.pictures, spec, size)
    own = recon.own.repeat(recon.n_samples)
    scores = pair_scores(metric, seen, made, own, blocks, of_all_pairs)
    pairs = recon.mean_over_samples(scores)
    instead = {
        key: finite_mean(
            of_pairs(metric, seen, Prepared(judge, pictures, spec, size), recon.own)
        )
        for key, pictures in recon.instead.items()
    }
    if spec.kind in BINARY_KINDS:
        # For black and white pictures, the trivial answer is that all is background.
        nothing = np.broadcast_to(np.float32(0), (len(recon.own), *seen.shape[1:]))
        instead["floor"] = finite_mean(of_pairs(metric, seen, nothing, recon.own))
    return Computed(pairs, instead)


def _similarities(
    spec: MetricSpec, recon: Reconstructed, judge: Judge
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return how alike features are to those seen, (n, n_pictures) each.

    Of the reconstructions, averaged over the samples of a trial, and of what stands in
    their place.
    """
    size = recon.seen.shape[2:]
    if spec.similarity == "ssim":
        seen = judge.prepare(recon.seen, spec, size)
    else:
        seen = judge.features(recon.seen, spec, size, remember=True)

    def similarity(pictures: AnyPictures) -> np.ndarray:
        made = Prepared(judge, pictures, spec, size)
        if spec.similarity == "ssim":
            return OF_ALL_PAIRS["ssim"](seen, made, spec.regime, spec.grey)
        if spec.network is not None:
            made = judge.features(pictures, spec, size)
        return metrics.correlation_matrix(seen, made)

    instead = {key: similarity(made) for key, made in recon.instead.items()}
    return recon.mean_over_samples(similarity(recon.pictures)), instead


def _distance(spec: MetricSpec, recon: Reconstructed, judge: Judge) -> Computed:
    rows = np.arange(len(recon.own))
    similarity, others = _similarities(spec, recon, judge)
    instead = {
        key: finite_mean(1 - other[rows, recon.own]) for key, other in others.items()
    }
    return Computed(1 - similarity, instead)


def _identification(spec: MetricSpec, recon: Reconstructed, judge: Judge) -> Computed:
    mask = candidates(recon.fold, recon.own, len(recon.seen))
    rows = np.arange(len(recon.own))
    similarity, others = _similarities(spec, recon, judge)

    def pairs_of(similarity: np.ndarray) -> np.ndarray:
        similarity = np.where(mask, similarity, np.nan)
        if spec.direction == "original":
            return two_way_of_originals(similarity, recon.own)
        return two_way(similarity) if spec.kind == "two_way" else top1(similarity)

    instead = {
        key: finite_mean(pairs_of(other)[rows, recon.own])
        for key, other in others.items()
    }
    counts = np.unique(mask.sum(axis=1))
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
    return Computed(pairs_of(similarity), instead, text)


def _notes(recon: Reconstructed, orders: np.ndarray) -> list[str]:
    notes = []
    constant = sum(bool(np.ptp(picture) < 1e-9) for picture in recon.pictures)
    if constant:
        notes.append(
            f"{constant} of {len(recon.pictures)} reconstructions are constant; their "
            "correlation counts as 0 and their comparisons as ties."
        )
    plain = sum(bool(np.ptp(picture) < 1e-9) for picture in recon.seen)
    if plain:
        notes.append(
            f"{plain} of {len(recon.seen)} pictures that were seen are constant."
        )
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

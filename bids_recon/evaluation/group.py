"""What scores of a few participants say of other participants and other pictures.

Scores of a group are a matrix, participants by pictures. Intervals of its mean hold for
new participants and new pictures; p-values and bounds of prevalence come from each
participant's own permutations.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
ALPHA = 0.05
N_DRAWS = 2000
"""Draws of the bootstrap of ranks."""


@dataclass(frozen=True)
class Interval:
    """A mean with an interval, and what the interval was taken over.

    Parameters
    ----------
    mean, low, high : float
        NaN where there is too little for one.
    over : str
        ``participants and pictures``, ``participants`` or ``pictures``.
    """

    mean: float
    low: float
    high: float
    over: str


def interval(scores: np.ndarray) -> Interval:
    """Return the mean and its 95 % interval over participants and pictures.

    The variance is that of the two-factor bootstrap with its correction (Schütt et al.
    2023, eLife 12:e82566), of which the mean of a matrix has a closed form. With the
    mean squares of participants, pictures and their interaction, none of them below 0,

        V = ((MS_s - MS_sp) + (MS_p - MS_sp) + MS_sp) / (n_s n_p).

    Each part has the t quantile of its own degrees of freedom. With one quantile of
    min(n_s, n_p) - 1 for all, which is usual, intervals of three participants hold
    99.5 % where they say 95 %; ``tests/benchmarks/coverage.py`` has what these hold.

    Parameters
    ----------
    scores : array of shape (n_participants, n_pictures)
        Without NaN.
    """
    n_s, n_p = scores.shape
    mean = float(scores.mean())
    if n_s == 1:
        return _over_one(scores[0], mean, "pictures")
    if n_p == 1:
        return _over_one(scores[:, 0], mean, "participants")
    rows, columns = scores.mean(axis=1), scores.mean(axis=0)
    rest = scores - rows[:, None] - columns + mean
    ms_sp = (rest**2).sum() / ((n_s - 1) * (n_p - 1))
    parts = (
        (max(n_p * rows.var(ddof=1) - ms_sp, 0.0), n_s - 1),
        (max(n_s * columns.var(ddof=1) - ms_sp, 0.0), n_p - 1),
        (ms_sp, (n_s - 1) * (n_p - 1)),
    )
    squares = (part * stdtrit(df, (1 + LEVEL) / 2) ** 2 for part, df in parts)
    reach = float(np.sqrt(sum(squares) / (n_s * n_p)))
    return Interval(mean, mean - reach, mean + reach, "participants and pictures")


def _over_one(values: np.ndarray, mean: float, over: str) -> Interval:
    n = len(values)
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), over)
    spread = values.std(ddof=1) / np.sqrt(n)
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2) * spread)
    return Interval(mean, mean - reach, mean + reach, over)


@dataclass(frozen=True)
class Prevalence:
    """In how many people an effect is.

    Parameters
    ----------
    p_global : float
        Of the null hypothesis that nobody has it.
    p_majority : float
        Of the null hypothesis that at most half of all people have it.
    bound : float
        More than this share of people has it, with 95 % certainty; NaN where not even
        a share above 0 is certain.
    """

    p_global: float
    p_majority: float
    bound: float


def prevalence(observed: np.ndarray, null: np.ndarray) -> Prevalence:
    """Return p-values by the minimum statistic, and a bound of the prevalence.

    With m the lowest score of all participants, p = prod_i P(null_i >= m), and at a
    prevalence of g, p(g) = ((1 - g) p^(1/N) + g)^N (Allefeld et al. 2016, NeuroImage
    141:378).

    Parameters
    ----------
    observed : array of shape (n_participants,)
        Higher is better.
    null : array of shape (n_participants, n_permutations)
        The same under exchanged pictures.
    """
    lowest = observed.min()
    # Observed scores come out of tables with six digits; a tie counts as reached.
    slack = 1e-5 * abs(lowest) + 1e-12
    reached = (null >= lowest - slack).sum(axis=1)
    p = float(np.prod((1 + reached) / (1 + null.shape[1])))
    n = len(observed)
    root = p ** (1 / n)
    bound = float("nan")
    if p <= ALPHA:
        bound = (ALPHA ** (1 / n) - root) / (1 - root)
    return Prevalence(p, float(((1 - 0.5) * root + 0.5) ** n), bound)


def lowest_p_of_a_majority(n_participants: int) -> float:
    """Return the lowest p-value that so many participants allow for "most people"."""
    return 0.5**n_participants


@dataclass(frozen=True)
class BayesianPrevalence:
    """The share of people with an effect, by how many show it.

    Parameters
    ----------
    most_likely, low, high : float
        The mode, and the 95 % interval of highest density.
    """

    most_likely: float
    low: float
    high: float


def bayesian_prevalence(n_significant: int, n_participants: int) -> BayesianPrevalence:
    """Return the posterior of the prevalence under a flat prior.

    A participant is significant at ``ALPHA`` with probability
    ALPHA + (1 - ALPHA) g (Ince et al. 2021, eLife 10:e62461), so that its posterior is
    Beta(k + 1, n - k + 1), truncated below ALPHA.
    """
    # scipy.stats takes long to load, and the page of a participant does without.
    from scipy import optimize, stats

    k, n = n_significant, n_participants
    beta = stats.beta(k + 1, n - k + 1)
    below = beta.cdf(ALPHA)

    def quantile(share: float) -> float:
        return float((beta.ppf(below + share * (1 - below)) - ALPHA) / (1 - ALPHA))

    mode = min(max((k / n - ALPHA) / (1 - ALPHA), 0.0), 1.0)
    if mode == 1.0:
        return BayesianPrevalence(mode, quantile(1 - LEVEL), 1.0)
    if mode == 0.0:
        return BayesianPrevalence(mode, 0.0, quantile(LEVEL))
    found = optimize.minimize_scalar(
        lambda start: quantile(start + LEVEL) - quantile(start),
        bounds=(0.0, 1 - LEVEL),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return BayesianPrevalence(mode, quantile(found.x), quantile(found.x + LEVEL))


@dataclass(frozen=True)
class Ranks:
    """Where recipes stand, and how sure that is.

    Parameters
    ----------
    rank, low, high : array of shape (n_recipes,)
        By the mean of all scores, and the ranks that hold 95 % of the draws.
    best : array of shape (n_recipes,)
        In which share of the draws each is first.
    """

    rank: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray


def ranks(scores: np.ndarray, seed: int) -> Ranks:
    """Rank recipes by one bootstrap over participants and pictures for all of them.

    Parameters
    ----------
    scores : array of shape (n_recipes, n_participants, n_pictures)
        Higher is better.
    seed : int
        Of the draws.
    """
    # scipy.stats takes long to load.
    from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    n_recipes, n_s, n_p = scores.shape
    means = np.empty((N_DRAWS, n_recipes))
    for draw in range(N_DRAWS):
        rows = rng.integers(n_s, size=n_s) if n_s > 1 else np.zeros(1, dtype=int)
        weights = np.bincount(rng.integers(n_p, size=n_p), minlength=n_p)
        means[draw] = scores[:, rows].mean(axis=1) @ weights / n_p
    drawn = rankdata(-means, method="average", axis=1)
    first = drawn == drawn.min(axis=1, keepdims=True)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0, method="inverted_cdf")
    own = rankdata(-scores.mean(axis=(1, 2)), method="min")
    return Ranks(
        own, low, high, (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    )

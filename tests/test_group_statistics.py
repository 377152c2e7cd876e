"""The group's statistics against formulas, draws and published values."""

import numpy as np
import pytest
from scipy import stats

from bids_recon.evaluation.group import (
    bayesian_prevalence,
    interval,
    lowest_p_of_a_majority,
    prevalence,
    ranks,
)


def test_the_variance_is_that_of_the_corrected_two_factor_bootstrap():
    """V = nsVs/(ns-1) + npVp/(np-1) - nsnp(Vsp-Vs-Vp)/((ns-1)(np-1)), by draws."""
    rng = np.random.default_rng(0)
    n_s, n_p = 6, 12
    scores = rng.standard_normal((n_s, 1)) + rng.standard_normal((1, n_p))
    scores = scores + rng.standard_normal((n_s, n_p))
    rows = rng.integers(n_s, size=(40_000, n_s))
    columns = rng.integers(n_p, size=(40_000, n_p))
    by_row = np.stack([np.bincount(r, minlength=n_s) for r in rows]) / n_s
    by_column = np.stack([np.bincount(c, minlength=n_p) for c in columns]) / n_p
    v_s = (by_row @ scores.mean(axis=1)).var()
    v_p = (by_column @ scores.mean(axis=0)).var()
    v_sp = np.einsum("di,ij,dj->d", by_row, scores, by_column).var()
    corrected = n_s / (n_s - 1) * v_s + n_p / (n_p - 1) * v_p
    corrected -= n_s * n_p / ((n_s - 1) * (n_p - 1)) * (v_sp - v_s - v_p)
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    ms_sp = (rest**2).sum() / ((n_s - 1) * (n_p - 1))
    ms_s, ms_p = n_p * scores.mean(1).var(ddof=1), n_s * scores.mean(0).var(ddof=1)
    assert min(ms_s, ms_p) > ms_sp
    assert (ms_s + ms_p - ms_sp) / (n_s * n_p) == pytest.approx(corrected, rel=0.03)
    # The parts of that variance, each with its own quantile.
    t = [stats.t.ppf(0.975, df) ** 2 for df in (5, 11, 55)]
    parts = (ms_s - ms_sp) * t[0] + (ms_p - ms_sp) * t[1] + ms_sp * t[2]
    found = interval(scores)
    assert found.high - found.mean == pytest.approx(np.sqrt(parts / 72))
    assert found.over == "participants and pictures"


@pytest.mark.parametrize("spread", [(0.1, 0.3), (0.05, 0.5)])
@pytest.mark.parametrize("n", [3, 4, 8])
def test_intervals_hold_the_truth_as_often_as_they_say(n, spread):
    rng = np.random.default_rng(n)
    held = 0
    for _ in range(800):
        people = spread[0] * rng.standard_normal((n, 1))
        pictures = spread[1] * rng.standard_normal((1, 40))
        found = interval(people + pictures + 0.5 * rng.standard_normal((n, 40)))
        held += found.low <= 0 <= found.high
    # Two and a half standard errors of 800 draws around 93 to 97 %.
    assert 0.908 <= held / 800 <= 0.985


def test_one_participant_has_students_interval_over_pictures():
    values = np.array([[0.2, 0.5, 0.9, 0.4]])
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values[0]))
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.over == "pictures"
    assert np.isnan(interval(np.array([[0.3]])).low)
    people = interval(values.T)
    assert (people.low, people.over) == (pytest.approx(low), "participants")


def test_the_minimum_statistic_by_hand():
    # The lowest score is 3: 1 of 9 and 2 of 9 permutations reach it, and each observed
    # score counts as one more.
    null = np.array([[0, 1, 2, 3, 0, 1, 2, 0, 1], [4, 3, 2, 1, 0, 0, 0, 0, 0]])
    found = prevalence(np.array([3.0, 5.0]), null)
    assert found.p_global == pytest.approx(0.2 * 0.3)
    assert found.p_majority == pytest.approx((0.5 * np.sqrt(0.06) + 0.5) ** 2)
    assert np.isnan(found.bound)


def test_ties_count_though_tables_are_rounded():
    third = 1 / 3
    null = np.array([[third] * 5 + [0.0] * 5])
    for rounded in (0.333333, 0.333334):
        found = prevalence(np.array([rounded]), null)
        assert found.p_global == pytest.approx(6 / 11)


@pytest.mark.parametrize(
    ("n", "bound", "majority"),
    [(3, 0.37, 0.125), (4, 0.47, 0.0625), (5, 0.55, 0.031), (8, 0.69, 0.004)],
)
def test_bounds_of_few_participants_are_the_published_ones(n, bound, majority):
    found = prevalence(np.full(n, 9.0), np.zeros((n, 100_000)))
    assert found.bound == pytest.approx(bound, abs=0.005)
    assert found.p_majority == pytest.approx(majority, abs=0.0005)
    assert lowest_p_of_a_majority(n) == pytest.approx(majority, abs=0.0005)


def test_p_values_are_uniform_where_nobody_has_an_effect():
    rng = np.random.default_rng(1)
    p = [
        prevalence(rng.standard_normal(4), rng.standard_normal((4, 400))).p_global
        for _ in range(600)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(4, 4, 0.53, 1), (5, 5, 0.59, 1), (7, 8, 0.54, 0.99)]
)
def test_bayesian_prevalence_is_the_published_one(k, n, low, high):
    found = bayesian_prevalence(k, n)
    assert found.low == pytest.approx(low, abs=0.005)
    assert found.high == pytest.approx(high, abs=0.005)
    assert found.most_likely == pytest.approx((k / n - 0.05) / 0.95)


def test_bayesian_prevalence_of_nobody_begins_at_0():
    found = bayesian_prevalence(0, 4)
    assert (found.most_likely, found.low) == (0, 0)
    # P(g < high) = 0.95 of a Beta(1, 5) cut off below 0.05, by hand.
    survival = (1 - 0.05) ** 5
    theta = 1 - (0.05 * survival) ** (1 / 5)
    assert found.high == pytest.approx((theta - 0.05) / 0.95)


def test_ranks_of_recipes_that_differ_and_that_do_not():
    rng = np.random.default_rng(2)
    base = rng.standard_normal((1, 4, 60))
    scores = np.concatenate([base, base + 0.001 * rng.standard_normal((1, 4, 60))])
    scores = np.concatenate([scores, base - 1])
    found = ranks(scores, seed=0)
    assert found.rank[2] == found.low[2] == found.high[2] == 3
    assert found.best[2] == 0
    assert found.low[0] == found.low[1] == 1
    assert found.high[0] == found.high[1] == 2
    assert found.best.sum() == pytest.approx(1)


def test_equal_recipes_share_the_first_rank():
    scores = np.ones((2, 3, 5))
    found = ranks(scores, seed=0)
    assert found.rank.tolist() == [1, 1]
    assert found.best.tolist() == [0.5, 0.5]

"""Scores: against other libraries, by hand, and under chance."""

import numpy as np
import pytest
import torch
from bdpy.evals.metrics import pairwise_identification, pattern_correlation
from scipy.stats import bootstrap, kstest, pearsonr
from sklearn.metrics import f1_score, matthews_corrcoef
from torchmetrics.functional.image import structural_similarity_index_measure

from bids_recon.evaluation import metrics
from bids_recon.evaluation.chance import (
    bootstrap_interval,
    exchangeable,
    pairings,
    permutation_test,
)
from bids_recon.evaluation.identification import candidates, top1, two_way
from bids_recon.evaluation.judge import Judge
from bids_recon.evaluation.profiles import read_profile
from bids_recon.evaluation.scores import Reconstructed
from bids_recon.evaluation.scores import score as score_profile


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    seen = rng.random((6, 3, 16, 14)).astype(np.float32)
    made = np.clip(seen + 0.3 * rng.standard_normal(seen.shape), 0, 1)
    return seen, made.astype(np.float32)


def test_pixel_correlation_is_scipys(pair):
    expected = [pearsonr(a.ravel(), b.ravel())[0] for a, b in zip(*pair, strict=True)]
    np.testing.assert_allclose(metrics.pixel_correlation(*pair), expected, rtol=1e-5)


def test_correlation_matrix_is_numpys(pair):
    seen, made = (part.reshape(6, -1) for part in pair)
    expected = np.corrcoef(seen, made)[:6, 6:].T
    ours = metrics.correlation_matrix(*pair)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)


def test_ssim_is_that_of_torchmetrics(pair):
    seen, made = (torch.from_numpy(part.mean(axis=1, keepdims=True)) for part in pair)
    # Both average over all windows that lie within the picture.
    theirs = structural_similarity_index_measure(
        made,
        seen,
        gaussian_kernel=False,
        kernel_size=7,
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )[1][:, 0, 3:-3, 3:-3].mean(dim=(1, 2))
    # scikit-image divides by n - 1 in a window; torchmetrics by n.
    np.testing.assert_allclose(metrics.ssim(*pair), theirs, atol=0.02)
    assert metrics.ssim(pair[0], pair[0]) == pytest.approx(1)


def ssim_by_hand(seen, made, side):
    """Return the mean over all windows of Wang et al.'s equation 13, (n,)."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(
            part.mean(axis=1, dtype=np.float64), (side, side), axis=(1, 2)
        ).reshape(len(part), -1, side**2)
        for part in (seen, made)
    ]
    a, b = (part.mean(axis=2) for part in windows)
    n = side**2 - 1
    var_a, var_b, cov = (
        ((x - x.mean(axis=2, keepdims=True)) * (y - y.mean(axis=2, keepdims=True))).sum(
            axis=2
        )
        / n
        for x, y in zip(
            (windows[0], windows[1], windows[0]),
            (windows[0], windows[1], windows[1]),
            strict=True,
        )
    )
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * a * b + c1) * (2 * cov + c2)
    return (top / ((a**2 + b**2 + c1) * (var_a + var_b + c2))).mean(axis=1)


@pytest.mark.parametrize(
    ("size", "window"),
    [((16, 14), 7), ((7, 9), 7), ((8, 6), 5), ((5, 5), 5), ((3, 4), 3)],
)
def test_ssim_by_hand(pair, size, window):
    seen, made = (part[:, :, : size[0], : size[1]] for part in pair)
    expected = ssim_by_hand(seen, made, window)
    np.testing.assert_allclose(metrics.ssim(seen, made), expected, rtol=1e-6)


def test_ssim_by_the_brightness_of_colours(pair):
    seen, made = pair
    # Rec. 709 without gamma, as in scikit-image's rgb2gray.
    brightness = np.array([0.2125, 0.7154, 0.0721]).reshape(1, 3, 1, 1)
    seen, made = ((part * brightness).sum(axis=1, keepdims=True) for part in pair)
    expected = ssim_by_hand(seen, made, 7)
    np.testing.assert_allclose(metrics.ssim(*pair, grey="luma"), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("regime", "least"), [("uniform", 3), ("gaussian", 11), ("columns", 11)]
)
def test_pictures_that_are_too_small_have_no_ssim(regime, least):
    rng = np.random.default_rng(0)
    for side in (least, least - 1):
        pair = rng.random((2, 2, 3, side, 20))
        there = np.isfinite(metrics.ssim(*pair, regime=regime))
        assert there.tolist() == [side == least] * 2


def test_gaussian_ssim_is_that_of_torchmetrics():
    rng = np.random.default_rng(0)
    seen = np.repeat(rng.random((4, 1, 40, 36)), 3, axis=1)
    made = np.clip(seen + 0.2 * rng.standard_normal(seen.shape), 0, 1)
    made = np.repeat(made[:, :1], 3, axis=1)
    grey = [torch.from_numpy(part[:, :1]) for part in (made, seen)]
    full = structural_similarity_index_measure(
        *grey,
        gaussian_kernel=True,
        sigma=1.5,
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )[1]
    # Over the windows of 11 pixels that lie within the picture.
    expected = full[:, 0, 5:-5, 5:-5].mean(dim=(1, 2))
    ours = metrics.ssim(seen, made, regime="gaussian")
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_mse_by_hand():
    seen = np.zeros((1, 3, 2, 2))
    made = np.zeros((1, 3, 2, 2))
    made[0, 0, 0, 0] = 0.6
    assert metrics.mse(seen, made)[0] == pytest.approx(0.36 / 12)


def test_binary_metrics_are_scikit_learns():
    rng = np.random.default_rng(0)
    seen = np.repeat((rng.random((8, 1, 10, 10)) > 0.7).astype(float), 3, axis=1)
    made = np.repeat(rng.random((8, 1, 10, 10)), 3, axis=1)
    truth, guess = seen[:, 0].reshape(8, -1) > 0.5, made[:, 0].reshape(8, -1) > 0.5
    for ours, theirs in ((metrics.f1, f1_score), (metrics.mcc, matthews_corrcoef)):
        expected = [theirs(a, b) for a, b in zip(truth, guess, strict=True)]
        np.testing.assert_allclose(ours(seen, made), expected)
    np.testing.assert_allclose(
        metrics.patch_accuracy(seen, made), (truth == guess).mean(axis=1)
    )
    assert metrics.is_binary(seen)
    assert not metrics.is_binary(made)


def test_constant_pictures_give_numbers():
    flat = np.full((2, 3, 8, 8), 0.5)
    other = np.random.default_rng(0).random((2, 3, 8, 8))
    for name in ("pixel_correlation", "ssim", "mse", "patch_accuracy", "f1", "mcc"):
        metric = getattr(metrics, name)
        for seen, made in ((flat, other), (other, flat), (flat, flat)):
            assert np.isfinite(metric(seen, made)).all(), name
    assert metrics.pixel_correlation(flat, other).tolist() == [0, 0]


def test_identification_by_hand():
    similarity = np.array([[0.9, 0.1, 0.5], [0.4, 0.3, 0.3], [0.2, 0.8, 0.5]])
    np.testing.assert_allclose(np.diag(two_way(similarity)), [1.0, 0.25, 0.5])
    np.testing.assert_allclose(np.diag(top1(similarity)), [1.0, 0.0, 0.0])
    np.testing.assert_allclose(top1(np.ones((2, 4))), 0.25)


def test_identification_is_bdpys():
    rng = np.random.default_rng(0)
    seen = rng.standard_normal((15, 40))
    made = seen + 2 * rng.standard_normal((15, 40))
    similarity = metrics.correlation_matrix(seen, made)
    theirs = pairwise_identification(made, seen)
    np.testing.assert_allclose(np.diag(two_way(similarity)), theirs)
    np.testing.assert_allclose(
        metrics.pixel_correlation(seen, made), pattern_correlation(made, seen)
    )


def test_candidates_that_are_none_are_left_out():
    similarity = np.array([[0.9, 0.1, np.nan], [np.nan, 0.3, 0.4], [0.2, 0.1, np.nan]])
    expected = [[1.0, 0.0, np.nan], [np.nan, 0.0, 1.0], [1.0, 0.0, np.nan]]
    np.testing.assert_array_equal(two_way(similarity), expected)
    np.testing.assert_array_equal(top1(similarity), expected)


def test_identification_with_one_candidate_is_not_a_number():
    assert np.isnan(two_way(np.ones((2, 1)))).all()
    assert np.isnan(top1(np.ones((2, 1)))).all()


def test_candidates_are_the_pictures_of_the_fold():
    fold = np.array(["a", "a", "b", "b"])
    own = np.array([0, 1, 2, 3])
    expected = np.kron(np.eye(2), np.ones((2, 2))).astype(bool)
    np.testing.assert_array_equal(candidates(fold, own, 4), expected)
    alone = candidates(np.array(["a", "b", "c"]), np.arange(3), 3)
    assert alone.all()


def test_pictures_of_one_fold_take_each_others_place():
    rng = np.random.default_rng(0)
    fold = np.array(["a", "a", "b", "b"])
    blocks = exchangeable(fold, np.array([0, 1, 2, 3]), rng)
    assert sorted(block.tolist() for block in blocks) == [[0, 1], [2, 3]]
    every = exchangeable(np.array(["a", "b", "c"]), np.array([0, 1, 2]), rng)
    assert [block.tolist() for block in every] == [[0, 1, 2]]


def test_all_pairings_are_used_where_there_are_few():
    rng = np.random.default_rng(0)
    orders = pairings([np.array([0, 1]), np.array([2, 3, 4])], 5, rng)
    assert len(orders) == 2 * 6 - 1
    assert len({tuple(order) for order in orders}) == 11
    assert tuple(range(5)) not in {tuple(order) for order in orders}
    many = pairings([np.arange(20)], 20, rng)
    assert many.shape == (1000, 20)


def test_p_value_by_hand():
    scores = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    orders = pairings([np.arange(3)], 3, np.random.default_rng(0))
    chance = permutation_test(scores, np.arange(3), orders)
    assert chance.n_permutations == 5
    assert chance.p_value == pytest.approx(1 / 6)
    assert chance.level == pytest.approx((3 * 1 / 3 + 2 * 0) / 5)
    worse = permutation_test(scores, np.arange(3), orders, lower_is_better=True)
    assert worse.p_value == 1


def test_the_interval_is_scipys_percentile_interval():
    values = np.random.default_rng(1).gamma(1.0, size=40)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=50_000, method="percentile", rng=0
    ).confidence_interval
    # One interval of 1,000 draws wavers; the mean of many does not.
    ours = np.mean(
        [
            bootstrap_interval(values, np.arange(40), np.random.default_rng(seed))
            for seed in range(100)
        ],
        axis=0,
    )
    assert ours == pytest.approx([theirs.low, theirs.high], rel=0.01)


def test_bootstrap_draws_pictures_with_all_their_trials():
    own = np.repeat(np.arange(30), 4)
    values = np.random.default_rng(1).standard_normal(30)[own]
    low, high = bootstrap_interval(values, own, np.random.default_rng(0))
    error = values[::4].std() / np.sqrt(30)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.2)
    one = bootstrap_interval(np.ones(3), np.zeros(3, int), np.random.default_rng(0))
    assert np.isnan(one).all()


def score(recon, name, seed):
    return score_profile(recon, read_profile(name), seed, Judge())


def recon(seen, made, own=None, fold=None):
    own = np.arange(len(made)) if own is None else own
    fold = np.full(len(made), "test") if fold is None else fold
    floor = np.broadcast_to(seen.mean(axis=0), made.shape)
    return Reconstructed(seen, made, own, fold, {"floor": floor, "ceiling": seen[own]})


def test_perfect_reconstructions_score_perfectly(pair):
    summary, per_picture, _, _ = score(recon(pair[0], pair[0]), "bids-recon", 0)
    summary = summary.set_index("metric")
    assert summary.loc["two_way_identification", "value"] == 1
    assert summary.loc["top1_identification", "value"] == 1
    assert summary.loc["mse", "value"] == 0
    # No other of 720 pairings is as good, whichever way a metric points.
    for name in ("pixel_correlation", "ssim", "mse", "two_way_identification"):
        assert summary.loc[name, "p_value"] == pytest.approx(1 / 720), name
    assert summary.loc["mse", "chance"] > 0.1
    assert "f1" not in summary.index
    assert len(per_picture) == 6


def test_unrelated_reconstructions_are_at_chance():
    rng = np.random.default_rng(0)
    seen, made = rng.random((2, 40, 3, 8, 8))
    summary, _, _, _ = score(recon(seen, made), "bids-recon", 0)
    summary = summary.set_index("metric")
    assert abs(summary.loc["two_way_identification", "value"] - 0.5) < 0.12
    assert abs(summary.loc["two_way_identification", "chance"] - 0.5) < 0.02
    assert (summary["p_value"] > 0.01).all()


def test_p_values_are_uniform_without_a_relation():
    found: dict[str, list[float]] = {}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        seen, made = rng.random((2, 16, 3, 5, 5))
        summary, _, _, _ = score(recon(seen, made), "bids-recon", seed)
        for name, p_value in zip(summary["metric"], summary["p_value"], strict=True):
            found.setdefault(name, []).append(p_value)
    assert len(found) == 5
    # Top-1 takes few values; ties count as hits, which keeps it on the safe side.
    few = np.array(found.pop("top1_identification"))
    for alpha in (0.05, 0.2, 0.5):
        assert (few <= alpha).mean() < alpha + 0.06
    for name, p_values in found.items():
        assert kstest(p_values, "uniform").pvalue > 0.01, name


def test_one_picture_gives_numbers_and_n_a(pair):
    seen, made = pair[0][:1], pair[1][:2]
    one = recon(seen, made, own=np.zeros(2, int))
    summary, _, notes, _ = score(one, "bids-recon", 0)
    summary = summary.set_index("metric")
    assert np.isfinite(summary.loc["pixel_correlation", "value"])
    assert np.isnan(summary.loc["two_way_identification", "value"])
    assert any("one test picture only" in note for note in notes)


def test_constant_reconstructions_are_counted(pair):
    made = pair[1].copy()
    made[2] = 0.5
    summary, _, notes, _ = score(recon(pair[0], made), "bids-recon", 0)
    assert np.isfinite(summary["value"]).all()
    assert any("1 of 6 reconstructions are constant" in note for note in notes)


def test_the_mean_picture_is_a_floor_at_chance(pair):
    summary, _, _, _ = score(recon(*pair), "bids-recon", 0)
    summary = summary.set_index("metric")
    floor = summary.loc["two_way_identification", "floor"]
    assert floor == pytest.approx(0.5)
    # What would be scored if every picture came out as it was seen.
    assert summary.loc["two_way_identification", "ceiling"] == 1
    assert summary.loc["ssim", "ceiling"] == pytest.approx(1)
    assert np.isnan(summary.loc["ssim", "floor_retrieval"])

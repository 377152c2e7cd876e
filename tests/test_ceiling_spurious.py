"""Noise ceilings by hand and by simulation; the check for spurious reconstruction."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bids_recon.evaluation.ceiling import noise_ceiling
from bids_recon.evaluation.spurious import (
    Decodings,
    battery,
    by_features,
    categories_alone,
    categories_of,
    effective_dimension,
    nearest_training,
    within_category,
    zero_shot,
)


def test_the_noise_ceiling_is_that_of_the_simulation():
    rng = np.random.default_rng(0)
    n_pictures, n_repeats = 400, 3
    signal = rng.standard_normal((n_pictures, 4))
    share = np.array([0.0, 0.2, 0.5, 0.9])
    stimuli = np.tile(np.arange(n_pictures), n_repeats)
    noise = rng.standard_normal((len(stimuli), 4))
    X = np.sqrt(share) * signal[stimuli] + np.sqrt(1 - share) * noise
    ncsnr, percent = noise_ceiling(5 * X + 3, stimuli, np.zeros(len(stimuli)))
    expected = share / (1 - share)
    np.testing.assert_allclose(ncsnr**2, expected, rtol=0.25, atol=0.08)
    np.testing.assert_allclose(
        percent, 100 * expected / (expected + 1 / 3), rtol=0.1, atol=12
    )


def test_the_noise_ceiling_by_hand():
    X = np.array([[1.0], [3.0], [-1.0], [-3.0]])
    stimuli = np.array(["a", "a", "b", "b"])
    ncsnr, percent = noise_ceiling(X, stimuli, np.zeros(4))
    # The standard deviation is sqrt(5), so the variance over repeats is 2 / 5.
    assert ncsnr[0] ** 2 == pytest.approx((1 - 0.4) / 0.4)
    assert percent[0] == pytest.approx(100 * 1.5 / (1.5 + 0.5))


def test_repeats_enter_the_ceiling_as_the_mean_of_their_inverses():
    # Shown three times, twice and once; a picture shown once says nothing of noise.
    X = np.array([[1.0], [2.0], [3.0], [-2.0], [-4.0], [0.5]])
    stimuli = np.array(list("aaabbc"))
    ncsnr, percent = noise_ceiling(X, stimuli, np.zeros(6))
    noise = (1 + 2) / 2 / X.var()
    squared = (1 - noise) / noise
    assert ncsnr[0] ** 2 == pytest.approx(squared)
    inverse = (1 / 3 + 1 / 2 + 1) / 3
    assert percent[0] == pytest.approx(100 * squared / (squared + inverse))


def test_a_voxel_without_signal_or_without_variance_has_a_ceiling_of_zero():
    X = np.array([[1.0, 5.0, 1.0], [-1.0, 5.0, 1.0], [1.0, 5.0, 0.0], [-1.0, 5.0, 0.0]])
    ncsnr, percent = noise_ceiling(X, np.array(list("aabb")), np.zeros(4))
    assert ncsnr[0] == percent[0] == 0
    # What does not vary at all, and what varies with the picture alone.
    assert np.isfinite(ncsnr).all()
    assert percent[2] == pytest.approx(100)


def test_without_repeats_there_is_no_ceiling():
    assert noise_ceiling(np.zeros((3, 2)), np.arange(3), np.zeros(3)) is None


def test_a_scale_of_a_session_does_not_matter():
    rng = np.random.default_rng(0)
    stimuli = np.tile(np.arange(30), 4)
    sessions = np.repeat([0, 1], 60)
    X = rng.standard_normal((30, 3))[stimuli] + rng.standard_normal((120, 3))
    before = noise_ceiling(X, stimuli, sessions)
    X[60:] = 7 * X[60:] - 20
    np.testing.assert_allclose(before, noise_ceiling(X, stimuli, sessions))


def world(kind, seed=0, n_test=40):
    """Pictures of 5 categories, and a decoder of one kind, in two folds."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((5, 30))
    folds = []
    for part in range(2):
        labels = np.tile(np.arange(5), n_test // 5)
        true = centres[labels] + rng.standard_normal((n_test, 30))
        known = np.repeat(np.arange(5), 20)
        training = centres[known] + rng.standard_normal((100, 30))
        means = np.array([training[known == label].mean(axis=0) for label in range(5)])
        decoded = {
            "classify": means[labels] + 0.3 * rng.standard_normal((n_test, 30)),
            "reconstruct": true + rng.standard_normal((n_test, 30)),
            "nothing": rng.standard_normal((n_test, 30)),
        }[kind]
        own = part * n_test + np.arange(n_test)
        folds.append(Decodings(decoded, true, training, own, labels.astype(str)))
    return folds


def test_a_decoder_that_only_classifies_is_told():
    folds = world("classify")
    scores = np.concatenate([by_features(fold) for fold in folds])
    # It looks good by the usual number, and is as good as categories alone.
    assert scores.mean() > 0.85
    table, verdict, suspicious = battery(folds, 0)
    table = table.set_index("measure")
    assert suspicious
    assert "could have come from categories alone" in verdict
    assert table.loc["within_category_two_way", "value"] == pytest.approx(0.5, abs=0.1)
    alone = table.loc["two_way_of_categories_alone", "value"]
    assert scores.mean() == pytest.approx(alone, abs=0.05)
    assert (
        table.loc["effective_dimension_decoded", "value"]
        < table.loc["effective_dimension_true", "value"]
    )


def test_a_decoder_that_reconstructs_is_not_accused():
    folds = world("reconstruct")
    table, verdict, suspicious = battery(folds, 0)
    table = table.set_index("measure")
    assert not suspicious
    assert "categories alone do not explain" in verdict
    assert table.loc["within_category_two_way", "value"] > 0.9
    assert table.loc["zero_shot_top1", "value"] > 0.5
    assert table.loc["zero_shot_top1", "chance"] == pytest.approx(1 / 101)


def test_a_decoder_of_nothing_is_at_chance_everywhere():
    folds = world("nothing")
    table, verdict, suspicious = battery(folds, 0)
    table = table.set_index("measure")
    assert suspicious
    assert "could have come from categories alone" in verdict
    for name in ("zero_shot_top1", "zero_shot_top10", "zero_shot_top50"):
        row = table.loc[name]
        error = np.sqrt(row["chance"] * (1 - row["chance"]) / row["n"])
        assert abs(row["value"] - row["chance"]) < 4 * error + 0.02


def test_p_within_categories_is_uniform_without_a_relation():
    from scipy.stats import kstest

    p_values = []
    for seed in range(200):
        fold = world("nothing", seed)[0]
        rng = np.random.default_rng(seed)
        p_values.append(within_category([fold], rng)[1].p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_ranks_by_hand():
    training = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    true = np.array([[0, 0, 1.0, 0]] * 3)
    decoded = np.array([[0, 0.1, 1, 0], [0, 1, 0.5, 0.0], [1, 1, 0.5, 0]])
    fold = Decodings(decoded, true, training, np.zeros(3, int), np.full(3, "a"))
    assert zero_shot(fold).tolist() == [1, 2, 3]
    assert nearest_training(fold) == pytest.approx(1 - (-1 / 3))


def test_the_nearest_training_picture_is_that_of_the_highest_correlation():
    rng = np.random.default_rng(0)
    training, true = rng.standard_normal((6, 8)), rng.standard_normal((4, 8))
    fold = Decodings(true, true, training, np.arange(4), np.full(4, "a"))
    expected = cdist(true, training, "correlation").min(axis=1)
    np.testing.assert_allclose(nearest_training(fold), expected)


def test_ties_share_their_rank():
    training = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 1.0, 0, 0]])
    true = np.array([[0, 0, 1.0, 0]])
    # The true picture is a training picture too; another is nearer.
    decoded = np.array([[0.0, 1.0, 0.5, 0.0]])
    fold = Decodings(decoded, true, training, np.zeros(1, int), np.full(1, "a"))
    assert zero_shot(fold).tolist() == [2.5]


def test_effective_dimension_by_hand():
    rng = np.random.default_rng(0)
    assert effective_dimension(np.outer(rng.random(9), rng.random(5))) == pytest.approx(
        1
    )
    square = np.vstack([np.eye(4), -np.eye(4)])
    assert effective_dimension(square) == pytest.approx(4)
    wide = np.hstack([square, np.zeros((8, 12))])
    assert effective_dimension(wide) == pytest.approx(4)
    assert effective_dimension(np.ones((3, 3))) == 0


def test_categories_alone_by_hand():
    # Each of 4 has 1 of its 3 rivals in its own category.
    assert categories_alone(np.array(list("aabb"))) == pytest.approx(1 - 0.5 / 3)
    assert categories_alone(np.array(list("abcd"))) == 1


def test_clusters_stand_in_for_categories():
    fold = world("classify")[0]
    clusters = categories_of(fold.training, fold.true, None)
    for label in np.unique(fold.category):
        assert len(set(clusters[fold.category == label])) <= 3
    named = np.array(list("ab"))
    assert categories_of(fold.training, fold.true[:2], named) is named

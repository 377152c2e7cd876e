"""Scores of all pairs at once are those of each pair alone."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from bids_recon.evaluation import METRICS, metrics
from bids_recon.evaluation.pairs import OF_ALL_PAIRS, ssim_matrix
from bids_recon.registry import load


def two_sets(shape=(13, 17), binary=False):
    rng = np.random.default_rng(3)
    sets = [rng.random((n, 3, *shape)).astype(np.float32) for n in (4, 6)]
    # A constant picture has no variance, and its scores are as defined.
    sets[0][1], sets[1][2] = 0.25, 0.75
    return [np.round(part) for part in sets] if binary else sets


def pair_by_pair(metric, seen, made):
    columns = [metric(np.repeat(one[None], len(made), axis=0), made) for one in seen]
    return np.stack(columns, axis=1)


def test_every_metric_has_a_form_for_all_pairs():
    assert set(OF_ALL_PAIRS) == set(METRICS)


@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("binary", [False, True])
def test_all_pairs_are_those_of_each_pair(name, binary):
    seen, made = two_sets(binary=binary)
    expected = pair_by_pair(load(METRICS, "metric", name), seen, made)
    found = OF_ALL_PAIRS[name](seen, made)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("regime", ["uniform", "gaussian", "columns"])
@pytest.mark.parametrize("grey", ["mean", "luma"])
@pytest.mark.parametrize("shape", [(4, 9), (11, 11), (13, 17), (40, 32)])
def test_ssim_is_that_of_each_pair(regime, grey, shape):
    seen, made = two_sets(shape)
    expected = pair_by_pair(lambda a, b: metrics.ssim(a, b, regime, grey), seen, made)
    found = ssim_matrix(seen, made, regime, grey)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.isnan(found).all() == (regime != "uniform" and shape == (4, 9))


def test_ssim_is_that_of_scikit_image():
    seen, made = (part.mean(axis=1, keepdims=True) for part in two_sets((32, 32)))
    seen, made = (np.repeat(part, 3, axis=1) for part in (seen, made))
    theirs = structural_similarity(
        made[3, 0].astype(float), seen[2, 0].astype(float), data_range=1.0
    )
    assert ssim_matrix(seen, made)[3, 2] == pytest.approx(theirs, abs=1e-6)

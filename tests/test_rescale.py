"""Decoded features get the scale of true ones, from training trials alone."""

from functools import partial

import numpy as np
import pytest

from bids_recon.datatypes import Targets
from bids_recon.decoders.ridge import Ridge
from bids_recon.stages.decode.rescale import rescale


def simulated(n_pictures, seed, n_voxels=400, n_targets=60):
    """Targets from 30 causes, which voxels show with noise."""
    fixed = np.random.default_rng(0)
    to_voxels = 0.3 * fixed.normal(size=(30, n_voxels))
    to_targets = fixed.normal(size=(30, n_targets))
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n_pictures, 30))
    noise = 2 * rng.normal(size=(n_pictures, n_voxels))
    X = causes @ to_voxels + noise
    return X.astype(np.float32), (causes @ to_targets + 5).astype(np.float32)


@pytest.mark.parametrize("n_pictures", [100, 300, 1000, 3000])
@pytest.mark.parametrize("alpha", [1e2, 1e3, 1e4, 1e5])
def test_decoded_features_vary_as_true_ones_do(tmp_path, n_pictures, alpha):
    X_test, Y_test = simulated(1500, seed=99)
    ratios = []
    for seed in range(2):
        X, Y = simulated(n_pictures, seed)
        groups = np.arange(n_pictures)
        ridge = Ridge(alpha=alpha).fit(X, Y, groups)
        path = tmp_path / "decoded.npy"
        np.save(path, ridge.predict(X_test))
        rescale(path, "train", Targets.of(Y), partial(ridge.spread, groups))
        ratios.append((np.load(path).std(axis=0) / Y_test.std(axis=0)).mean())
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("n_voxels", [60, 20])
@pytest.mark.parametrize("chosen", [False, True])
def test_the_spread_is_that_of_separate_fits(n_voxels, chosen):
    X, Y = simulated(40, seed=1, n_voxels=n_voxels)
    groups = np.arange(40) // 2
    how = {"alpha": "global", "alphas": (50.0,)} if chosen else {"alpha": 50.0}
    spread = Ridge(**how).fit(X, Y, groups).spread(groups, 1000)
    parts = []
    for group in range(20):
        known = groups != group
        ridge = Ridge(alpha=50.0).fit(X[known], Y[known], groups[known])
        parts.append(ridge.predict(X[~known]) - Y[known].mean(axis=0))
    expected = np.sqrt((np.concatenate(parts) ** 2).mean(axis=0))
    np.testing.assert_allclose(spread, expected, rtol=1e-5)

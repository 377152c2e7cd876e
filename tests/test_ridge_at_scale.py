"""Ridge that streams: blocks, pictures shown several times, other devices."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as ScikitRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneGroupOut

from bids_recon.datatypes import Targets, fresh
from bids_recon.decoders import ridge
from bids_recon.decoders.algebra import LARGE, Algebra
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.normal_equations import NormalEquations
from bids_recon.decoders.ridge import Ridge
from bids_recon.decoders.sgd import SGD
from bids_recon.machine import Machine


@pytest.fixture
def problem():
    """30 trials of 12 pictures, targets of shape (4, 3)."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.arange(12), rng.integers(0, 12, 18)])
    features = (5 + rng.standard_normal((12, 4, 3))).astype(np.float32)
    X = features.reshape(12, -1)[rows] @ rng.standard_normal((12, 50))
    X = (X + rng.standard_normal((30, 50))).astype(np.float32)
    return X, Targets(features, rows), rng.standard_normal((5, 50)).astype(np.float32)


class OnTorch(Algebra):
    """What runs on a GPU, on torch's CPU."""

    device = torch.device("cpu")


@pytest.mark.parametrize("n_voxels", [50, 8])
@pytest.mark.parametrize("alpha", [3.0, "per-target", "per-feature", "global"])
def test_blocks_and_repeated_pictures_change_nothing(
    problem, alpha, n_voxels, tmp_path, monkeypatch
):
    X, Y, X_test = problem
    X, X_test = X[:, :n_voxels], X_test[:, :n_voxels]
    whole = Ridge(alpha=alpha).fit(X, np.asarray(Y), Y.rows).predict(X_test)
    # A few targets at a time, from a file and into one.
    monkeypatch.setattr(ridge, "BLOCK", 4 * 12 * 5)
    np.save(tmp_path / "features.npy", Y.values)
    on_disk = Targets(np.load(tmp_path / "features.npy", mmap_mode="r"), Y.rows)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, (5, 4, 3))
    Ridge(alpha=alpha).fit(X, on_disk, Y.rows).predict(X_test, out)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), whole, atol=1e-5)


def test_alpha_of_each_feature_serves_its_targets_together(problem):
    X, Y, _ = problem
    chosen = Ridge(alpha="per-feature").fit(X, Y, Y.rows).alphas_.reshape(4, 3)
    for token in range(4):
        own = Targets(Y.values[:, token], Y.rows)
        together = Ridge(alpha="global").fit(X, own, Y.rows).alphas_
        np.testing.assert_array_equal(chosen[token], together)


@pytest.mark.parametrize("n_voxels", [50, 8])
def test_leave_one_out_is_scikit_learns(problem, n_voxels):
    X, Y, _ = problem
    X, values = X[:, :n_voxels], np.asarray(Y).reshape(30, -1)
    alphas = (0.1, 1.0, 10.0, 100.0, 1000.0)
    ours = Ridge(alphas=alphas, n_folds="leave-one-out").fit(X, values, np.arange(30))
    theirs = RidgeCV(alphas=alphas, alpha_per_target=True).fit(X, values)
    np.testing.assert_array_equal(ours.alphas_, theirs.alpha_)


@pytest.mark.parametrize(("enough", "n_used"), [(1, 1), (14, 2), (15, 3), (26, 5)])
def test_folds_are_left_out_until_they_are_enough(problem, monkeypatch, enough, n_used):
    X, Y, _ = problem
    values = np.asarray(Y).reshape(30, -1)
    folds = inner_folds(Y.rows, 5)
    assert [len(out) for _, out in folds] == [7, 7, 6, 5, 5]
    monkeypatch.setattr(ridge, "ENOUGH", enough)
    ours = Ridge().fit(X, Y, Y.rows)
    errors = np.zeros((len(ours.alphas), 12))
    for row, alpha in enumerate(ours.alphas):
        for rest, out in folds[:n_used]:
            model = ScikitRidge(alpha).fit(X[rest], values[rest])
            errors[row] += ((model.predict(X[out]) - values[out]) ** 2).sum(axis=0)
    chosen = np.array(ours.alphas)[errors.argmin(axis=0)]
    np.testing.assert_array_equal(ours.alphas_, chosen)
    # Not what all folds choose, so that the test can tell.
    monkeypatch.setattr(ridge, "ENOUGH", 30)
    every = Ridge().fit(X, Y, Y.rows).alphas_
    assert (n_used == 5) == np.array_equal(every, chosen)


def test_leave_one_picture_out_leaves_all_its_trials_out(problem):
    X, Y, _ = problem
    alphas = (1.0, 10.0, 100.0, 1000.0)
    ours = Ridge(alphas=alphas, n_folds="leave-one-out").fit(X, Y, Y.rows)
    folds = list(LeaveOneGroupOut().split(X, groups=Y.rows))
    values = np.asarray(Y).reshape(30, -1)
    errors = [
        sum(
            (
                (
                    ScikitRidge(alpha=alpha)
                    .fit(X[train], values[train])
                    .predict(X[out])
                    - values[out]
                )
                ** 2
            ).sum(axis=0)
            for train, out in folds
        )
        for alpha in alphas
    ]
    best = np.asarray(alphas)[np.argmin(errors, axis=0)]
    np.testing.assert_array_equal(ours.alphas_, best)


@pytest.mark.parametrize("n_voxels", [50, 8])
def test_the_same_numbers_on_torch(problem, n_voxels, monkeypatch):
    X, Y, X_test = problem
    X, X_test = X[:, :n_voxels], X_test[:, :n_voxels]
    here = Ridge(coefficients=True).fit(X, Y, Y.rows)
    predicted = Ridge().fit(X, Y, Y.rows).predict(X_test)
    monkeypatch.setattr(
        ridge, "Algebra", lambda machine, _, **how: OnTorch(machine, LARGE, **how)
    )
    there = Ridge(coefficients=True).fit(X, Y, Y.rows)
    np.testing.assert_array_equal(here.alphas_, there.alphas_)
    np.testing.assert_allclose(here.coef_, there.coef_, atol=2e-5)
    again = Ridge().fit(X, Y, Y.rows).predict(X_test)
    np.testing.assert_allclose(predicted, again, rtol=1e-4, atol=1e-4)


def test_single_precision_of_large_problems_is_close(problem, monkeypatch):
    X, Y, X_test = problem
    exact = ScikitRidge(alpha=10.0).fit(X, np.asarray(Y).reshape(30, -1))
    monkeypatch.setattr(
        ridge, "Algebra", lambda machine, _, **how: Algebra(machine, LARGE, **how)
    )
    own = Ridge(alpha=10.0, machine=Machine(device="cpu")).fit(X, Y, Y.rows)
    assert own.equations.algebra.dtype == np.float32
    expected = exact.predict(X_test)
    scale = np.abs(expected).max()
    assert np.abs(own.predict(X_test).reshape(5, -1) - expected).max() < 1e-5 * scale


def test_two_ridges_on_the_same_voxels_share_a_factorisation(problem):
    X, Y, X_test = problem
    first = Ridge(alpha=5.0).fit(X, Y, Y.rows)
    first.predict(X_test)
    second = Ridge(alpha=50.0)
    second.equations = first.equations
    second.fit(X, Y, Y.rows)
    assert second.equations is first.equations
    alone = Ridge(alpha=50.0).fit(X, Y, Y.rows)
    np.testing.assert_array_equal(second.predict(X_test), alone.predict(X_test))
    other = Ridge(alpha=5.0)
    other.equations = first.equations
    other.fit(X + 1, Y, Y.rows)
    assert other.equations is not first.equations


def test_no_penalty_is_least_squares_of_the_smallest_norm(problem):
    X, Y, X_test = problem
    values = np.asarray(Y).reshape(30, -1).astype(np.float64)
    centred, mean = X - X.mean(axis=0, dtype=np.float64), values.mean(axis=0)
    B = np.linalg.lstsq(centred, values - mean, rcond=1e-10)[0]
    expected = (X_test - X.mean(axis=0, dtype=np.float64)) @ B + mean
    got = Ridge(alpha=0.0).fit(X, Y, Y.rows).predict(X_test).reshape(5, -1)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": "best"},
        {"alpha": -1.0},
        {"alphas": (0.0, 1.0)},
        {"n_folds": "leave-one-in"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"alpha|n_folds"):
        Ridge(**wrong)


def test_constant_voxels_and_one_picture(problem):
    X, Y, X_test = problem
    X[:, :10] = 3.0
    assert np.isfinite(Ridge().fit(X, Y, Y.rows).predict(X_test)).all()
    one = Ridge().fit(X, Y, np.zeros(30))
    assert set(one.alphas_) == {max(one.alphas)}


def test_targets_know_their_trials(problem):
    _, Y, _ = problem
    np.testing.assert_array_equal(np.asarray(Y), Y.values[Y.rows])
    np.testing.assert_array_equal(
        np.asarray(Y[np.array([3, 20])]), Y.values[Y.rows[[3, 20]]]
    )
    thin = Y.thinned(5)
    np.testing.assert_array_equal(thin, np.asarray(Y).reshape(30, -1)[:, ::3])
    assert Y.thinned(12).shape == (30, 12)
    weights = np.random.default_rng(1).standard_normal((2, 30))
    flat = np.asarray(Y).reshape(30, -1)
    gathered = Y.gather(weights) @ Y.values.reshape(12, -1)
    np.testing.assert_allclose(gathered, weights @ flat, rtol=1e-5)


def test_only_the_array_of_a_file_is_mapped_anew(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(4, 3))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert fresh(mapped) is not mapped
    np.testing.assert_array_equal(fresh(mapped), mapped)
    part = mapped[1:3]
    assert fresh(part) is part


def test_equations_hold_no_matrix_of_voxels_by_voxels():
    X = np.random.default_rng(0).standard_normal((20, 3000))
    equations = NormalEquations(X, Algebra(Machine(), 0))
    assert equations.weights(X[:2], 1.0).shape == (2, 20)
    assert equations._matrix.shape == (20, 20)


def test_gradient_descent_comes_near_ridge():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 20)).astype(np.float32)
    B = rng.standard_normal((20, 6))
    Y = (X @ B + 0.1 * rng.standard_normal((400, 6)) + 7).astype(np.float32)
    X_test = rng.standard_normal((50, 20)).astype(np.float32)
    machine = Machine(device="cpu")
    own = SGD(learning_rate=0.02, weight_decay=0.0, machine=machine)
    predicted = own.fit(X, Y, np.arange(400)).predict(X_test)
    expected = ScikitRidge(alpha=1.0).fit(X, Y).predict(X_test)
    assert np.abs(predicted - expected).mean() < 0.05 * expected.std()

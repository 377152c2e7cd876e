"""Ridge of problems that fill the memory, beside scikit-learn and the small form."""

import numpy as np
import pytest
from scipy.linalg import LinAlgError
from sklearn.linear_model import Ridge as ScikitRidge

from bids_recon.datatypes import Targets
from bids_recon.decoders import block_tridiagonal, large_equations, ridge
from bids_recon.decoders.algebra import LARGE, Algebra
from bids_recon.decoders.block_cholesky import BlockCholesky
from bids_recon.decoders.block_tridiagonal import BlockTridiagonal, Symmetric
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.large_equations import LargeEquations
from bids_recon.decoders.normal_equations import NormalEquations
from bids_recon.decoders.ridge import Ridge
from bids_recon.errors import UserError
from bids_recon.machine import Machine

EXACT = Algebra(Machine(), 0)
SIDES = pytest.mark.parametrize("n_voxels", [70, 13], ids=["dual", "primal"])


def large(machine, _, **how):
    """Take a toy for a large problem."""
    return Algebra(machine, LARGE, **how)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Take a few rows at a time, so that toys have many blocks."""
    monkeypatch.setattr(block_tridiagonal, "WIDTH", 4)
    monkeypatch.setattr(block_tridiagonal, "ROWS", 8)
    # About a hundred values of responses at once.
    monkeypatch.setattr(large_equations, "SHARE", 5_000_000)


@pytest.fixture
def problem(tmp_path):
    """45 trials of 15 pictures, mapped from a file, six targets, five test trials."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.arange(15), rng.integers(0, 15, 30)])
    features = (3 + rng.standard_normal((15, 6))).astype(np.float32)
    X = 2 + features[rows] @ rng.standard_normal((6, 70)) / 3
    X = (X + rng.standard_normal(X.shape)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    X_test = rng.standard_normal((5, 70)).astype(np.float32)
    return tmp_path / "X.npy", Targets(features, rows), X_test


def mapped(path, n_voxels):
    """Map responses of some voxels, which lie in a file of their own."""
    own = path.with_name(f"{n_voxels}.npy")
    np.save(own, np.load(path)[:, :n_voxels])
    return np.load(own, mmap_mode="r")


def packed(matrix):
    result = Symmetric(len(matrix), matrix.dtype)
    for own, block in zip(result.rows, result.blocks, strict=True):
        block[:] = matrix[own, : own.stop]
    return result


@pytest.mark.parametrize("n", [1, 4, 5, 8, 23, 40])
def test_the_form_solves_every_penalty(n):
    rng = np.random.default_rng(n)
    A = rng.standard_normal((n, n + 3))
    A, B = A @ A.T, rng.standard_normal((n, 3))
    form = BlockTridiagonal(packed(A))
    for alpha in (0.1, 5.0, 1000.0):
        solved = B.copy()
        form.turn(solved)
        solved = form.solve(solved, alpha)
        form.turn_back(solved)
        expected = np.linalg.solve(A + alpha * np.eye(n), B)
        np.testing.assert_allclose(solved, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 23, 40])
def test_a_factor_solves_its_penalty(n):
    rng = np.random.default_rng(n)
    A = rng.standard_normal((n, n + 3))
    A, B = A @ A.T, rng.standard_normal((n, 3))
    expected = np.linalg.solve(A + 5.0 * np.eye(n), B)
    matrix = packed(A)
    BlockCholesky(matrix, 5.0).solve(B)
    np.testing.assert_allclose(B, expected, rtol=1e-9, atol=1e-12)
    lower = np.linalg.cholesky(A + 5.0 * np.eye(n))
    for rows, block in zip(matrix.rows, matrix.blocks, strict=True):
        np.testing.assert_allclose(block, lower[rows, : rows.stop], atol=1e-9)
    with pytest.raises(LinAlgError):
        BlockCholesky(packed(-A), 1e-6)


def test_the_form_has_the_eigenvalues_and_few_entries():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((22, 22))
    A = A + A.T
    form = BlockTridiagonal(packed(A))
    T = np.zeros((22, 22))
    for number, block in enumerate(form.diagonal):
        own = slice(4 * number, 4 * number + len(block))
        T[own, own] = block
        if number < len(form.beside):
            beside = form.beside[number]
            below = slice(own.stop, own.stop + len(beside))
            T[below, own], T[own, below] = beside, beside.T
    np.testing.assert_allclose(np.linalg.eigvalsh(T), np.linalg.eigvalsh(A), atol=1e-10)
    turned = np.eye(22)
    form.turn(turned)
    np.testing.assert_allclose(turned @ A @ turned.T, T, atol=1e-10)


def test_a_matrix_of_one_triangle_gives_both():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((21, 21))
    A = A + A.T
    own, rows, columns = packed(A), np.array([0, 9, 20, 3]), np.array([1, 8, 19])
    np.testing.assert_array_equal(own.take(rows, columns), A[np.ix_(rows, columns)])
    np.testing.assert_allclose(own.sums(), A.sum(axis=1))
    some = np.array([0, 2, 7, 8, 9, 15, 16, 20])
    every = np.arange(len(some))
    part = own.part(some).take(every, every)
    np.testing.assert_array_equal(part, A[np.ix_(some, some)])
    B = A @ A
    np.testing.assert_allclose(own.times(A[:, :3]), B[:, :3])
    own.add(A, A, sign=-1)
    np.testing.assert_allclose(own.sums(), (packed(A).sums() - B.sum(axis=1)))


@SIDES
@pytest.mark.parametrize("intercept", [True, False])
def test_errors_of_cross_validation_are_scikit_learns(problem, n_voxels, intercept):
    path, Y, _ = problem
    X, alphas = mapped(path, n_voxels), np.array([0.5, 20.0, 3000.0])
    folds = inner_folds(Y.rows, 4)
    held_out = [out for _, out in folds]
    equations = LargeEquations(X, EXACT, intercept)
    blocks = [slice(0, 2), slice(2, 6)]
    errors = equations.cross_validated_errors(held_out, alphas, Y, blocks)
    values = np.asarray(Y)
    for row, alpha in enumerate(alphas):
        expected = np.zeros(6)
        for train, out in folds:
            model = ScikitRidge(alpha=alpha, fit_intercept=intercept)
            model.fit(X[train].astype(float), values[train].astype(float))
            expected += ((model.predict(X[out]) - values[out]) ** 2).sum(axis=0)
        np.testing.assert_allclose(errors[row], expected, rtol=1e-5)


@SIDES
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("single", [True, False])
def test_predictions_and_weights_are_those_of_the_small_form(
    problem, n_voxels, intercept, single
):
    path, Y, X_test = problem
    X, X_test = mapped(path, n_voxels), X_test[:, :n_voxels]
    alphas = np.array([1.0, 10.0, 10.0, 1.0, 500.0, 10.0])
    alphas = np.full(6, 500.0) if single else alphas
    own = LargeEquations(X, EXACT, intercept)
    own.single = single
    small = NormalEquations(np.array(X), EXACT, intercept)
    centred = np.asarray(Y, dtype=float)
    mean = centred.mean(axis=0) * intercept
    centred = centred - mean
    coef = small.coefficients(centred, alphas)
    np.testing.assert_allclose(own.coefficients(centred, alphas), coef, atol=1e-9)
    for alpha in np.unique(alphas):
        np.testing.assert_allclose(
            own.weights(X_test, alpha), small.weights(X_test, alpha), atol=1e-9
        )
    blocks = [slice(0, 4), slice(4, 6)]
    found = {
        part.start: values
        for part, values in own.predictions(X_test, Y, alphas, blocks)
    }
    predicted = np.hstack([found[0], found[4]])
    expected = (X_test - small.mean) @ coef + mean
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


@SIDES
@pytest.mark.parametrize("single", [True, False])
def test_left_out_trials_are_predicted_as_by_the_small_form(problem, n_voxels, single):
    path, Y, _ = problem
    X = mapped(path, n_voxels)
    groups = [np.flatnonzero(Y.rows == name) for name in (3, 0, 11)]
    own = LargeEquations(X, EXACT)
    own.single = single
    own = own.left_out_weights(groups, 7.0)
    small = NormalEquations(np.array(X), EXACT).left_out_weights(groups, 7.0)
    np.testing.assert_allclose(own, small, atol=1e-10)


@SIDES
@pytest.mark.parametrize("share", [5_000_000, 500_000, 1])
def test_blocks_of_any_size_give_equal_results(problem, n_voxels, share, monkeypatch):
    path, Y, X_test = problem
    X, X_test = mapped(path, n_voxels), X_test[:, :n_voxels]
    monkeypatch.setattr(ridge, "Algebra", large)
    machine = Machine(device="cpu")
    whole = Ridge(machine=machine).fit(X, Y, Y.rows)
    expected = whole.predict(X_test)
    monkeypatch.setattr(large_equations, "SHARE", share)
    monkeypatch.setattr(ridge, "BLOCK", 4 * 45 * 2)
    own = Ridge(machine=machine).fit(X, Y, Y.rows)
    assert isinstance(own.equations, LargeEquations)
    np.testing.assert_array_equal(own.alphas_, whole.alphas_)
    np.testing.assert_allclose(own.predict(X_test), expected, rtol=2e-4, atol=1e-4)


def test_a_penalty_that_single_precision_cannot_tell_is_not_chosen(
    problem, monkeypatch
):
    path, Y, _ = problem
    X = np.repeat(mapped(path, 13)[:, :1] * 1e6, 13, axis=1)
    monkeypatch.setattr(ridge, "Algebra", large)
    machine = Machine(device="cpu")
    chosen = Ridge(alphas=(1e-9, 1e9, 1e13), machine=machine).fit(X, Y, Y.rows)
    assert chosen.alphas_.min() >= 1e9
    fixed = Ridge(alpha=1e-9, machine=machine).fit(X, Y, Y.rows)
    with pytest.raises(UserError, match="a penalty of 1e-09 cannot be told from none"):
        fixed.predict(X[:3])


def test_the_least_penalty_follows_from_the_largest_eigenvalue():
    rng = np.random.default_rng(0)
    half = (rng.standard_normal((23, 40)) * np.arange(1, 41)).astype(np.float32)
    matrix = half @ half.T
    form = BlockTridiagonal(packed(matrix))
    expected = 8 * np.finfo(np.float32).eps * np.linalg.eigvalsh(matrix)[-1]
    assert 0.9 * expected < form.least < 1.01 * expected
    with pytest.raises(LinAlgError, match="is least"):
        form.solve(np.ones((23, 1), np.float32), 0.5 * expected)


@pytest.mark.parametrize("alpha", [0.1, "global", "per-target"])
def test_penalties_that_single_precision_cannot_tell_are_solved_in_double(
    problem, monkeypatch, alpha
):
    path, Y, X_test = problem
    X = mapped(path, 13) * np.float32(1e4)
    how = {"alpha": alpha, "alphas": (0.1, 1.0)}
    small = Ridge(**how, machine=Machine(device="cpu")).fit(X, Y, Y.rows)
    monkeypatch.setattr(ridge, "Algebra", large)
    own = Ridge(**how, machine=Machine(device="cpu")).fit(X, Y, Y.rows)
    assert own.equations.algebra.dtype == np.float64
    np.testing.assert_array_equal(own.alphas_, small.alphas_)
    test = X_test[:, :13] * np.float32(1e4)
    np.testing.assert_allclose(own.predict(test), small.predict(test), rtol=1e-4)


def test_ridges_that_share_their_equations_do_not_mix_up_penalties(
    problem, monkeypatch
):
    path, Y, X_test = problem
    X = mapped(path, 70)
    monkeypatch.setattr(ridge, "Algebra", large)
    machine = Machine(device="cpu")
    several = {"alphas": (1.0, 1e3, 1e6), "machine": machine}
    # What no voxel knows of wants a strong penalty.
    noise = np.random.default_rng(1).standard_normal((15, 2)).astype(np.float32)
    Y = Targets(np.hstack([Y.values, noise]), Y.rows)
    alone = Ridge(**several).fit(X, Y, Y.rows)
    assert len(np.unique(alone.alphas_)) > 1
    expected, maps = alone.predict(X_test), alone.maps(X)
    one = Ridge(alpha=50.0, machine=machine).fit(X, Y, Y.rows).predict(X_test)
    first = Ridge(**several).fit(X, Y, Y.rows)
    second = Ridge(alpha=50.0, machine=machine)
    second.equations = first.equations
    second.fit(X, Y, Y.rows)
    assert isinstance(first.equations, LargeEquations)
    assert second.equations is first.equations
    for name, own in first.maps(X).items():
        np.testing.assert_allclose(own, maps[name], rtol=1e-3, atol=1e-3)
    close = {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(second.predict(X_test), one, **close)
    np.testing.assert_allclose(first.predict(X_test), expected, **close)

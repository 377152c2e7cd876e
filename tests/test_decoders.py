"""Decoders against scikit-learn and himalaya."""

import numpy as np
import pytest
from himalaya.kernel_ridge import KernelRidgeCV
from scipy.special import softmax
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression, OrthogonalMatchingPursuit
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import GridSearchCV, GroupKFold

from bids_recon.datatypes import Targets, columns_of
from bids_recon.decoders import l1_logistic
from bids_recon.decoders.algebra import Algebra
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.large_equations import LargeEquations
from bids_recon.decoders.normal_equations import NormalEquations
from bids_recon.decoders.ridge import Ridge
from bids_recon.decoders.sparse import Sparse, best_voxels
from bids_recon.decoders.sparse_logistic import SparseLogistic
from bids_recon.decoders.univariate import Univariate
from bids_recon.errors import UserError
from bids_recon.machine import Machine


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 90))
    Y = X[:, :6] @ rng.standard_normal((6, 5)) + rng.standard_normal((40, 5))
    return X, Y, rng.standard_normal((7, 90)), np.arange(40) // 2


def test_patterns_are_where_the_signal_is_and_weights_where_noise_is_told_of():
    rng = np.random.default_rng(0)
    signal, noise = rng.standard_normal((2, 5000))
    # The second voxel shows the noise of the first alone, the third nothing of either.
    X = np.stack([signal + noise, noise, rng.standard_normal(5000)], axis=1)
    ridge = Ridge(alpha=1.0).fit(X, signal[:, None], np.arange(5000))
    maps = ridge.maps(X)
    np.testing.assert_allclose(maps["weight"], [1, 1, 0], atol=0.02)
    np.testing.assert_allclose(maps["pattern"], [1, 0, 0], atol=0.05)
    coefficients = Ridge(alpha=1.0, coefficients=True)
    coef = coefficients.fit(X, signal[:, None], np.arange(5000)).coef_[:, 0]
    np.testing.assert_allclose(maps["weight"], np.abs(coef), rtol=1e-9)


def test_maps_of_many_targets_are_roots_of_mean_squares(problem):
    X, Y, _, groups = problem
    ridge = Ridge(alpha=3.0, coefficients=True).fit(X, Y, groups)
    maps = ridge.maps(X)
    centred = X - X.mean(axis=0)
    decoded = centred @ ridge.coef_
    covariance = centred.T @ decoded / len(X)
    weight = np.sqrt((ridge.coef_**2).mean(axis=1))
    pattern = np.sqrt((covariance**2).sum(axis=1) / (decoded**2).mean(axis=0).sum())
    np.testing.assert_allclose(maps["weight"], weight)
    np.testing.assert_allclose(maps["pattern"], pattern)
    for kind in (Sparse(k_best=20), Univariate()):
        made = kind.fit(X, Y, groups)
        found = made.maps(X)
        read = np.unique(made.voxels_)
        assert (found["weight"][np.setdiff1d(np.arange(90), read)] == 0).all()


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e4])
@pytest.mark.parametrize("n_voxels", [90, 12])
def test_ridge_is_scikit_learns(problem, alpha, n_voxels):
    X, Y, X_test, groups = problem
    X, X_test = X[:, :n_voxels], X_test[:, :n_voxels]
    ours = Ridge(alpha=alpha, coefficients=True).fit(X, Y, groups)
    theirs = SklearnRidge(alpha=alpha).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_.T, rtol=1e-6, atol=1e-10)
    for ridge in (ours, Ridge(alpha=alpha).fit(X, Y, groups)):
        np.testing.assert_allclose(
            ridge.predict(X_test), theirs.predict(X_test), rtol=1e-5, atol=1e-6
        )


def test_global_alpha_is_that_of_a_grid_search(problem):
    X, Y, _, groups = problem
    ours = Ridge(alpha="global").fit(X, Y, groups)
    theirs = GridSearchCV(
        SklearnRidge(),
        {"alpha": ours.alphas},
        scoring="neg_mean_squared_error",
        cv=GroupKFold(5, shuffle=True, random_state=0),
    ).fit(X, Y, groups=groups)
    assert set(ours.alphas_) == {theirs.best_params_["alpha"]}


def test_alpha_of_each_target_is_himalayas(problem):
    X, Y, _, groups = problem
    ours = Ridge(alpha="per-target").fit(X, Y, groups)
    theirs = KernelRidgeCV(
        alphas=np.asarray(ours.alphas),
        kernel="linear",
        fit_intercept=True,
        cv=inner_folds(groups, 5),
    ).fit(X, Y)
    np.testing.assert_allclose(ours.alphas_, theirs.best_alphas_)


@pytest.mark.parametrize("equations", [NormalEquations, LargeEquations])
@pytest.mark.parametrize("n_voxels", [90, 12])
def test_errors_of_cross_validation_are_those_of_separate_fits(
    problem, n_voxels, equations
):
    X, Y, _, groups = problem
    folds = inner_folds(groups, 4)
    X = X[:, :n_voxels]
    held_out = [test for _, test in folds]
    errors = equations(X, Algebra(Machine(), 0)).cross_validated_errors(
        held_out, np.array([3.0, 300.0]), Targets.of(Y), [slice(0, 2), slice(2, None)]
    )
    for row, alpha in enumerate((3.0, 300.0)):
        expected = np.zeros(Y.shape[1])
        for train, test in folds:
            model = SklearnRidge(alpha=alpha).fit(X[train], Y[train])
            expected += ((model.predict(X[test]) - Y[test]) ** 2).sum(axis=0)
        np.testing.assert_allclose(errors[row], expected)


def test_inner_folds_keep_groups_together(problem):
    groups = problem[3]
    folds = inner_folds(groups, 5)
    assert len(folds) == 5
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(40))
    assert inner_folds(np.zeros(6), 5) == []
    assert len(inner_folds(np.array([0, 0, 1, 1]), 5)) == 2


def test_best_voxels_are_those_of_select_k_best(problem):
    X = problem[0]
    y = (X[:, 3] + X[:, 8] > 0).astype(float)
    expected = np.flatnonzero(SelectKBest(f_classif, k=10).fit(X, y).get_support())
    both = np.column_stack([X[:, 0], y])
    np.testing.assert_array_equal(best_voxels(X, both, 10)[1], expected)


def test_sparse_is_scikit_learns_matching_pursuit(problem):
    X, Y, X_test, groups = problem
    ours = Sparse(method="omp", k_best=20, n_nonzero=4).fit(X, Y, groups)
    for target, y in enumerate(Y.T):
        (chosen,) = best_voxels(X, y[:, None], 20)
        theirs = OrthogonalMatchingPursuit(n_nonzero_coefs=4).fit(X[:, chosen], y)
        np.testing.assert_allclose(
            ours.predict(X_test)[:, target],
            theirs.predict(X_test[:, chosen]),
            rtol=1e-4,
            atol=1e-5,
        )


def test_equal_targets_share_one_fit_and_constant_ones_are_predicted(problem):
    X, Y, X_test, groups = problem
    Y = np.column_stack([Y[:, 0], np.full(len(Y), 2.5), Y[:, 0]])
    predicted = Sparse(k_best=20).fit(X, Y, groups).predict(X_test)
    np.testing.assert_array_equal(predicted[:, 0], predicted[:, 2])
    np.testing.assert_allclose(predicted[:, 1], 2.5)


def test_sparse_logistic_predicts_the_expectation(problem):
    X, _, _, groups = problem
    y = np.select([X[:, 0] > 0.5, X[:, 0] < -0.5], [1.0, 0.0], 0.5)
    Y = np.column_stack([y, (X[:, 1] > 0).astype(float), np.ones(40)])
    predicted = SparseLogistic(k_best=10).fit(X, Y, groups).predict(X)
    assert predicted.min() >= 0
    assert predicted.max() <= 1
    for target in (0, 1):
        assert np.corrcoef(predicted[:, target], Y[:, target])[0, 1] > 0.8
    np.testing.assert_allclose(predicted[:, 2], 1.0, atol=1e-6)


@pytest.fixture(scope="module")
def local():
    """Trials and targets of two to five classes, one of them two targets' in one."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((60, 40))
    drive = X[:, :8] @ rng.standard_normal((8, 5)) + rng.standard_normal((60, 5))
    cuts = [[0.0], [-0.5, 1.0], [-1.0, 0.0, 1.5], [-2.0, -1.0, 0.5, 2.0], [0.3]]
    codes = [np.digitize(d, c) for d, c in zip(drive.T, cuts, strict=True)]
    return X, np.stack([*codes, codes[1]], axis=1) / 4


def scikit_learns(X, y, C):
    model = LogisticRegression(
        l1_ratio=1.0, C=C, solver="saga", tol=1e-8, max_iter=200_000, random_state=0
    )
    return model.fit(X, y.astype(str))


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_sparse_logistic_is_scikit_learns(local, C):
    X, Y = local
    ours = SparseLogistic(C=C, k_best=15).fit(X, Y, np.arange(60))
    for target, y in enumerate(Y.T):
        (chosen,) = best_voxels(X, y[:, None], 15)
        np.testing.assert_array_equal(ours.voxels_[target], chosen)
        theirs = scikit_learns(X[:, chosen], y, C)
        n_classes = len(theirs.classes_)
        coef = ours.coef_[target, :n_classes]
        intercept = ours.intercept_[target, :n_classes]
        if n_classes == 2:
            np.testing.assert_array_equal(coef[0], 0)
            coef, intercept = coef[1:], intercept[1:]
        expected = theirs.coef_
        if n_classes == 4:
            # Where two are above and two below zero, a shift of all costs nothing.
            coef = coef - coef.mean(axis=0)
            expected = expected - expected.mean(axis=0)
        np.testing.assert_allclose(coef, expected, atol=1e-3)
        np.testing.assert_allclose(intercept, theirs.intercept_, atol=1e-3)


def test_sparse_logistic_does_not_depend_on_what_it_is_fitted_beside(
    local, monkeypatch
):
    X, Y = local
    together = SparseLogistic(k_best=15).fit(X, Y, np.arange(60)).predict(X)
    for target in range(Y.shape[1]):
        own = Y[:, target : target + 1]
        alone = SparseLogistic(k_best=15).fit(X, own, np.arange(60)).predict(X)
        np.testing.assert_allclose(together[:, [target]], alone, atol=1e-5)
    monkeypatch.setattr(l1_logistic, "BLOCK", 1)
    blocks = SparseLogistic(k_best=15).fit(X, Y, np.arange(60)).predict(X)
    np.testing.assert_allclose(together, blocks, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_sparse_logistic_of_separable_trials_meets_the_gradient_condition(scale):
    rng = np.random.default_rng(7)
    X = scale * rng.standard_normal((30, 100))
    codes = rng.integers(0, 3, (4, 30))
    voxels = np.tile(np.arange(100), (4, 1))
    coef, intercept = l1_logistic.l1_logistic(X, voxels, codes, 10.0, 500)
    for own, bias, y in zip(coef, intercept, codes, strict=True):
        gradient = (softmax(X @ own.T + bias, axis=1) - np.eye(3)[y]).T @ X
        assert np.abs(gradient).max() <= 0.1 * (1 + 1e-4)
        active = own != 0
        np.testing.assert_allclose(
            gradient[active], -0.1 * np.sign(own[active]), atol=1e-5
        )


def test_sparse_logistic_refuses_targets_that_are_no_classes(problem):
    X, Y, _, groups = problem
    with pytest.raises(UserError, match="a target takes 40 values"):
        SparseLogistic().fit(X, Y, groups)


def test_univariate_is_the_regression_on_the_best_voxel(problem):
    X, Y, X_test, groups = problem
    Y[:, 0] = 2 * X[:, 17] - 1
    model = Univariate().fit(X, Y, groups)
    assert model.voxels_[0] == 17
    np.testing.assert_allclose(
        model.predict(X_test)[:, 0], 2 * X_test[:, 17] - 1, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("n_voxels", [90, 12])
def test_without_an_intercept_a_ridge_is_himalayas_default(problem, n_voxels):
    X, Y, X_test, groups = problem
    X, X_test = X[:, :n_voxels], X_test[:, :n_voxels]
    X, Y = X - X.mean(axis=0), Y + np.array([0, 0, 0.5, 1, 3])
    alphas = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    settings = {"alphas": alphas, "intercept": False}
    theirs = KernelRidgeCV(
        alphas=np.array(alphas),
        kernel="linear",
        fit_intercept=False,
        cv=inner_folds(groups, 5),
        warn=False,
    ).fit(X, Y)
    assert len(set(theirs.best_alphas_)) > 1
    for coefficients in (False, True):
        ours = Ridge(coefficients=coefficients, **settings).fit(X, Y, groups)
        np.testing.assert_allclose(ours.alphas_, theirs.best_alphas_)
        expected = theirs.predict(X_test)
        np.testing.assert_allclose(ours.predict(X_test), expected, rtol=1e-4, atol=1e-5)
    with_one = Ridge(alphas=alphas).fit(X, Y, groups).predict(X_test)
    assert np.abs(with_one - expected).max() > 1


def test_a_factorisation_without_an_intercept_is_not_shared_with_one(problem):
    X, Y, X_test, groups = problem
    first = Ridge(alpha=5.0).fit(X, Y, groups)
    second = Ridge(alpha=5.0, intercept=False)
    second.equations = first.equations
    alone = Ridge(alpha=5.0, intercept=False).fit(X, Y, groups)
    np.testing.assert_array_equal(
        second.fit(X, Y, groups).predict(X_test), alone.predict(X_test)
    )


def test_small_voxels_and_small_targets_are_not_constant(problem):
    X, Y, X_test, groups = problem
    Y = Y.copy()
    Y[:, 0] = 2 * X[:, 17] - 1
    big, small = (
        Univariate().fit(scale * X, Y, groups).predict(scale * X_test)
        for scale in (1.0, 1e-3)
    )
    np.testing.assert_allclose(big, small, rtol=1e-4, atol=1e-5)
    whole = Sparse(k_best=20, n_nonzero=4).fit(X, Y, groups).predict(X_test)
    tiny = Sparse(k_best=20, n_nonzero=4).fit(X, 1e-6 * Y, groups).predict(X_test)
    np.testing.assert_allclose(1e6 * tiny, whole, rtol=1e-3, atol=1e-4)


def test_a_constant_voxel_is_never_chosen(problem):
    X, Y, _, groups = problem
    X = X.copy()
    X[:, 5] = 3.0
    for k in (5, 89):
        assert (best_voxels(X, Y, k) != 5).all()
    assert (Univariate().fit(X, Y, groups).voxels_ != 5).all()


def test_as_many_values_as_there_can_be_classes():
    X = np.random.default_rng(0).standard_normal((32, 4))
    values = np.arange(32.0)[:, None]
    decoder = SparseLogistic(max_iter=2).fit(X, values, np.arange(32))
    np.testing.assert_array_equal(decoder.values_[0], values[:, 0])


def test_coefficients_of_many_targets_are_those_of_each(problem, monkeypatch):
    X, _, X_test, groups = problem
    rng = np.random.default_rng(5)
    Y = X[:, :6] @ rng.standard_normal((6, 50)) + rng.standard_normal((40, 50))
    alphas = (1.0, 100.0, 1000.0)
    together = Ridge(alpha="per-target", alphas=alphas, coefficients=True)
    together.fit(X, Y, groups)
    for target in (0, 17, 49):
        theirs = SklearnRidge(alpha=together.alphas_[target]).fit(X, Y[:, target])
        ours = together.coef_[:, target]
        np.testing.assert_allclose(ours, theirs.coef_, rtol=1e-5, atol=1e-8)
    expected = X_test @ together.coef_ + (Y.mean(0) - X.mean(0) @ together.coef_)
    np.testing.assert_allclose(together.predict(X_test), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [slice(0, 3), slice(4, 12), slice(11, 99)])
def test_columns_of_a_file_are_those_of_its_array(tmp_path, columns):
    path = tmp_path / "values.npy"
    whole = np.random.default_rng(0).standard_normal((7, 3, 4)).astype(np.float32)
    expected = whole.reshape(7, -1)[:, columns]
    np.save(path, whole)
    mapped = np.load(path, mmap_mode="r")
    for values in (whole, mapped, np.asarray(mapped), mapped[:]):
        np.testing.assert_array_equal(columns_of(values, columns), expected)
    np.testing.assert_array_equal(columns_of(mapped[2:5], columns), expected[2:5])
    np.save(path, np.asfortranarray(whole))
    other = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(columns_of(other, columns), expected)


def test_columns_that_are_being_written_are_read(tmp_path):
    values = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (5, 6))
    values[:] = np.arange(30).reshape(5, 6)
    np.testing.assert_array_equal(columns_of(values, slice(2, 4)), values[:, 2:4])


def test_a_file_that_became_shorter_is_told(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((4, 5)))
    values = np.load(path, mmap_mode="r")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 8)
    with pytest.raises(OSError, match="it ended while it was read"):
        columns_of(values, slice(0, 5))

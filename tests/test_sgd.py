"""Ridge by gradient steps: when it stops, and what is drawn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

from bids_recon.decoders.sgd import SGD


@pytest.fixture
def noise():
    """Targets of which responses say nothing, and more voxels than trials."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 100)).astype(np.float32)
    return X, rng.standard_normal((60, 4)).astype(np.float32), np.arange(60) // 2


def held_out_first(groups):
    """Return the trials of scikit-learn's first of ten folds, and the others."""
    codes = np.unique(groups, return_inverse=True)[1]
    folds = GroupKFold(10, shuffle=True, random_state=0).split(codes, groups=codes)
    train, held_out = next(iter(folds))
    return train, held_out


def adamw(X, Y, groups, decoder):
    """Return the coefficients of the best epoch, written out with torch's optimizer."""
    train, held_out = held_out_first(groups)
    x = (X - X[train].mean(axis=0)) / X[train].std(axis=0)
    y = (Y - Y[train].mean(axis=0)) / Y[train].std(axis=0)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    coef = torch.nn.Parameter(torch.zeros(X.shape[1], Y.shape[1]))
    optimizer = torch.optim.AdamW(
        [coef], lr=decoder.learning_rate, weight_decay=decoder.weight_decay
    )
    rng = np.random.default_rng(decoder.seed)
    errors, kept = [], []
    for _ in range(decoder.epochs):
        order = rng.permutation(train)
        for rows in np.split(
            order, np.arange(decoder.batch_size, len(order), decoder.batch_size)
        ):
            rows = np.sort(rows)
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(x[rows] @ coef, y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            left = torch.nn.functional.mse_loss(x[held_out] @ coef, y[held_out])
        errors.append(float(left))
        kept.append(coef.detach().clone().numpy())
        if len(errors) - 1 - int(np.argmin(errors)) >= decoder.patience:
            break
    return kept[int(np.argmin(errors))], len(errors)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_best_epoch_by_trials_held_out_is_kept(noise, seed):
    X, Y, groups = noise
    mixed = np.random.default_rng(1).standard_normal((4, 20)).astype(np.float32)
    X = np.concatenate([X, Y @ mixed], axis=1)
    decoder = SGD(learning_rate=0.008, batch_size=16, epochs=80, patience=3, seed=seed)
    expected, n_epochs = adamw(X, Y, groups, decoder)
    # It ends by its patience, before all epochs.
    assert 5 < n_epochs < 80
    decoder.fit(X, Y, groups)
    np.testing.assert_allclose(decoder.coef_, expected, atol=1e-5)


def test_another_seed_draws_other_batches(noise):
    first, again, other = (
        SGD(learning_rate=0.02, batch_size=16, epochs=3, seed=seed).fit(*noise).coef_
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_predictions_are_in_the_scale_of_the_targets():
    rng = np.random.default_rng(0)
    X = (
        rng.standard_normal((200, 5)) * [1, 10, 0.1, 5, 2] + [0, 9, -3, 1, 100]
    ).astype(np.float32)
    Y = (X @ rng.standard_normal((5, 6)) * 30 + 1000).astype(np.float32)
    Y = Y.reshape(200, 2, 3)
    decoder = SGD(learning_rate=0.05, weight_decay=0, epochs=300, patience=30)
    decoder.fit(X, Y, np.arange(200))
    expected = LinearRegression().fit(X, Y.reshape(200, -1)).predict(X)
    predicted = decoder.predict(X)
    assert predicted.shape == (200, 2, 3)
    assert predicted.dtype == np.float32
    left = predicted.reshape(200, -1) - expected
    assert (left.std(axis=0) < 0.02 * expected.std(axis=0)).all()


def test_what_does_not_vary_is_predicted_as_it_is(noise):
    X, Y, groups = noise
    X, Y = X.copy(), Y.copy()
    X[:, 0], Y[:, 1] = 7.0, 3.5
    decoder = SGD(epochs=3).fit(X, Y, groups)
    np.testing.assert_allclose(decoder.predict(X)[:, 1], 3.5)
    assert decoder.x_scale_[0] == decoder.y_scale_[1] == 1


def test_moments_are_those_of_the_trials_learned_on(noise):
    X, Y, groups = noise
    train, _ = held_out_first(groups)
    decoder = SGD(epochs=1).fit(X, 5 * Y + 2, groups)
    np.testing.assert_allclose(decoder.x_mean_, X[train].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(decoder.x_scale_, X[train].std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(decoder.y_mean_, 5 * Y[train].mean(axis=0) + 2, 1e-5)
    np.testing.assert_allclose(decoder.y_scale_, 5 * Y[train].std(axis=0), rtol=1e-5)


def test_one_group_alone_is_learned_on_as_a_whole(noise):
    X, Y, _ = noise
    decoder = SGD(epochs=2).fit(X, Y, np.zeros(60))
    np.testing.assert_allclose(decoder.x_mean_, X.mean(axis=0), atol=1e-6)
    assert np.abs(decoder.coef_).max() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rate": 0.0}, "above 0"),
        ({"learning_rate": 10.5}, "at most"),
        ({"weight_decay": -0.1}, "0 or more"),
        ({"weight_decay": 10.5}, "at most"),
        ({"batch_size": 0}, "batch_size is at least 1"),
        ({"epochs": 0}, "epochs is at least 1"),
        ({"patience": 0}, "patience is at least 1"),
        ({"seed": -1}, "seed is at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        SGD(**options)


def test_settings_at_their_limits_are_taken():
    SGD(learning_rate=10, weight_decay=10, batch_size=1, epochs=1, patience=1, seed=0)
    SGD(weight_decay=0)

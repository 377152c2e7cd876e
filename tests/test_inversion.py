"""Pictures by inversion: the published step by hand, SciPy, true features; decoders."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bids_recon.datatypes import Targets
from bids_recon.decoders.unit_ridge import UnitRidge
from bids_recon.errors import UserError
from bids_recon.networks.inversion import (
    Descent,
    Variable,
    blurred,
    descend,
    layer_losses,
)

NOTHING = (0.0, 0.0)


def test_three_steps_of_the_published_rule_by_hand():
    start = torch.tensor([[4.0, -2.0], [1.0, 0.0]])
    variable = Variable(start, lambda values: values)
    how = Descent("gd", 3, (0.3, 0.0), 0.9, (0.1, 0.1), NOTHING)
    found, curves = descend(lambda x: (x**2).sum(dim=1), variable, how)
    for row, x in enumerate(start.numpy().astype(float)):
        velocity = np.zeros(2)
        for step in range(3):
            assert curves[row, step] == pytest.approx((x**2).sum(), rel=1e-5)
            velocity = 0.9 * velocity + 2 * x / np.abs(2 * x).mean()
            x = 0.9 * (x - (0.3 - step * 0.1) * velocity)
        np.testing.assert_allclose(found[row], x, rtol=1e-5)


def test_lbfgs_finds_the_minimum_of_a_quadratic_within_bounds():
    scale, goal = torch.tensor([1.0, 5.0, 0.5]), torch.tensor([0.3, 4.0, -2.0])
    variable = Variable(
        torch.zeros(1, 3), lambda values: values, -torch.ones(3), torch.ones(3)
    )
    how = Descent("lbfgs", 50, (1.0, 1.0), 0.0, NOTHING, NOTHING)
    found, curves = descend(
        lambda x: (scale * (x - goal) ** 2).sum(dim=1), variable, how
    )
    np.testing.assert_allclose(found[0], [0.3, 1.0, -1.0], atol=1e-5)
    assert curves[0, -1] < curves[0, 0]


def test_true_features_of_a_random_network_give_the_picture_back():
    generator = torch.Generator().manual_seed(0)
    kernels = [
        torch.randn(n_out, n_in, 3, 3, generator=generator) * (2 / (9 * n_in)) ** 0.5
        for n_in, n_out in ((3, 8), (8, 16), (16, 16))
    ]

    def seen(x):
        layers = []
        for kernel, stride in zip(kernels, (1, 2, 2), strict=True):
            x = torch.conv2d(x, kernel, stride=stride, padding=1)
            layers.append(x)
            x = x.relu()
        return layers

    picture = 255 * torch.rand(2, 3, 32, 32, generator=generator) - 127
    goals = seen(picture)

    def loss(x):
        return sum(
            layer_losses("l2", found, goal) / (goal**2).flatten(1).sum(dim=1)
            for found, goal in zip(seen(x), goals, strict=True)
        )

    variable = Variable(torch.zeros_like(picture), lambda values: values)
    how = Descent("gd", 200, (2.0, 1e-10), 0.9, NOTHING, NOTHING)
    found, _ = descend(loss, variable, how)
    for made, true in zip(found, picture, strict=True):
        pair = np.corrcoef(made.flatten().numpy(), true.flatten().numpy())
        assert pair[0, 1] > 0.99


def test_blur_is_that_of_scipy():
    values = np.random.default_rng(0).random((1, 1, 9, 7)).astype(np.float32)
    found = blurred(torch.from_numpy(values), 1.5)[0, 0].numpy()
    np.testing.assert_allclose(found, gaussian_filter(values[0, 0], 1.5), atol=1e-5)


def test_a_loss_that_is_no_number_is_told():
    variable = Variable(torch.zeros(1, 2), lambda values: values)
    how = Descent("gd", 3, (1.0, 1.0), 0.9, NOTHING, NOTHING)
    with pytest.raises(UserError, match="not a number at step 1"):
        descend(lambda x: (x / 0).sum(dim=1), variable, how)


@pytest.mark.parametrize(("n_trials", "k"), [(30, 20), (120, 20), (30, None)])
def test_each_unit_is_read_from_the_voxels_that_follow_it_best(n_trials, k):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((10, 6)) + 2
    rows = np.arange(n_trials) % 10
    rows[:3] = 0
    X = values[rows] @ rng.standard_normal((6, 50)) + rng.standard_normal(
        (n_trials, 50)
    )
    X[:, 4] = 1.0
    X_test = rng.standard_normal((3, 50))
    found = UnitRidge(alpha=7.0, k_best=k).fit(X, Targets(values, rows), rows)
    scale = np.where(X.std(axis=0) < 1e-9, 1, X.std(axis=0, ddof=1))
    Z, Z_test = (X - X.mean(axis=0)) / scale, (X_test - X.mean(axis=0)) / scale
    for unit in range(6):
        mean, deviation = values[:, unit].mean(), values[:, unit].std(ddof=1)
        y = (values[rows, unit] - mean) / deviation
        size = np.nan_to_num(
            np.abs([np.corrcoef(z, y)[0, 1] if z.std() else 0 for z in Z.T])
        )
        own = np.argsort(-size)[: k or 50]
        design = np.column_stack([Z[:, own], np.ones(n_trials)])
        w = np.linalg.solve(
            design.T @ design + 7.0 * np.eye(len(own) + 1), design.T @ y
        )
        expected = (Z_test[:, own] @ w[:-1] + w[-1]) * deviation + mean
        np.testing.assert_allclose(found.predict(X_test)[:, unit], expected, rtol=1e-5)

"""Digits, what simulated voxels see of them, and a small generator that draws them."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from bids_recon.evaluation.identification import two_way

N_UNSEEN = 400

DRAWING = {
    "learning_rate": 4e-3,
    "epochs": 20,
    "held_out": None,
    "n_hidden": 256,
    "width": 16,
    "image": 0.154587,
    "feature": 251.0,
    "adversarial": 25.0,
}
"""Options of the generator; weights are 1, 0.1 and 0.01 for pixels in -1 to 1,
set before any training, and not by what came of it."""


def digits(side=32, n_train=600, n_test=50, n_repeats=8, noise=3.0, seed=0):
    """Return responses and pictures of training and test, and pictures never shown.

    Voxels have Gaussian receptive fields. Single trials in training, means over repeats
    in test.
    """
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(load_digits().images.astype(np.float32) / 16)
    order = rng.permutation(len(images))[: n_train + n_test + N_UNSEEN]
    pictures = functional.interpolate(
        images[order, None], size=(side, side), mode="bilinear"
    ).numpy()
    centres, widths = rng.uniform(0, side, (300, 2)), rng.uniform(1.5, 4, 300)
    places = np.arange(side) + 0.5
    across, down = (
        np.exp(-((places - centres[:, axis, None]) ** 2) / (2 * widths[:, None] ** 2))
        for axis in (1, 0)
    )
    drive = np.einsum("vi,vj,nij->nv", down, across, pictures[:, 0])
    drive /= drive[:n_train].std(axis=0)
    X = drive[:n_train] + noise * rng.standard_normal((n_train, 300))
    repeats = noise * rng.standard_normal((n_repeats, n_test, 300))
    X_test = drive[n_train : n_train + n_test] + repeats.mean(axis=0)
    pictures = np.repeat(pictures, 3, axis=1)
    train, test, unseen = np.split(pictures, [n_train, n_train + n_test])
    return X.astype(np.float32), train, X_test.astype(np.float32), test, unseen


def alike(seen, drawn):
    """Return the mean correlation of pixels, and two-way identification."""
    n = len(seen)
    both = [part.reshape(n, -1) for part in (seen, drawn)]
    similarity = np.corrcoef(*both)[n:, :n]
    return np.diag(similarity).mean(), np.diag(two_way(similarity)).mean()

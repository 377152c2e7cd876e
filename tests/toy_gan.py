"""A generator of pictures at toy size, and what it learns from."""

import numpy as np
from torch import nn

from bids_recon.datatypes import Targets
from bids_recon.machine import Machine

CPU = Machine(device="cpu")
TINY = {"n_hidden": 8, "width": 8, "batch_size": 6, "epochs": 4, "machine": CPU}


def problem(n_trials=24, n_voxels=10, size=(28, 28), seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_trials, n_voxels)).astype(np.float32)
    Y = rng.random((n_trials // 2, 3, *size)).astype(np.float32)
    rows = np.arange(n_trials) // 2
    return X, Targets(Y, rows), rows


def coarse():
    """Return a network that begins as AlexNet does, whose layer 3 is its last pool."""
    pools = [nn.MaxPool2d(3, 2) for _ in range(3)]
    return nn.Sequential(nn.Conv2d(3, 4, 11, 4, padding=2), *pools)

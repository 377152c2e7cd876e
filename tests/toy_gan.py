"""A generator of pictures at toy size, and what it learns from."""

import numpy as np

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

"""Sparse logistic decoders beside scikit-learn's, fitted target by target.

113 trials of random patterns of 10 x 10, 910 voxels, the 361 patches of the recipe
miyawaki2008. Scikit-learn's saga is timed on a few patches of each number of classes,
with its own loose tolerance and with one at which its coefficients have converged.
"""

import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from bids_recon.decoders.sparse import Sparse
from bids_recon.decoders.sparse_logistic import SparseLogistic
from bids_recon.features.local_contrast import LocalContrast

N_TRIALS, N_VOXELS, SIDE, NOISE, C = 113, 910, 10, 1.5, 10.0
TIMED = 2
TOLERANCES = (1e-3, 1e-7)


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Return responses (n_trials, n_voxels) and targets (n_trials, n_patches)."""
    rng = np.random.default_rng(0)
    pictures = (rng.random((N_TRIALS, SIDE, SIDE)) < 0.5).astype(np.float32)
    place = (np.arange(SIDE) + 0.5) / SIDE
    centres, sizes = rng.random((2, N_VOXELS, 1)), rng.uniform(0.06, 0.2, (N_VOXELS, 1))
    rows, columns = (np.exp(-((place - c) ** 2) / (2 * sizes**2)) for c in centres)
    drive = np.einsum("nhw,vh,vw->nv", pictures, rows, columns)
    X = (drive - drive.mean(axis=0)) / drive.std(axis=0)
    X += NOISE * rng.standard_normal(X.shape)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    grey = np.repeat(pictures[:, None], 3, axis=1)
    return X, LocalContrast().fit(grey).encode(grey)


def timed(X: np.ndarray, y: np.ndarray, tol: float) -> tuple[np.ndarray, float]:
    """Return scikit-learn's coefficients, and how long they took in seconds."""
    started = time.perf_counter()
    model = LogisticRegression(
        l1_ratio=1.0, C=C, solver="saga", tol=tol, max_iter=500_000, random_state=0
    )
    model.fit(X.astype(np.float64), y.astype(str))
    return model.coef_, time.perf_counter() - started


def main() -> None:
    X, Y = problem()
    started = time.perf_counter()
    ours = SparseLogistic(C=C).fit(X, Y, np.arange(len(X)))
    own = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**10
    print(f"{Y.shape[1]} patches at once: {own:.1f} s; peak {peak:.0f} MB")
    started = time.perf_counter()
    Sparse(method="omp", k_best=500, n_nonzero=10).fit(X, Y, np.arange(len(X)))
    pursuit = time.perf_counter() - started
    ratio = own / pursuit
    print(f"the decoder of miyawaki2008-omp: {pursuit:.1f} s, {ratio:.1f} times")
    n_classes = np.array([len(np.unique(y)) for y in Y.T])
    whole = dict.fromkeys(TOLERANCES, 0.0)
    worst = dict.fromkeys(TOLERANCES, 0.0)
    for count in np.unique(n_classes):
        targets = np.flatnonzero(n_classes == count)
        for target in targets[:: len(targets) // TIMED][:TIMED]:
            chosen = X[:, ours.voxels_[target]]
            coef = ours.coef_[target, :count]
            coef = coef[1:] if count == 2 else coef
            for tol in TOLERANCES:
                theirs, seconds = timed(chosen, Y[:, target], tol)
                whole[tol] += seconds * len(targets) / TIMED
                worst[tol] = max(worst[tol], np.abs(theirs - coef).max())
    for tol in TOLERANCES:
        print(
            f"saga, tol {tol:.0e}: {whole[tol]:.0f} s for all, extrapolated; largest "
            f"difference {worst[tol]:.1e}; ratio {whole[tol] / own:.1f}"
        )


if __name__ == "__main__":
    main()

"""Bayesian reconstruction: the time of each outer fold, all choices inside included.

100 trials, 3,000 voxels, pictures of 28 x 28 pixels, 2,000 that were never shown; ten
folds.
"""

import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold

from bids_recon.datatypes import Prior
from bids_recon.decoders.encoding_inversion import EncodingInversion
from bids_recon.features.edges import Edges
from bids_recon.features.eigenimage import Eigenimage
from bids_recon.stages.decode.posterior import LENGTHS

N_TRIALS, N_VOXELS, N_PRIOR, SIDE = 100, 3000, 2000, 28


def digits(rng: np.random.Generator) -> np.ndarray:
    """Return digits (n, 3, 28, 28), some of them moved by a pixel or two."""
    small = load_digits().images / 16
    large = np.kron(small, np.ones((1, 3, 3)))
    chosen = rng.permutation(2 * len(large))[: N_TRIALS + N_PRIOR]
    pictures = np.zeros((len(chosen), SIDE, SIDE))
    for row, index in enumerate(chosen):
        down, right = rng.integers(0, SIDE - 24 + 1, 2)
        picture = large[index % len(large)]
        pictures[row, down : down + 24, right : right + 24] = picture
    return np.repeat(pictures[:, None], 3, axis=1).astype(np.float32)


def main() -> None:
    rng = np.random.default_rng(0)
    pictures = digits(rng)
    shown, prior = pictures[:N_TRIALS], pictures[N_TRIALS:]
    drive = shown[:, 0].reshape(N_TRIALS, -1) @ rng.standard_normal((SIDE**2, N_VOXELS))
    drive /= drive.std(axis=0)
    X = (drive + 2 * rng.standard_normal(drive.shape)).astype(np.float32)
    seconds, errors, floor = [], [], []
    for train, test in KFold(10, shuffle=True, random_state=0).split(X):
        started = time.perf_counter()
        known = np.concatenate([shown[train], prior])
        space, edges = Eigenimage(beyond=144).fit(known), Edges().fit(known)
        beside = edges.encode(shown[train]), edges.encode(prior)
        smooth = np.stack([space.smooth(length) for length in LENGTHS])
        decoder = EncodingInversion().fit(
            X[train],
            space.encode(shown[train]),
            train,
            Prior(space.encode(prior), *beside, smooth),
        )
        made = space.decode(decoder.predict(X[test]))
        seconds.append(time.perf_counter() - started)
        errors.append(((made - shown[test]) ** 2).mean())
        floor.append(((known.mean(axis=0) - shown[test]) ** 2).mean())
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**10
    print(f"seconds per fold: {', '.join(f'{s:.1f}' for s in seconds)}")
    print(f"ten folds: {sum(seconds):.1f} s; peak {peak:.0f} MB")
    print(f"squared error {np.mean(errors):.4f}; mean picture {np.mean(floor):.4f}")


if __name__ == "__main__":
    main()

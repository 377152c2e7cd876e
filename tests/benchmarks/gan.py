"""The generator that draws, without each of its losses, beside ridge regression.

Digits of 32 x 32 pixels, 300 voxels with Gaussian receptive fields, 600 single trials;
50 other digits are tested, the mean of eight repeats each. Pixel correlation, two-way
identification by it, and seconds of processor time for a training.

Run: python tests/benchmarks/gan.py [n_seeds]
"""

import sys
import time
from pathlib import Path

import numpy as np

from bids_recon.datatypes import Prior
from bids_recon.decoders.gan import GAN
from bids_recon.decoders.ridge import Ridge
from bids_recon.machine import Machine

sys.path.insert(0, str(Path(__file__).parents[1]))
from seen_digits import DRAWING, alike, digits

VARIANTS = {
    "full": {},
    "no image": {"image": 0.0},
    "no feature": {"feature": 0.0},
    "no adversarial": {"adversarial": 0.0},
    "400 digits never shown": {},
}


def main(n_seeds: int) -> None:
    """Print the mean of each measure, and each seed's."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(n_seeds):
        X, Y, X_test, seen, unseen = digits(seed=seed)
        every = np.arange(len(X))
        begun = time.process_time()
        drawn = Ridge().fit(X, Y.reshape(len(Y), -1), every).predict(X_test)
        took = time.process_time() - begun
        found.setdefault("ridge", []).append((*alike(seen, drawn), took))
        for name, options in VARIANTS.items():
            prior = Prior(unseen, np.empty((len(X), 0)), np.empty((len(unseen), 0)))
            prior = prior if name.endswith("shown") else None
            begun = time.process_time()
            decoder = GAN(**DRAWING | options, seed=seed, machine=Machine("cpu"))
            decoder.fit(X, Y, every, prior)
            took = time.process_time() - begun
            one = decoder.predict(X_test)
            found.setdefault(name, []).append((*alike(seen, one), took))
            if name == "full":
                eight = decoder.predict(X_test, n_repeats=np.full(len(X_test), 8))
                scaled = (*alike(seen, eight), 0.0)
                found.setdefault("full, times root 8", []).append(scaled)
    for name, values in found.items():
        mean = np.mean(values, axis=0)
        each = "; ".join(f"{r:.3f} {i:.3f}" for r, i, _ in values)
        print(f"{name:24} {mean[0]:.3f} {mean[1]:.3f} {mean[2]:5.1f} s  ({each})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

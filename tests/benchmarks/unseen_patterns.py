"""Figures that were never learned on: ``bayes`` beside ``miyawaki2008``.

Ten figures of 10 x 10 pixels and a simulated visual cortex (360 voxels), on responses
with noise in units of the response's deviation. Learned on 110 random patterns, or on
nine of the figures, eight trials each, for the tenth. Intervals are those of the paired
difference in pixel correlation, by bootstrap over figures.
"""

import numpy as np
from sklearn.preprocessing import StandardScaler

from bids_recon.datatypes import Decoded, Prior
from bids_recon.decoders.encoding_inversion import EncodingInversion
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.sparse_logistic import SparseLogistic
from bids_recon.evaluation.metrics import pixel_correlation
from bids_recon.features.edges import Edges
from bids_recon.features.eigenimage import Eigenimage
from bids_recon.features.local_contrast import LocalContrast
from bids_recon.generators.local_combination import LocalCombination
from bids_recon.simulate.brain import make_brain
from bids_recon.stages.decode.posterior import LENGTHS

N_PATTERNS, N_REPEATS, N_SEEDS = 110, 8, 2
NOISES = (1.0, 2.0, 4.0)


def figures() -> np.ndarray:
    """Return ten figures (10, 10, 10)."""
    result = np.zeros((10, 10, 10))
    result[0, 2:8, 2:8] = 1
    result[1, 1:9, 1:9], result[1, 3:7, 3:7] = 1, 0
    result[2, 4:6, 1:9] = result[2, 1:9, 4:6] = 1
    for step in range(1, 9):
        result[3, step, [step, min(step + 1, 8), 9 - step, max(8 - step, 1)]] = 1
    result[4, 4:6, 1:9] = 1
    result[5, 1:9, 4:6] = 1
    result[6, 1:9, 1:3] = result[6, 7:9, 1:9] = 1
    result[7, 1:3, 1:9] = result[7, 1:9, 4:6] = 1
    result[8, 1:9, 1:3] = result[8, 1:9, 7:9] = result[8, 7:9, 1:9] = 1
    result[9, 3:7, 3:7] = 1
    return result


def in_colour(grey: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(grey, dtype=np.float32)[:, None], 3, axis=1)


def bayes(
    X: np.ndarray, pictures: np.ndarray, groups: np.ndarray, X_test: np.ndarray
) -> np.ndarray:
    distinct = np.unique(pictures, axis=0)
    space, edges = Eigenimage(beyond=144).fit(distinct), Edges().fit(distinct)
    Y, beside = space.encode(pictures), edges.encode(pictures)
    smooth = np.stack([space.smooth(length) for length in LENGTHS])
    prior = Prior(Y[:0], beside, beside[:0], smooth)
    return space.decode(EncodingInversion().fit(X, Y, groups, prior).predict(X_test))


def miyawaki(
    X: np.ndarray, pictures: np.ndarray, groups: np.ndarray, X_test: np.ndarray
) -> np.ndarray:
    space = LocalContrast().fit(pictures)
    Y = space.encode(pictures)
    held_out = np.zeros(Y.shape)
    for train, out in inner_folds(groups, 5, seed=1):
        model = SparseLogistic().fit(X[train], Y[train], groups[train])
        held_out[out] = model.predict(X[out])
    generator = LocalCombination().fit({"features": Decoded(held_out, space)}, pictures)
    predicted = SparseLogistic().fit(X, Y, groups).predict(X_test)
    return generator.generate({"features": Decoded(predicted, space)}, 0)


def compare(
    train: np.ndarray, groups: np.ndarray, test: np.ndarray, noise: float, seed: int
) -> np.ndarray:
    """Return pixel correlations (2, n_test) of both methods."""
    rng, brain = np.random.default_rng(seed), make_brain(np.random.default_rng(99))
    shown = np.concatenate([train, test])
    drive = brain.drive(shown, np.full(len(shown), "figure"))
    drive = drive[:, np.isfinite(brain.sizes)]
    responses = drive + noise * rng.standard_normal(drive.shape)
    scaler = StandardScaler().fit(responses[: len(train)])
    X, X_test = np.split(scaler.transform(responses), [len(train)])
    X, pictures = X.astype(np.float32), in_colour(train)
    return np.stack(
        [
            pixel_correlation(in_colour(test), method(X, pictures, groups, X_test))
            for method in (bayes, miyawaki)
        ]
    )


def main() -> None:
    every, rng = figures(), np.random.default_rng(0)
    for noise in NOISES:
        random, left_out = [], []
        for seed in range(N_SEEDS):
            train = (rng.random((N_PATTERNS, 10, 10)) < 0.5).astype(float)
            groups = np.arange(N_PATTERNS)
            random.append(compare(train, groups, every, noise, seed))
            groups = np.repeat(np.arange(9), N_REPEATS)
            parts = []
            for own in range(len(every)):
                train = np.delete(every, own, axis=0)[groups]
                test = every[[own] * 3]
                found = compare(train, groups, test, noise, 100 * seed + own)
                parts.append(found.mean(axis=1))
            left_out.append(np.stack(parts, axis=1))
        for name, found in (("random patterns", random), ("nine figures", left_out)):
            both = np.mean(found, axis=0)
            gain = both[0] - both[1]
            again = np.random.default_rng(0).choice(gain, (4000, len(gain)))
            low, high = np.quantile(again.mean(axis=1), (0.025, 0.975))
            means = ", ".join(
                f"{method} {values.mean():.3f}"
                for method, values in zip(("bayes", "miyawaki2008"), both, strict=True)
            )
            print(
                f"noise {noise:g}, learned on {name}: {means}; {low:.3f} to {high:.3f}"
            )


if __name__ == "__main__":
    main()

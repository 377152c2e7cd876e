"""Pictures from local decoders of several scales, combined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.optimize import nnls

from bids_recon.datatypes import Decoded

WEIGHTS = ("learned", "equal")


@dataclass
class LocalCombination:
    r"""Sum of the pictures that each patch size gives, :math:`\sum_s w_s I_s`.

    :math:`I_s` gives each pixel the mean of the decoded patches of size s that cover
    it. The weights are non-negative least squares against the pictures shown, on
    predictions for training trials that the decoders were not fitted on.

    Parameters
    ----------
    features : str
        Which decoded features to use; a space with patches.
    weights : {'learned', 'equal'}
        Learned, or the same for every patch size.

    References
    ----------
    Miyawaki et al. (2008), Neuron 60, 915-929 (learned); nilearn's example
    "Reconstruction of visual stimuli from Miyawaki et al. 2008" (equal).
    """

    features: str = "local_contrast"
    weights: str = "learned"
    needs: ClassVar[tuple[str, ...]] = ("features",)
    calls: ClassVar[Mapping[str, str]] = {"features": "spread"}

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise ValueError(f"weights is one of {WEIGHTS}, not {self.weights!r}")

    def fit(self, decoded: dict[str, Decoded], pictures: np.ndarray) -> Self:
        """Learn one weight per patch size.

        Parameters
        ----------
        decoded : dict of str to Decoded
            Out-of-fold predictions (n_trials, n_patches) for training trials.
        pictures : array of shape (n_trials, 3, H, W)
            What was shown in them.
        """
        features = decoded["features"]
        n_sizes = len(features.space.patches_)
        self.weights_ = np.full(n_sizes, 1 / n_sizes)
        # Where nothing could be held out, there is nothing to learn from.
        known = np.isfinite(features.values).all(axis=1)
        if self.weights == "learned" and known.any():
            parts = features.space.spread(features.values[known])
            design = np.moveaxis(parts, 1, -1).reshape(-1, n_sizes)
            target = np.asarray(pictures, dtype=np.float64)[known].mean(axis=1).ravel()
            learned = nnls(design, target)[0]
            # Predictions without any relation to the pictures leave no weight at all.
            if learned.sum() > 0:
                self.weights_ = learned
        return self

    def learned(self, decoded: dict[str, Decoded]) -> dict[str, float]:
        """Return the weight of each patch size by its name."""
        sizes = decoded["features"].space.patches_
        return {
            f"{height}x{width}": float(weight)
            for (height, width), weight in zip(sizes, self.weights_, strict=True)
        }

    def generate(self, decoded: dict[str, Decoded], seed: int) -> np.ndarray:  # noqa: ARG002
        """Return grey pictures (n_trials, 3, H, W)."""
        features = decoded["features"]
        parts = features.space.spread(features.values)
        grey = np.einsum("s,nshw->nhw", self.weights_, parts)
        grey = np.clip(grey, 0, 1).astype(np.float32)
        return np.repeat(grey[:, None], 3, axis=1)

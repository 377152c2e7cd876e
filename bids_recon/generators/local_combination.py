"""Pictures from local decoders of several scales, combined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls
from sklearn.model_selection import GroupKFold

from bids_recon.datatypes import Decoded

WEIGHTS = ("learned", "per-element", "auto", "equal")

N_FOLDS = 5
"""In which ``auto`` chooses."""

RIDGE = 1e-6
"""Of elements that are always black, as a share of the mean square of the others."""


@dataclass
class LocalCombination:
    r"""Sum of the pictures that local decoders give.

    With a weight for each patch size, :math:`\sum_s w_s I_s`, where :math:`I_s` gives
    each pixel the mean of the decoded patches of size s that cover it. With a weight
    for each element, :math:`\sum_m w_m c_m \phi_m`, where :math:`c_m` is the decoded
    contrast of patch m and :math:`\phi_m` is one on it. The weights are non-negative
    least squares against the pictures shown, on predictions for training trials that
    the decoders were not fitted on.

    Parameters
    ----------
    features : str
        Which decoded features to use; a space with patches.
    weights : {'learned', 'per-element', 'auto', 'equal'}
        Learned for each patch size, or for each element, as published; whichever of
        the two has the smaller error for training pictures left out; or the same for
        every patch size.

    References
    ----------
    Miyawaki et al. (2008), Neuron 60, 915-929 (per-element); nilearn's example
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
        """Learn one weight per patch size, or per element.

        Parameters
        ----------
        decoded : dict of str to Decoded
            Out-of-fold predictions (n_trials, n_patches) for training trials.
        pictures : array of shape (n_trials, 3, H, W)
            What was shown in them.
        """
        features = decoded["features"]
        n_sizes = len(features.space.patches_)
        # Where nothing could be held out, there is nothing to learn from.
        known = np.isfinite(features.values).all(axis=1)
        self.per_element_ = False
        self.weights_ = np.full(n_sizes, 1 / n_sizes)
        if self.weights == "equal" or not known.any():
            return self
        values = np.asarray(features.values, dtype=np.float64)[known]
        shown = np.asarray(pictures, dtype=np.float64)[known].mean(axis=1)
        self.per_element_ = self.weights == "per-element" or (
            self.weights == "auto"
            and _elements_are_better(features.space, values, shown)
        )
        learned = _learn(features.space, values, shown, self.per_element_)
        # Predictions without any relation to the pictures leave no weight at all.
        if learned.sum() > 0:
            self.weights_ = learned
        else:
            self.per_element_ = False
        return self

    def learned(self, decoded: dict[str, Decoded]) -> dict[str, float]:
        """Return the weight of each patch size by its name, or its elements' mean."""
        space, weights, more = decoded["features"].space, self.weights_, ""
        if self.per_element_:
            parts = np.split(weights, np.cumsum(space.sizes_)[:-1])
            weights, more = np.array([part.mean() for part in parts]), " (mean)"
        return {
            f"{height}x{width}{more}": float(weight)
            for (height, width), weight in zip(space.patches_, weights, strict=True)
        }

    def generate(self, decoded: dict[str, Decoded], seed: int) -> np.ndarray:  # noqa: ARG002
        """Return grey pictures (n_trials, 3, H, W)."""
        features = decoded["features"]
        values = np.asarray(features.values, dtype=np.float64)
        grey = _combine(features.space, values, self.weights_, self.per_element_)
        grey = np.clip(grey, 0, 1).astype(np.float32)
        return np.repeat(grey[:, None], 3, axis=1)


def _combine(
    space: Any, values: np.ndarray, weights: np.ndarray, per_element: bool
) -> np.ndarray:
    """Return (n_trials, H, W)."""
    if per_element:
        flat = (values * weights) @ space.footprints()
        return flat.reshape(len(values), *space.shape_)
    return np.einsum("s,nshw->nhw", weights, space.spread(values))


def _learn(
    space: Any, values: np.ndarray, shown: np.ndarray, per_element: bool
) -> np.ndarray:
    """Return non-negative weights, of each patch size or of each element."""
    if not per_element:
        parts = space.spread(values)
        design = np.moveaxis(parts, 1, -1).reshape(-1, parts.shape[1])
        return nnls(design, shown.ravel())[0]
    # The same by the normal equations, which are as large as there are elements.
    footprints = space.footprints()
    gram = (values.T @ values) * (footprints @ footprints.T)
    right = (values * (shown.reshape(len(shown), -1) @ footprints.T)).sum(axis=0)
    ridge = RIDGE * max(np.trace(gram) / len(gram), 1e-12)
    lower = cholesky(gram + ridge * np.eye(len(gram)), lower=True)
    return nnls(lower.T, solve_triangular(lower, right, lower=True))[0]


def _elements_are_better(space: Any, values: np.ndarray, shown: np.ndarray) -> bool:
    """Tell which weights have the smaller error for pictures that are left out."""
    _, picture = np.unique(shown.reshape(len(shown), -1), axis=0, return_inverse=True)
    n_folds = min(N_FOLDS, picture.max() + 1)
    if n_folds < 2:
        return False
    errors = {True: 0.0, False: 0.0}
    folds = GroupKFold(n_folds, shuffle=True, random_state=0)
    for train, out in folds.split(values, groups=picture):
        for per_element in errors:
            weights = _learn(space, values[train], shown[train], per_element)
            made = _combine(space, values[out], weights, per_element)
            errors[per_element] += ((np.clip(made, 0, 1) - shown[out]) ** 2).sum()
    return errors[True] < errors[False]

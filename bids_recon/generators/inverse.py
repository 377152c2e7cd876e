"""Pictures from the inverse of a feature space."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bids_recon.datatypes import Decoded


@dataclass
class Inverse:
    """Let the feature space turn decoded features back into pictures.

    Serves every space that has ``decode``: ``eigenimage``, ``pixels``, ``latent``,
    ``vdvae``.

    Parameters
    ----------
    features : str
        Which decoded features to use.
    """

    features: str = "eigenimage"
    needs: ClassVar[tuple[str, ...]] = ("features",)
    calls: ClassVar[Mapping[str, str]] = {"features": "decode"}

    def generate(self, decoded: dict[str, Decoded], seed: int) -> np.ndarray:  # noqa: ARG002
        """Return pictures (n_trials, 3, H, W)."""
        features = decoded["features"]
        return features.space.decode(features.values)

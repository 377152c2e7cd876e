"""Learned perceptual image patch similarity, on AlexNet.

References
----------
Zhang et al. (2018), CVPR, arXiv:1801.03924.
"""

from pathlib import Path

import numpy as np
import torch

from bids_recon.networks.encoders import BATCH, read_state
from bids_recon.networks.known_encoders import alexnet

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
LAYERS = (1, 4, 7, 9, 11)
"""Where AlexNet's five ReLUs stand among its features."""


class Lpips:
    r"""Distance :math:`\sum_l \overline{w_l \cdot (\hat a_l - \hat b_l)^2}`.

    Features are scaled to unit length over channels at each place.

    Parameters
    ----------
    network : Path
        The weights of AlexNet.
    linear : Path
        The weights of each channel, as their authors publish them.
    """

    def __init__(self, network: Path, linear: Path) -> None:
        self.features: torch.nn.Module = alexnet(network).network.features
        state = read_state(linear)
        self.linear = [state[f"lin{i}.model.1.weight"] for i in range(len(LAYERS))]

    @torch.inference_mode()
    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the distance of each pair of pictures (n, 3, H, W) in [0, 1], (n,)."""
        parts = []
        for start in range(0, len(a), BATCH):
            rows = slice(start, start + BATCH)
            total = torch.zeros(len(a[rows]))
            layers = zip(self._layers(a[rows]), self._layers(b[rows]), strict=True)
            for (x, y), weight in zip(layers, self.linear, strict=True):
                total += ((x - y) ** 2 * weight).sum(dim=1).mean(dim=(1, 2))
            parts.append(total.numpy())
        return np.concatenate(parts)

    def _layers(self, pictures: np.ndarray) -> list[torch.Tensor]:
        shift, scale = (torch.tensor(part).view(1, 3, 1, 1) for part in (SHIFT, SCALE))
        x = torch.from_numpy(np.ascontiguousarray(pictures)).float() * 2 - 1
        x = (x - shift) / scale
        kept = []
        for index, module in enumerate(self.features):
            x = module(x)
            if index in LAYERS:
                # The next convolution does not work in place; the ReLU did already.
                kept.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return kept

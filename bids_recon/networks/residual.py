"""A residual network of convolutions along the voxels."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from bids_recon.networks.graph import ResidualBlock


class ResidualNetwork(nn.Module):
    """Responses to targets by residual convolutions and linear layers.

    Parameters
    ----------
    n_voxels, n_targets : int
        What is read and predicted.
    channels, kernel : int
        Of the convolutions.
    n_layers, n_blocks : int
        Convolutions of a block, and how often it is passed.
    shared : bool
        Whether it is the same block each time, as published.
    hidden : sequence of int
        Widths of the linear layers before the last.

    References
    ----------
    The CS292F project of 2023.
    """

    def __init__(
        self,
        n_voxels: int,
        n_targets: int,
        channels: int,
        kernel: int,
        n_layers: int,
        n_blocks: int,
        shared: bool,
        hidden: Sequence[int],
    ) -> None:
        super().__init__()
        self.n_passes = n_blocks if shared else 1
        self.widen = nn.Conv1d(1, channels, 1)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(channels, kernel, n_layers)
                for _ in range(1 if shared else n_blocks)
            )
        )
        self.narrow = nn.Conv1d(channels, 1, 1)
        layers: list[nn.Module] = []
        widths = (n_voxels, *hidden)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], n_targets))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses (batch, n_voxels) to targets (batch, n_targets)."""
        line = functional.relu(self.widen(x[:, None]))
        for _ in range(self.n_passes):
            line = self.blocks(line)
        return self.head(self.narrow(line)[:, 0])

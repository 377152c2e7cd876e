"""A variational autoencoder of responses whose latent is what is decoded."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class VariationalNetwork(nn.Module):
    r"""Responses to a latent that is the target, and back to responses.

    The loss is :math:`\|x - \hat x\|^2 + \|z - y\|^2 + \beta\,\mathrm{KL}`, each term
    but the last a mean over values, with z drawn from the latent's normal distribution.
    A prediction is its mean.

    Parameters
    ----------
    n_voxels, n_targets : int
        What is read and predicted.
    hidden : sequence of int
        Widths of the encoder.
    width, n_layers : int
        Of the decoder.
    kl : float
        The weight of the divergence from a standard normal distribution; 0 as
        published.

    References
    ----------
    The CS292F project of 2023.
    """

    def __init__(
        self,
        n_voxels: int,
        n_targets: int,
        hidden: Sequence[int],
        width: int,
        n_layers: int,
        kl: float,
    ) -> None:
        super().__init__()
        self.kl = kl
        layers: list[nn.Module] = []
        widths = (n_voxels, *hidden)
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU()]
        self.encoder = nn.Sequential(*layers)
        self.mean = nn.Linear(widths[-1], n_targets)
        self.log_variance = nn.Linear(widths[-1], n_targets)
        layers = []
        widths = (n_targets, *(width for _ in range(n_layers)))
        for before, after in itertools.pairwise(widths):
            layers += [
                nn.Linear(before, after),
                nn.BatchNorm1d(after),
                nn.LeakyReLU(),
            ]
        self.decoder = nn.Sequential(*layers, nn.Linear(widths[-1], n_voxels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses (batch, n_voxels) to the latent's mean (batch, n_targets)."""
        return self.mean(self.encoder(x))

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the loss of responses x and targets y (batch, n_targets)."""
        encoded = self.encoder(x)
        mean, log_variance = self.mean(encoded), self.log_variance(encoded)
        latent = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        loss = functional.mse_loss(self.decoder(latent), x)
        loss = loss + functional.mse_loss(latent, y)
        if self.kl:
            own = 1 + log_variance - mean**2 - torch.exp(log_variance)
            loss = loss - self.kl * own.mean() / 2
        return loss

"""A variational autoencoder of responses, whose latent is the target."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bids_recon.decoders.network import NetworkDecoder, positive

if TYPE_CHECKING:
    import torch


@dataclass
class VAE(NetworkDecoder):
    """Responses to a latent that is the target, and back to responses.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the encoder.
    width, n_layers : int
        Of the decoder from targets to responses.
    kl : float
        Weight of the divergence from a standard normal distribution; 0 as published.

    References
    ----------
    The CS292F project of 2023, which draws the latent when it predicts, too; here the
    prediction is its mean.
    """

    hidden: tuple[int, ...] = (512, 256)
    width: int = 4096
    n_layers: int = 3
    kl: float = 0.0

    name: ClassVar[str] = "vae"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hidden = tuple(self.hidden)
        positive(self, "hidden", "width", "n_layers")
        if self.kl < 0:
            raise ValueError(f"kl is at least 0, not {self.kl}")

    def _network(self) -> "torch.nn.Module":
        from bids_recon.networks.variational import VariationalNetwork

        return VariationalNetwork(
            n_voxels=len(self.x_mean_),
            n_targets=len(self.y_mean_),
            hidden=self.hidden,
            width=self.width,
            n_layers=self.n_layers,
            kl=self.kl,
        )

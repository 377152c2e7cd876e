"""What compares a picture that is drawn with the one that was shown, by a layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_recon.decoders.training import seeded
from bids_recon.errors import Status, UserError

if TYPE_CHECKING:
    import torch

    from bids_recon.networks.encoders import Encoder

SELF_TRAINED = "self-trained"

LAYERS = {
    SELF_TRAINED: "encoder",
    "caffenet": "pool5",
    "alexnet": "features.12",
    "squeezenet": "fire5",
}
"""The layer of each that is compared where none is named."""

STEPS = 100
"""In which a network of one's own is trained."""

LEARNING_RATE = 1e-3

BATCH = 64


@dataclass(frozen=True)
class Comparator:
    """A layer of a network that learns nothing.

    Parameters
    ----------
    encoder : Encoder
        The network, on the device.
    layer : str
        Which layer of it.
    """

    encoder: "Encoder"
    layer: str

    def __call__(self, pictures: "torch.Tensor") -> "torch.Tensor":
        """Return the layer's units (n, *shape) of pictures (n, 3, H, W) in [0, 1]."""
        return self.encoder.activations(pictures, [self.layer])[0]

    def check(self, side: int) -> None:
        """Check that pictures of so many pixels on a side come as far as the layer.

        Raises
        ------
        UserError
            If they are too small.
        """
        import torch

        device = next(self.encoder.network.parameters()).device
        try:
            with torch.inference_mode():
                self(torch.zeros(1, 3, side, side, device=device))
        except RuntimeError as error:
            raise UserError(
                f"The decoder gan draws pictures of {side} pixels on a side, which are "
                f"too small for the layer {self.layer} of its comparator ({error}). "
                "Give the recipe larger pictures (pictures: max_size) or the decoder a "
                "larger side, or take comparator: self-trained.",
                Status.USAGE,
            ) from error


def self_trained(
    take: Callable[[np.ndarray], "torch.Tensor"],
    n_pictures: int,
    width: int,
    seed: int,
    device: "torch.device",
) -> "Encoder":
    """Return the encoder of an autoencoder that was trained on some pictures.

    Parameters
    ----------
    take : callable
        Rows (n,) to pictures (n, 3, side, side) in [0, 1], on the device.
    n_pictures : int
        How many there are.
    width : int
        Channels of its last layer.
    seed : int
        Of its first weights and of the order of pictures.
    device : torch.device
        Where to compute.
    """
    import torch

    from bids_recon.networks.adversarial import Autoencoder
    from bids_recon.networks.encoders import Encoder

    order = np.random.default_rng([seed, 1])
    with seeded(seed, device):
        network = Autoencoder(width).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for _ in range(STEPS):
        some = order.choice(n_pictures, min(BATCH, n_pictures), replace=False)
        pictures = 2 * take(np.sort(some)) - 1
        optimizer.zero_grad()
        ((network(pictures) - pictures) ** 2).mean().backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    return Encoder(network, (0.5,) * 3, (0.5,) * 3)

"""A residual network of convolutions along the voxels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bids_recon.decoders.network import NetworkDecoder, positive

if TYPE_CHECKING:
    import torch


@dataclass
class CNN(NetworkDecoder):
    """Convolutions along the voxels in their order in the file, and linear layers.

    Parameters
    ----------
    channels, kernel : int
        Of the convolutions; the kernel is odd.
    n_layers, n_blocks : int
        Convolutions of a residual block, and how often it is passed.
    shared : bool
        Whether it is the same block each time, as published.
    hidden : tuple of int
        Widths of the linear layers before the last.

    References
    ----------
    The CS292F project of 2023. Defaults are those of its decoder of pictures; that of
    captions has ``kernel: 7, n_layers: 3, n_blocks: 3, hidden: [1024, 2048]``.
    """

    learning_rate: float = 5e-4
    batch_size: int = 256
    channels: int = 64
    kernel: int = 11
    n_layers: int = 2
    n_blocks: int = 2
    shared: bool = True
    hidden: tuple[int, ...] = (512, 512)

    name: ClassVar[str] = "cnn"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hidden = tuple(self.hidden)
        positive(self, "channels", "kernel", "n_layers", "n_blocks", "hidden")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is an odd number, not {self.kernel}")

    def _network(self) -> "torch.nn.Module":
        from bids_recon.networks.residual import ResidualNetwork

        return ResidualNetwork(
            n_voxels=len(self.x_mean_),
            n_targets=len(self.y_mean_),
            channels=self.channels,
            kernel=self.kernel,
            n_layers=self.n_layers,
            n_blocks=self.n_blocks,
            shared=self.shared,
            hidden=self.hidden,
        )

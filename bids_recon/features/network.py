"""What a layer of a network makes of a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self
from zlib import crc32

import numpy as np

from bids_recon.machine import Machine, in_batches
from bids_recon.networks.encoder_names import load_encoder, weights_for

if TYPE_CHECKING:
    import torch

    from bids_recon.networks.encoders import Encoder

LARGEST = 4096
"""Pixels on a side."""

MB_PER_PIXEL = 5e-3
"""What the activations of VGG-19 take."""

RELU = ("pre", "post")


@dataclass
class Network:
    """Activations of a layer of an encoder.

    A layer with more than ``units`` units is thinned: so many of them are drawn without
    replacement, each as likely as any other, by ``seed`` and the name of the layer, and
    stay in their order. One that is not thinned keeps its shape.

    Parameters
    ----------
    layer : str
        As the field calls it (``conv1_1``, ``fire2``, ``block3_4``, ``hidden.12``), or
        a module by its dotted name.
    encoder : str
        ``vgg19``, ``alexnet``, ``resnet50``, ``squeezenet``, ``clip-vit-l-14``,
        ``dinov2-base`` and others of ``networks``; or ``module:attribute``, a callable
        that returns a ``torch.nn.Module``.
    weights : str, optional
        Its weights; those of the encoder's own name without, a file where they have
        none.
    side : int, optional
        Pictures are first brought to this many pixels on each side; they keep their
        size without.
    relu : {'pre', 'post'}
        As the layer gives it, or with what is negative at nought.
    units : int, optional
        Of a layer, at most.
    seed : int
        Of which units are kept.
    machine : Machine
        Where to compute.

    References
    ----------
    Horikawa & Kamitani (2017), Nature Communications 8, 15037; Shen et al. (2019),
    PLOS Computational Biology 15, e1006633.
    """

    layer: str
    encoder: str = "vgg19"
    weights: str | None = None
    side: int | None = None
    relu: str = "pre"
    units: int | None = None
    seed: int = 0
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    pretrained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.weights = weights_for(self.encoder, self.weights)
        if self.relu not in RELU:
            raise ValueError(f"relu is one of {RELU}, not {self.relu!r}")
        if self.side is not None and not 1 <= self.side <= LARGEST:
            raise ValueError(f"side is null or 1 to {LARGEST} pixels, not {self.side}")
        if self.units is not None and self.units < 1:
            raise ValueError(f"units are null or at least 1, not {self.units}")
        if self.seed < 0:
            raise ValueError(f"seed is at least 0, not {self.seed}")

    @property
    def shared(self) -> tuple[object, ...]:
        """What spaces have in common whose layers come from one computation."""
        return (self.encoder, self.weights, self.side)

    def load(self) -> "Encoder":
        """Return the encoder with its weights, on the CPU."""
        return load_encoder(self.encoder, self.machine.weights(str(self.weights)))

    def check(self, spaces: "Sequence[Network]") -> None:
        """Check that the encoder can be loaded and has the layers of some spaces.

        Raises
        ------
        UserError
            If not: which layers it has.
        """
        encoder = self.load()
        for space in spaces:
            encoder.module_of(space.layer)

    def fit(self, pictures: np.ndarray) -> Self:
        """Note the size of pictures (n, 3, H, W)."""
        self.size_ = tuple(int(length) for length in pictures.shape[2:])
        return self

    @property
    def input_size(self) -> tuple[int, int]:
        """The height and width at which the encoder gets pictures."""
        return (self.side, self.side) if self.side else self.size_

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return (n, *shape)."""
        return np.concatenate([part for _, part in self.batches(pictures)])

    def batches(self, pictures: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the activations of some pictures (n, 3, H, W) at a time."""
        for rows, (values,) in self.batches_of([self], pictures):
            yield rows, values

    @staticmethod
    def batches_of(
        spaces: "Sequence[Network]", pictures: np.ndarray
    ) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """Yield what several layers of one encoder make of some pictures at a time.

        Parameters
        ----------
        spaces : sequence of Network
            Whose ``shared`` is the same.
        pictures : array of shape (n, 3, H, W)
            In [0, 1].
        """
        from bids_recon.networks.resize import resized

        first = spaces[0]
        encoder, device = first.load(), first.machine.torch_device
        size = (first.side, first.side) if first.side else pictures.shape[2:]

        def encoded(batch: np.ndarray) -> list[np.ndarray]:
            there = resized(batch, size).to(device)
            found = encoder.activations(there, [space.layer for space in spaces])
            return [
                space.units_of(values).float().cpu().numpy()
                for space, values in zip(spaces, found, strict=True)
            ]

        n = first.machine.batch_size(MB_PER_PIXEL * size[0] * size[1])
        with first.machine.holding(encoder.network):
            yield from in_batches(encoded, pictures, n)

    def units_of(self, values: "torch.Tensor") -> "torch.Tensor":
        """Return the units that are kept of a layer (n, *shape)."""
        values = values.relu() if self.relu == "post" else values
        n_units = int(np.prod(values.shape[1:]))
        if self.units is None or n_units <= self.units:
            return values
        import torch

        kept = torch.from_numpy(self.kept(n_units)).to(values.device)
        return values.flatten(1)[:, kept]

    def kept(self, n_units: int) -> np.ndarray:
        """Return which of a layer's units are kept, ascending, (units,)."""
        rng = np.random.default_rng([self.seed, crc32(self.layer.encode())])
        return np.sort(rng.choice(n_units, self.units, replace=False))

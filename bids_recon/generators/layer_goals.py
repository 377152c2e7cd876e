"""What encoders are to see in a picture."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from bids_recon.errors import Status, UserError
from bids_recon.machine import Machine
from bids_recon.networks.encoders import Encoder
from bids_recon.networks.inversion import layer_losses, layer_weights


class LayerGoals:
    """The layers that pictures are compared by, and their encoders.

    Parameters
    ----------
    spaces : mapping of str to FeatureSpace
        Of ``network``, for each decoded layer.
    kind : {'l2', 'l1', 'inner', 'gram'}
        By which a layer is compared.
    weights : {'norm', 'equal'}
        Of layers.
    machine : Machine
        Where to compute.
    """

    def __init__(
        self, spaces: Mapping[str, Any], kind: str, weights: str, machine: Machine
    ) -> None:
        self.spaces, self.kind, self.weights = spaces, kind, weights
        self.device = machine.torch_device
        self.groups: dict[Any, list[str]] = {}
        for name, space in spaces.items():
            self.groups.setdefault(space.shared, []).append(name)
        self.encoders: dict[Any, Encoder] = {}
        for key, names in self.groups.items():
            encoder = spaces[names[0]].load()
            encoder.network.to(self.device).requires_grad_(False)
            self.encoders[key] = encoder
        self.first = next(iter(spaces.values()))

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of pictures: those that the first encoder gets."""
        size: tuple[int, int] = self.first.input_size
        return size

    @property
    def mean(self) -> tuple[float, float, float]:
        """The mean colour of what the first encoder was trained on."""
        return self.encoders[self.first.shared].mean

    def seen(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the units of every layer (n, *shape), each encoder run once."""
        found = {}
        for key, names in self.groups.items():
            there, size = pictures, self.spaces[names[0]].input_size
            if size != self.size:
                there = interpolate(pictures, size=size, mode="bicubic", antialias=True)
            layers = [self.spaces[name].layer for name in names]
            activations = self.encoders[key].activations(there, layers)
            for name, values in zip(names, activations, strict=True):
                found[name] = self.spaces[name].units_of(values)
        return {name: found[name] for name in self.spaces}

    def loss(
        self, wanted: Mapping[str, np.ndarray], example: torch.Tensor
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what maps pictures (n, 3, H, W) to the loss of each (n,).

        Parameters
        ----------
        wanted : mapping of str to array of shape (n, *shape)
            What is to be seen.
        example : Tensor of shape (1, 3, H, W)
            A picture, by which shapes are checked.

        Raises
        ------
        UserError
            If a layer has another shape.
        """
        goals = {
            name: torch.from_numpy(np.array(values, dtype=np.float32)).to(self.device)
            for name, values in wanted.items()
        }
        with torch.no_grad():
            for name, values in self.seen(example).items():
                self._check(name, tuple(values.shape[1:]), tuple(goals[name].shape[1:]))
        if self.weights == "norm":
            weights = layer_weights(self.kind, list(goals.values()))
        else:
            weights = torch.full((len(goals), 1), 1 / len(goals), device=self.device)

        def loss(pictures: torch.Tensor) -> torch.Tensor:
            total = pictures.new_zeros(len(pictures))
            seen = self.seen(pictures)
            for weight, (name, goal) in zip(weights, goals.items(), strict=True):
                total = total + weight * layer_losses(self.kind, seen[name], goal)
            return total

        return loss

    def _check(self, name: str, seen: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        """Check that a layer has the shape of what was decoded.

        Raises
        ------
        UserError
            If not, or the loss needs channels and places that it has not.
        """
        space = self.spaces[name]
        if seen != wanted:
            raise UserError(
                f"The decoded features of {name!r} have the shape {_by(wanted)}, and "
                f"the layer {space.layer!r} of {space.encoder} has {_by(seen)} for "
                f"pictures of {_by(space.input_size)} pixels. Decode them again with "
                "the same encoder, side and units.",
                Status.USAGE,
            )
        if self.kind == "gram" and len(seen) < 2:
            raise UserError(
                f"loss: gram compares channels over places, and {name!r} has "
                f"{_by(seen)} units. Use whole layers (units: null) of convolutions.",
                Status.USAGE,
            )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

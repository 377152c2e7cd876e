"""Pretrained networks whose layers serve as feature spaces for scores.

A builder takes the file or folder of its weights and returns an ``Encoder``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from bids_recon.errors import UserError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
BATCH = 16


@dataclass(frozen=True)
class Encoder:
    """A network, and how pictures are normalised for it.

    Parameters
    ----------
    network : Module
        In evaluation mode.
    mean, std : tuple of three floats
        Of the pictures it was trained on.
    forward : callable, optional
        (network, batch, layer) -> features, where a forward hook does not do.
    """

    network: torch.nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    forward: Callable[[Any, torch.Tensor, str], torch.Tensor] | None = None

    @torch.inference_mode()
    def features(
        self, pictures: np.ndarray, layer: str, scale: float = 1.0
    ) -> np.ndarray:
        """Return the features of one layer, (n, n_features), float32.

        Parameters
        ----------
        pictures : array of shape (n, 3, H, W)
            In [0, 1], at the size that the network gets.
        layer : str
            A module by its dotted name; the encoder's own names where it has some.
        scale : float
            What pixel values are multiplied by before the normalisation.
        """
        mean, std = (
            torch.tensor(part).view(1, 3, 1, 1) for part in (self.mean, self.std)
        )
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = torch.from_numpy(
                np.ascontiguousarray(pictures[start : start + BATCH])
            )
            batch = (batch.float() * scale - mean) / std
            parts.append(self._layer(batch, layer).flatten(1).float().numpy())
        return np.concatenate(parts)

    def _layer(self, batch: torch.Tensor, layer: str) -> torch.Tensor:
        if self.forward is not None:
            return self.forward(self.network, batch, layer)
        kept: list[torch.Tensor] = []
        module = self.network.get_submodule(layer)
        # A copy, because a later layer may work in place.
        hook = module.register_forward_hook(
            lambda _m, _i, out: kept.append(out.clone())
        )
        try:
            self.network(batch)
        finally:
            hook.remove()
        return kept[0]


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without pickle.

    Raises
    ------
    UserError
        If the file is damaged or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises much that differs by version
        raise UserError(
            f"{path}: cannot be read as weights ({type(error).__name__}). It may be "
            "truncated; fetch it again."
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds {type(state).__name__}, expected weights.")
    return state


def load_state(
    network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path
) -> None:
    """Let a network take over all of a state dict, and nothing else.

    Raises
    ------
    UserError
        If names or shapes differ.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{path}: these weights do not fit {type(network).__name__}: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    network.eval()


def _torchvision(
    make: Callable[..., torch.nn.Module], path: Path, **options: Any
) -> Encoder:
    network = make(weights=None, **options)
    load_state(network, read_state(path), path)
    return Encoder(network, *IMAGENET)


def alexnet(path: Path) -> Encoder:
    """AlexNet as torchvision has it."""
    return _torchvision(torchvision.models.alexnet, path)


def inception_v3(path: Path) -> Encoder:
    """Inception v3; its weights come from another library and expect its input."""
    return _torchvision(
        torchvision.models.inception_v3, path, transform_input=True, init_weights=False
    )


def efficientnet_b1(path: Path) -> Encoder:
    """EfficientNet-B1, for both sets of weights."""
    return _torchvision(torchvision.models.efficientnet_b1, path)


def efficientnet_v2_s(path: Path) -> Encoder:
    """EfficientNetV2-S."""
    return _torchvision(torchvision.models.efficientnet_v2_s, path)


def squeezenet1_1(path: Path) -> Encoder:
    """SqueezeNet 1.1, with or without its classifier."""
    network = torchvision.models.squeezenet1_1(weights=None)
    state = read_state(path)
    if "classifier.1.weight" not in state:
        state = {**network.state_dict(), **state}
    load_state(network, state, path)
    return Encoder(network, *IMAGENET)


def swav_resnet50(path: Path) -> Encoder:
    """ResNet-50 trained by SwAV; what projects to its prototypes is left out."""
    network = torchvision.models.resnet50(weights=None)
    network.fc = torch.nn.Identity()
    state = {
        key.removeprefix("module."): value for key, value in read_state(path).items()
    }
    wanted = network.state_dict()
    load_state(
        network, {key: value for key, value in state.items() if key in wanted}, path
    )
    return Encoder(network, *IMAGENET)


def clip_vision(path: Path) -> Encoder:
    """CLIP's picture tower: layers ``projected`` and ``hidden.N``."""
    from transformers import CLIPVisionModelWithProjection

    return Encoder(
        pretrained(CLIPVisionModelWithProjection, path), *CLIP, forward=_clip_layer
    )


def _clip_layer(network: Any, batch: torch.Tensor, layer: str) -> torch.Tensor:
    out = network(pixel_values=batch, output_hidden_states=layer != "projected")
    if layer == "projected":
        return out.image_embeds
    return out.hidden_states[int(layer.removeprefix("hidden."))]


def dinov2(path: Path) -> Encoder:
    """DINOv2: the layer ``cls``, the normalised class token."""
    from transformers import Dinov2Model

    return Encoder(
        pretrained(Dinov2Model, path),
        *IMAGENET,
        forward=lambda network, batch, _layer: (
            network(pixel_values=batch).pooler_output
        ),
    )


def pretrained(model: Any, path: Path, **options: Any) -> Any:
    """Load a class of transformers or diffusers from a folder.

    Both put their models into evaluation mode.

    Raises
    ------
    UserError
        If the folder lacks something, is damaged, or its weights do not fit.
    """
    try:
        # New layers draw random weights before the saved ones come.
        with _quietly(), torch.random.fork_rng(devices=[]):
            return model.from_pretrained(path, local_files_only=True, **options)
    except Exception as error:  # the libraries raise much that differs by version
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path}: cannot be read as weights of {model.__name__} "
            f"({first[0]}). It may be truncated; fetch it again."
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from telling at length what of CLIP a tower does not take."""
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()

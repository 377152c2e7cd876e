"""Encoders that are known by name.

A builder takes the file or folder of its weights and returns an ``Encoder``.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision

from bids_recon.networks.encoders import (
    CLIP,
    ILSVRC,
    IMAGENET,
    Encoder,
    drawn_apart,
    load_state,
    pretrained,
    read_state,
    unfilled,
)
from bids_recon.networks.layer_names import (
    ALEXNET_LAYERS,
    RESNET50_LAYERS,
    SQUEEZENET_LAYERS,
    VGG19_LAYERS,
)

LEAK = 0.2
"""Slope below nought of the network for imagery."""


def _torchvision(
    make: Callable[..., torch.nn.Module],
    path: Path,
    names: Mapping[str, str] | None = None,
    **options: Any,
) -> Encoder:
    network = unfilled(lambda: make(weights=None, **options))
    load_state(network, read_state(path), path)
    return Encoder(network, *IMAGENET, names=names or {})


def alexnet(path: Path) -> Encoder:
    """AlexNet as torchvision has it."""
    return _torchvision(torchvision.models.alexnet, path, ALEXNET_LAYERS)


def vgg19(path: Path) -> Encoder:
    """VGG-19 as torchvision has it."""
    return _torchvision(torchvision.models.vgg19, path, VGG19_LAYERS)


def vgg19_caffe(path: Path) -> Encoder:
    """VGG-19 with its first weights, converted from Caffe (figshare 21564384).

    They take blue, green and red less the mean colour, in 0 to 255.
    """
    network = unfilled(lambda: torchvision.models.vgg19(weights=None))
    state = read_state(path)
    if "features.0.weight" in state:
        state["features.0.weight"] = state["features.0.weight"].flip(1)
    load_state(network, state, path)
    return Encoder(network, *ILSVRC, names=VGG19_LAYERS)


def vgg19_caffe_leaky(path: Path) -> Encoder:
    """VGG-19 from Caffe with leaky ReLUs and mean pooling, the same weights.

    Deep image reconstruction sees imagery through it: what is below nought keeps a
    fifth of its size.
    """
    encoder = vgg19_caffe(path)
    for part in (encoder.network.features, encoder.network.classifier):
        for n, module in enumerate(part):
            if isinstance(module, torch.nn.ReLU):
                part[n] = torch.nn.LeakyReLU(LEAK, inplace=True)
            elif isinstance(module, torch.nn.MaxPool2d):
                part[n] = torch.nn.AvgPool2d(2)
    return encoder


def resnet50(path: Path) -> Encoder:
    """ResNet-50 as torchvision has it."""
    return _torchvision(torchvision.models.resnet50, path, RESNET50_LAYERS)


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
    network = drawn_apart(lambda: torchvision.models.squeezenet1_1(weights=None))
    state = read_state(path)
    if "classifier.1.weight" not in state:
        state = {**network.state_dict(), **state}
    load_state(network, state, path)
    return Encoder(network, *IMAGENET, names=SQUEEZENET_LAYERS)


def swav_resnet50(path: Path) -> Encoder:
    """ResNet-50 trained by SwAV; what projects to its prototypes is left out."""
    network = drawn_apart(lambda: torchvision.models.resnet50(weights=None))
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

    network = pretrained(CLIPVisionModelWithProjection, path)
    names = {
        f"hidden.{n + 1}": f"vision_model.encoder.layers.{n}"
        for n in range(network.config.num_hidden_layers)
    }
    names = {"hidden.0": "vision_model.pre_layrnorm", **names}
    names["projected"] = "visual_projection"
    return Encoder(network, *CLIP, forward=_clip_layer, names=names)


def _clip_layer(network: Any, batch: torch.Tensor, layer: str) -> torch.Tensor:
    out = network(pixel_values=batch, output_hidden_states=layer != "projected")
    if layer == "projected":
        return out.image_embeds
    return out.hidden_states[int(layer.removeprefix("hidden."))]


def dinov2(path: Path) -> Encoder:
    """DINOv2: the layer ``cls``, the normalised class token.

    Of all tokens, ``activations`` gives ``hidden.N`` and ``normalised``.
    """
    from transformers import Dinov2Model

    network = pretrained(Dinov2Model, path)
    names = {
        f"hidden.{n + 1}": f"encoder.layer.{n}"
        for n in range(network.config.num_hidden_layers)
    }
    names = {"hidden.0": "embeddings", **names, "normalised": "layernorm"}
    return Encoder(
        network,
        *IMAGENET,
        names=names,
        forward=lambda network, batch, _layer: (
            network(pixel_values=batch).pooler_output
        ),
    )

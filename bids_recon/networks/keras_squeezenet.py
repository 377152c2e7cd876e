"""SqueezeNet 1.1 from a file of Keras, whose kernels are in another order."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torchvision

from bids_recon.errors import UserError
from bids_recon.networks.encoders import Encoder, drawn_apart, load_state
from bids_recon.networks.layer_names import SQUEEZENET_LAYERS

FILE = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"

KERAS = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3)
"""What Keras takes from pixel values in 0 to 255."""

KINDS = {"weight": "kernel", "bias": "bias"}
"""What Keras calls the parameters of a layer."""


def squeezenet_keras(path: Path) -> Encoder:
    """SqueezeNet 1.1 without its classifier, from a file of Keras.

    Raises
    ------
    UserError
        If the file is damaged or holds something else.
    """
    network = drawn_apart(lambda: torchvision.models.squeezenet1_1(weights=None))
    file = path / FILE if path.is_dir() else path
    features = network.features
    # Keras takes blue, green and red, and so does the first kernel.
    load_state(features, _keras_state(file, features.state_dict()), file)
    return Encoder(network.eval(), *KERAS, names=SQUEEZENET_LAYERS)


def _keras_state(
    path: Path, wanted: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return kernels (height, width, in, out) of Keras as torchvision's (out, in, ...).

    Both number layers in a row: conv1, then squeeze, 1 x 1 and 3 x 3 of each fire.
    """
    import h5py

    keras = {layer: name for name, layer in SQUEEZENET_LAYERS.items()}
    state = {}
    try:
        with h5py.File(path, "r") as stream:
            for key in wanted:
                layer, *part, kind = key.split(".")
                name = keras[f"features.{layer}"]
                group = stream["/".join([name, *part]).replace("squeeze", "squeeze1x1")]
                found: list[np.ndarray] = []
                group.visititems(
                    lambda inner, item, found=found, kind=kind: (
                        found.append(item[()])
                        if KINDS[kind] in inner and isinstance(item, h5py.Dataset)
                        else None
                    )
                )
                value = np.asarray(found[0], dtype=np.float32)
                if kind == "weight":
                    value = np.ascontiguousarray(value.transpose(3, 2, 0, 1))
                state[key] = torch.from_numpy(value)
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as SqueezeNet 1.1 of Keras "
            f"({type(error).__name__}). It may be truncated; fetch it again."
        ) from error
    state["0.weight"] = state["0.weight"].flip(1)
    return state

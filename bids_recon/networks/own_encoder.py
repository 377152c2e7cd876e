"""An encoder of one's own."""

from importlib import import_module
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bids_recon.errors import Status, UserError
from bids_recon.networks.encoders import IMAGENET, Encoder, drawn_apart, load_state


def own_encoder(name: str, path: Path) -> Encoder:
    """Return an encoder of one's own.

    Parameters
    ----------
    name : str
        ``module:attribute``: a callable that returns a ``torch.nn.Module``, or an
        ``Encoder``, without arguments. A module takes pictures as ImageNet's networks
        do.
    path : Path
        Its weights, as safetensors.

    Raises
    ------
    UserError
        If there is no such callable, it returns something else, or the weights do not
        fit.
    """
    module, _, attribute = name.partition(":")
    try:
        made = drawn_apart(getattr(import_module(module), attribute))
    except Exception as error:  # what one's own code raises can be anything
        raise UserError(
            f"The encoder {name!r} cannot be made ({type(error).__name__}: {error}). "
            "Expected module:attribute, a callable that returns a torch.nn.Module; is "
            "the module installed, or in PYTHONPATH?",
            Status.USAGE,
        ) from error
    encoder = made if isinstance(made, Encoder) else Encoder(made, *IMAGENET)
    if not isinstance(encoder.network, torch.nn.Module):
        raise UserError(
            f"The encoder {name!r} returned {type(made).__name__}, expected a "
            "torch.nn.Module.",
            Status.USAGE,
        )
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as safetensors ({error}). Weights of an encoder "
            "of your own come as safetensors."
        ) from error
    load_state(encoder.network, state, path)
    return encoder

"""Encoders by the names that recipes give them; nothing is loaded to check these."""

from pathlib import Path
from typing import TYPE_CHECKING

from bids_recon.networks import ENCODERS
from bids_recon.registry import load
from bids_recon.weights import weights_called

if TYPE_CHECKING:
    from bids_recon.networks.encoders import Encoder


def weights_for(encoder: str, weights: str | None) -> str:
    """Return the name of an encoder's weights: that of the encoder where none is given.

    Parameters
    ----------
    encoder : str
        A name of ``networks``, or ``module:attribute``.
    weights : str, optional
        As a recipe names them.

    Raises
    ------
    ValueError
        If the encoder is named otherwise, or one's own has no weights.
    UserError
        If there is no such encoder, or no such weights.
    """
    own = ":" in encoder
    if not own:
        load(ENCODERS, "encoder", encoder)
    elif not all(part.isidentifier() for part in encoder.replace(":", ".").split(".")):
        raise ValueError(f"encoder is a name or module:attribute, not {encoder!r}")
    if weights is None and own:
        raise ValueError(f"the encoder {encoder!r} needs weights: its file")
    weights = weights or encoder
    weights_called(weights)
    return weights


def load_encoder(encoder: str, path: Path) -> "Encoder":
    """Return an encoder with its weights, on the CPU."""
    if ":" in encoder:
        from bids_recon.networks.own_encoder import own_encoder

        return own_encoder(encoder, path)
    made: Encoder = load(ENCODERS, "encoder", encoder)(path)
    return made

"""What a decoder learned, as arrays that are saved and taken over again."""

from typing import TypeVar

import numpy as np

from bids_recon.datatypes import Decoder

D = TypeVar("D", bound=Decoder)


def state_of(decoder: Decoder) -> dict[str, np.ndarray]:
    """Return what was learned: the attributes whose names end in an underscore."""
    return {
        name.removesuffix("_"): np.asarray(
            value, dtype=np.int64 if isinstance(value, tuple) else None
        )
        for name, value in vars(decoder).items()
        if name.endswith("_")
    }


def restore(decoder: D, state: dict[str, np.ndarray]) -> D:
    """Let a decoder take over what another of its kind learned."""
    for name, value in state.items():
        setattr(decoder, f"{name}_", value)
    return decoder

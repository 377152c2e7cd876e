"""Pictures by Versatile Diffusion, guided by decoded text and vision embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bids_recon.datatypes import Decoded
from bids_recon.generators.diffusion import check_sampling, sample_each
from bids_recon.machine import Machine

if TYPE_CHECKING:
    from bids_recon.networks.sampling import Sampler


@dataclass
class VersatileDiffusion:
    r"""Denoise a decoded first picture under two decoded conditions.

    In every cross-attention, :math:`h + m (A_t(h) - h) + (1 - m)(A_v(h) - h)` with the
    share m of the text.

    Parameters
    ----------
    init : str or None
        Which decoded features give the first picture; ``None`` begins with noise.
    text, vision : str or None
        Which decoded features are the conditions; ``None`` goes without.
    weights : str
        The diffusion model.
    mixing : float
        The share of the text, where there are both.
    steps : int
        Of the whole way from noise to picture.
    strength : float
        Which share of the steps is gone, from the first picture on.
    guidance : float
        How far to go from the unconditional prediction.
    side : int, pixels
        Of pictures.
    samples : int
        How many pictures are made for each trial.
    fixed_init : str or None
        The file of a picture that every trial begins with, where ``init`` is ``None``.
    noise_ahead : int
        How many steps' noise more than is removed is added to the first picture; the
        paper has 1.
    sample : bool
        Whether the latent of the first picture is drawn from the posterior, as in the
        paper; its mode otherwise.
    grey : float
        The picture that stands for no picture, of this value everywhere; the paper has
        127 / 255.
    machine : Machine
        Where to compute.

    References
    ----------
    Ozcelik & VanRullen (2023), Scientific Reports 13, 15666.
    """

    init: str | None = "vdvae"
    text: str | None = "clip-text"
    vision: str | None = "clip-vision"
    weights: str = "versatile-diffusion"
    mixing: float = 0.4
    steps: int = 50
    strength: float = 0.75
    guidance: float = 7.5
    side: int = 512
    samples: int = 1
    fixed_init: str | None = None
    noise_ahead: int = 0
    sample: bool = False
    grey: float = 0.5
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    needs: ClassVar[tuple[str, ...]] = ("init", "text", "vision")
    as_pictures: ClassVar[tuple[str, ...]] = ("init",)
    calls: ClassVar[Mapping[str, str]] = {"init": "decode"}
    of_captions: ClassVar[tuple[str, ...]] = ("text",)
    one_by_one: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.text is None and self.vision is None:
            raise ValueError("text or vision is needed, or both")
        check_sampling(self)
        if not 0 <= self.mixing <= 1:
            raise ValueError(f"mixing is between 0 and 1, not {self.mixing}")
        if not 0 <= self.grey <= 1:
            raise ValueError(f"grey is between 0 and 1, not {self.grey}")
        self._sampler: Sampler | None = None

    def generate(self, decoded: dict[str, Decoded], seed: int) -> np.ndarray:
        """Return pictures (n_trials, 3, side, side)."""
        if self._sampler is None:
            self._load(decoded)
        return sample_each(self, self._sampler, decoded, self._tokens, seed)

    def _load(self, decoded: dict[str, Decoded]) -> None:
        """Load the model once, after the embeddings of no text and no picture."""
        from bids_recon.networks.sampling import Sampler
        from bids_recon.networks.versatile_diffusion import load_unet

        self._nothing = {}
        if "text" in decoded:
            self._nothing["text"] = decoded["text"].space.encode([("",)])[0]
        if "vision" in decoded:
            grey = np.full((1, 3, 64, 64), self.grey, dtype=np.float32)
            self._nothing["vision"] = decoded["vision"].space.encode(grey)[0]
        path = self.machine.weights(self.weights)
        unet = load_unet(path, self.machine.dtype)
        self._sampler = Sampler.load(path, unet, self.machine)

    def _tokens(self, one: dict[str, np.ndarray]) -> np.ndarray:
        """Return tokens of text and picture in a row, (2, n_tokens, width)."""
        from bids_recon.networks.versatile_diffusion import set_mix

        parts = {
            need: np.stack([nothing, one[need]])
            for need, nothing in self._nothing.items()
        }
        width = next(iter(parts.values())).shape[2]
        # One token of nought stands for a condition that has no share.
        absent = np.zeros((2, 1, width), dtype=np.float32)
        text, vision = parts.get("text", absent), parts.get("vision", absent)
        share = self.mixing if len(parts) == 2 else float("text" in parts)
        set_mix(self._sampler.unet, share, [text.shape[1], vision.shape[1]])
        return np.concatenate([text, vision], axis=1)

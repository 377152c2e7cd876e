"""Pictures by Stable Diffusion, from a decoded first picture and decoded text."""

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
class StableDiffusion:
    """Denoise a decoded first picture under a decoded text embedding.

    Parameters
    ----------
    init : str or None
        Which decoded features give the first picture; ``None`` begins with noise.
    text : str or None
        Which decoded features are the condition, the hidden states of the model's text
        encoder; ``None`` goes without.
    weights : str
        The diffusion model.
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
    machine : Machine
        Where to compute.

    References
    ----------
    Takagi & Nishimoto (2023), CVPR, 14453-14463.
    """

    init: str | None = "latent"
    text: str | None = "clip-text"
    weights: str = "stable-diffusion-1.4"
    steps: int = 50
    strength: float = 0.8
    guidance: float = 5.0
    side: int = 512
    samples: int = 1
    fixed_init: str | None = None
    noise_ahead: int = 0
    sample: bool = False
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    needs: ClassVar[tuple[str, ...]] = ("init", "text")
    as_pictures: ClassVar[tuple[str, ...]] = ("init",)
    calls: ClassVar[Mapping[str, str]] = {"init": "decode"}
    of_captions: ClassVar[tuple[str, ...]] = ("text",)
    one_by_one: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.init is None and self.text is None:
            raise ValueError("init or text is needed, or both")
        check_sampling(self)
        self._sampler: Sampler | None = None

    def generate(self, decoded: dict[str, Decoded], seed: int) -> np.ndarray:
        """Return pictures (n_trials, 3, side, side)."""
        if self._sampler is None:
            self._load()
        return sample_each(self, self._sampler, decoded, self._tokens, seed)

    def _tokens(self, one: dict[str, np.ndarray]) -> np.ndarray:
        """Return the embeddings of no text and of the text, (2, n_tokens, width)."""
        return np.stack([self._nothing, one.get("text", self._nothing)])

    def _load(self) -> None:
        """Load the model once, after the embedding of no text."""
        import torch
        from diffusers import UNet2DConditionModel

        from bids_recon.networks.clip import load_text, text_tokens, tokenized
        from bids_recon.networks.encoders import pretrained
        from bids_recon.networks.sampling import Sampler

        path = self.machine.weights(self.weights)
        tokenizer, model = load_text(path)
        with torch.inference_mode():
            nothing = text_tokens(model, tokenized(tokenizer, [""]), projected=False)
        self._nothing = nothing[0].float().numpy()
        del model
        dtype = self.machine.dtype
        unet = pretrained(UNet2DConditionModel, path / "unet", torch_dtype=dtype)
        self._sampler = Sampler.load(path, unet, self.machine)

"""Token embeddings of CLIP: of pictures, and of their captions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from bids_recon.machine import Machine, in_batches
from bids_recon.weights import weights_called

MB_PER_PICTURE = 60
MB_PER_TEXT = 20
FORMS = ("projected", "hidden")

Captions = Sequence[tuple[str, ...]]


@dataclass
class ClipVision:
    """Projected tokens of a picture over the norm of its class token, 257 x 768.

    Parameters
    ----------
    weights : str
        A CLIP model.
    machine : Machine
        Where to compute.

    References
    ----------
    Ozcelik & VanRullen (2023), Scientific Reports 13, 15666.
    """

    weights: str = "clip-vit-l-14"
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    pretrained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        weights_called(self.weights)

    def fit(self, pictures: np.ndarray) -> Self:  # noqa: ARG002
        """Learn nothing."""
        return self

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Return (n, n_tokens, width)."""
        return np.concatenate([part for _, part in self.batches(pictures)])

    def batches(self, pictures: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the tokens of some pictures (n, 3, H, W) at a time."""
        from bids_recon.networks.clip import load_vision, vision_tokens
        from bids_recon.networks.resize import resized

        model = load_vision(self.machine.weights(self.weights))
        side = model.config.image_size

        def encoded(batch: np.ndarray) -> np.ndarray:
            there = resized(batch, (side, side)).to(self.machine.torch_device)
            return vision_tokens(model, there).float().cpu().numpy()

        n = self.machine.batch_size(MB_PER_PICTURE)
        with self.machine.holding(model):
            yield from in_batches(encoded, pictures, n)


@dataclass
class ClipText:
    """Tokens of a picture's captions, averaged over them, 77 x 768.

    Parameters
    ----------
    form : {'projected', 'hidden'}
        Projected and over the norm of the text's embedding, as Versatile Diffusion
        takes them; or the last hidden states, as Stable Diffusion does.
    weights : str
        A CLIP model, or a diffusion model with a text encoder.
    machine : Machine
        Where to compute.

    References
    ----------
    Ozcelik & VanRullen (2023), Scientific Reports 13, 15666; Takagi & Nishimoto (2023),
    CVPR.
    """

    form: str = "projected"
    weights: str = "clip-vit-l-14"
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    pretrained: ClassVar[bool] = True
    reads: ClassVar[str] = "captions"

    def __post_init__(self) -> None:
        weights_called(self.weights)
        if self.form not in FORMS:
            raise ValueError(f"form is one of {FORMS}, not {self.form!r}")

    def fit(self, pictures: np.ndarray) -> Self:  # noqa: ARG002
        """Learn nothing."""
        return self

    def encode(self, captions: Captions) -> np.ndarray:
        """Return (n, n_tokens, width)."""
        return np.concatenate([part for _, part in self.batches(captions)])

    def batches(self, captions: Captions) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the tokens of some pictures' captions at a time."""
        from bids_recon.networks.clip import load_text, text_tokens, tokenized

        tokenizer, model = load_text(self.machine.weights(self.weights))
        most = model.config.max_position_embeddings
        tokenizer.model_max_length = min(tokenizer.model_max_length, most)

        def encoded(batch: Captions) -> np.ndarray:
            texts = [text for own in batch for text in own]
            owner = np.repeat(np.arange(len(batch)), [len(own) for own in batch])
            tokens = tokenized(tokenizer, texts)
            values = text_tokens(model, tokens, self.form == "projected")
            values = values.float().cpu().numpy()
            return np.stack(
                [values[owner == n].mean(axis=0) for n in range(len(batch))]
            )

        most = max(len(own) for own in captions)
        n = self.machine.batch_size(MB_PER_TEXT * most)
        with self.machine.holding(model):
            yield from in_batches(encoded, captions, n)

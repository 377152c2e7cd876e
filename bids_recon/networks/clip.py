"""Token embeddings of CLIP, in the space that pictures and texts share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from bids_recon.networks.encoders import CLIP, pretrained


def load_vision(path: Path) -> CLIPVisionModelWithProjection:
    """Load the picture tower from a folder of CLIP."""
    return pretrained(CLIPVisionModelWithProjection, path)


def load_text(path: Path) -> tuple[CLIPTokenizer, CLIPTextModelWithProjection]:
    """Load the tokenizer and the text tower.

    The folder is one of CLIP, or a pipeline with ``tokenizer`` and ``text_encoder``.
    """
    whole = (path / "text_encoder").is_dir()
    tokenizer = pretrained(CLIPTokenizer, path / "tokenizer" if whole else path)
    folder = path / "text_encoder" if whole else path
    return tokenizer, pretrained(CLIPTextModelWithProjection, folder)


def vision_tokens(
    model: CLIPVisionModelWithProjection, pictures: torch.Tensor
) -> torch.Tensor:
    """Return projected tokens over the norm of the class token, (n, n_tokens, width).

    Parameters
    ----------
    model : CLIPVisionModelWithProjection
        The picture tower.
    pictures : Tensor of shape (n, 3, side, side)
        In [0, 1], at the side the model takes.

    References
    ----------
    Ozcelik & VanRullen (2023), Scientific Reports 13, 15666.
    """
    mean, std = (
        torch.tensor(part, device=pictures.device).view(1, 3, 1, 1) for part in CLIP
    )
    hidden = model.vision_model(pixel_values=(pictures - mean) / std).last_hidden_state
    tokens = model.visual_projection(model.vision_model.post_layernorm(hidden))
    return tokens / tokens[:, :1].norm(dim=-1, keepdim=True)


def text_tokens(
    model: CLIPTextModelWithProjection, tokens: Any, projected: bool
) -> torch.Tensor:
    """Return the tokens of texts, (n, n_tokens, width).

    Parameters
    ----------
    model : CLIPTextModelWithProjection
        The text tower.
    tokens : BatchEncoding
        What the tokenizer made of the texts, padded.
    projected : bool
        Projected and over the norm of the text's embedding, as Versatile Diffusion is
        conditioned; or the last hidden states, as Stable Diffusion is.
    """
    ids = tokens["input_ids"].to(model.device)
    if not projected:
        return model.text_model(input_ids=ids).last_hidden_state
    out = model(input_ids=ids)
    embedded = model.text_projection(out.last_hidden_state)
    return embedded / out.text_embeds.norm(dim=-1)[:, None, None]


def tokenized(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Any:
    """Return texts as padded tokens; what is longer is cut."""
    return tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt"
    )

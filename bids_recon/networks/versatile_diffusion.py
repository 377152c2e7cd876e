"""Versatile Diffusion's UNet with two conditions, on today's diffusers.

Xu et al. (2023), "Versatile Diffusion: text, images and variations all in one diffusion
model", ICCV.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models import DualTransformer2DModel, Transformer2DModel
from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import (
    UNetFlatConditionModel,
)

from bids_recon.networks.encoders import pretrained


class DualTransformer(DualTransformer2DModel):
    """Takes the mask that UNet blocks hand on, which upstream rejects since 0.17.

    https://github.com/huggingface/diffusers/issues/13651
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: None = None,  # noqa: ARG002
        **options: Any,
    ) -> Any:
        """Mix what both transformers add, (n, channels, h, w)."""
        return super().forward(hidden_states, encoder_hidden_states, **options)


def load_unet(path: Path, dtype: torch.dtype) -> UNet2DConditionModel:
    """Load the UNet for pictures, and put the text UNet's transformers beside its own.

    A folder whose UNet has both already is taken as it is.

    Raises
    ------
    UserError
        If the folder is not one of Versatile Diffusion, or is damaged.
    """
    unet = pretrained(UNet2DConditionModel, path / "image_unet", torch_dtype=dtype)
    text = pretrained(UNetFlatConditionModel, path / "text_unet", torch_dtype=dtype)
    names = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, Transformer2DModel)
    ]
    for name in names:
        parent, _, index = name.rpartition(".")
        unet.get_submodule(parent)[int(index)] = _pair(
            unet.get_submodule(name), text.get_submodule(name)
        )
    return unet.eval()


def _pair(vision: Transformer2DModel, text: Transformer2DModel) -> DualTransformer:
    kept = (
        "num_attention_heads",
        "attention_head_dim",
        "in_channels",
        "norm_num_groups",
        "cross_attention_dim",
    )
    # Its own layers are replaced at once: none is made for them.
    with torch.device("meta"):
        dual = DualTransformer(**{key: vision.config[key] for key in kept})
    dual.transformers = torch.nn.ModuleList([vision, text])
    return dual


def set_mix(unet: UNet2DConditionModel, text_share: float, lengths: list[int]) -> None:
    """Say how conditions are mixed.

    Parameters
    ----------
    unet : UNet2DConditionModel
        As ``load_unet`` gives it.
    text_share : float
        Of what the two transformers add, the share of the text's.
    lengths : list of two int
        How many tokens of a condition are the text's, and how many the picture's.
    """
    for module in unet.modules():
        if isinstance(module, DualTransformer):
            module.mix_ratio = text_share
            module.condition_lengths = lengths
            module.transformer_index_for_condition = [1, 0]

"""Tiny networks of the real classes, with random weights, under the real names."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    UNet2DConditionModel,
)
from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import (
    UNetFlatConditionModel,
)
from torchvision.models import squeezenet1_1
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from bids_recon.networks.autoencoders import PooledBlock
from bids_recon.networks.vdvae import VDVAE, Architecture

WIDTH = 16
"""Of the space that pictures and texts share."""

TOY_VDVAE = {
    "encoder_blocks": "8x2,8d2,4x1,4d4,1x1",
    "decoder_blocks": "1x1,4m1,4x1,8m4,8x1",
    "width": 16,
    "latent_channels": 4,
    "side": 8,
}


def fill(model: torch.nn.Module, phase: float = 0.0) -> torch.nn.Module:
    """Give a network weights that do not depend on how torch draws them."""
    with torch.no_grad():
        for number, (name, parameter) in enumerate(model.named_parameters()):
            count = torch.arange(parameter.numel(), dtype=torch.float64)
            wave = torch.sin(count**2 * 0.7 + 3 * number + phase).view_as(parameter)
            norm = parameter.ndim == 1 and name.endswith("weight")
            inputs = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.copy_(1 + 0.1 * wave if norm else wave * (2 / inputs) ** 0.5)
    return model


def write_toys(folder: Path) -> None:
    """Write one toy for each of the weights that recipes need."""
    _write_clip(folder / "clip-vit-l-14")
    _write_stable_diffusion(folder / "stable-diffusion-1.4")
    _write_versatile_diffusion(folder / "versatile-diffusion")
    _write_taef2(folder / "taef2")
    with torch.random.fork_rng(devices=[]):
        squeezenet = fill(squeezenet1_1(weights=None))
    torch.save(squeezenet.state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    model = fill(VDVAE(Architecture(**TOY_VDVAE)))
    torch.save(model.state_dict(), folder / "imagenet64-iter-1600000-model-ema.th")


def _text_config() -> dict[str, int]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 520,
        "max_position_embeddings": 12,
        "bos_token_id": 518,
        "eos_token_id": 519,
        "pad_token_id": 519,
        "projection_dim": WIDTH,
    }


def _write_tokenizer(folder: Path) -> None:
    """Write CLIP's tokenizer with single bytes for tokens, and no merges."""
    codes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    codes += [256 + n for n in range(256 - len(codes))]
    letters = [chr(code) for code in codes]
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += [f"<unused{n}>" for n in range(518 - len(tokens))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 12}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_clip(folder: Path) -> None:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 224,
        "patch_size": 112,
        "projection_dim": WIDTH,
    }
    config = CLIPConfig(
        text_config=_text_config(), vision_config=vision, projection_dim=WIDTH
    )
    fill(CLIPModel(config)).save_pretrained(folder)
    _write_tokenizer(folder)


def _write_vae(folder: Path) -> None:
    model = AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    fill(model).save_pretrained(folder)


def _write_scheduler(folder: Path) -> None:
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    ).save_pretrained(folder)


UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
}


def _write_unet(folder: Path) -> None:
    model = UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **UNET,
    )
    fill(model).save_pretrained(folder)


def _write_stable_diffusion(folder: Path) -> None:
    _write_unet(folder / "unet")
    _write_vae(folder / "vae")
    _write_scheduler(folder / "scheduler")
    config = CLIPTextConfig(**_text_config())
    fill(CLIPTextModel(config)).save_pretrained(folder / "text_encoder")
    _write_tokenizer(folder / "tokenizer")


def _write_versatile_diffusion(folder: Path) -> None:
    _write_unet(folder / "image_unet")
    model = UNetFlatConditionModel(
        down_block_types=("CrossAttnDownBlockFlat", "DownBlockFlat"),
        up_block_types=("UpBlockFlat", "CrossAttnUpBlockFlat"),
        **UNET,
    )
    fill(model, phase=1.0).save_pretrained(folder / "text_unet")
    _write_vae(folder / "vae")
    _write_scheduler(folder / "scheduler")


def _write_taef2(folder: Path) -> None:
    model = AutoencoderTiny(latent_channels=32)
    for block in range(3):
        model.encoder.layers[len(model.encoder.layers) - 2 - block] = PooledBlock()
        model.decoder.layers[2 + block] = PooledBlock()
    fill(model)
    folder.mkdir(parents=True)
    for layers, name, shift in (
        (model.encoder.layers, "encoder", 0),
        (model.decoder.layers, "decoder", 1),
    ):
        state = {}
        for key, value in layers.state_dict().items():
            number, rest = key.split(".", 1)
            state[f"{int(number) + shift}.{rest}"] = value.half()
        torch.save(state, folder / f"taef2_{name}.pth")

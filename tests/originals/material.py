"""Random pictures and random weights, the same everywhere, as files."""

from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from transformers import CLIPConfig, CLIPModel

from bids_recon.weights import known_weights

N_PICTURES, N_SAMPLES = 12, 5
SEEN_SIDE, MADE_SIDE, COARSE = 425, 512, 12
"""Pixels; the pictures of the Natural Scenes Dataset have 425, those made 512."""

NOISE = 5.0
"""Of reconstructions, in standard deviations of the pictures."""

MODELS = torchvision.models
NETWORKS = {
    "alexnet": MODELS.alexnet,
    "inception-v3": lambda: MODELS.inception_v3(weights=None, init_weights=False),
    "efficientnet-b1-v1": MODELS.efficientnet_b1,
    "swav-resnet50": MODELS.resnet50,
}
CLIP_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 13,
    "num_attention_heads": 2,
    "image_size": 224,
    "patch_size": 32,
    "projection_dim": 16,
}
CLIP_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 520,
    "max_position_embeddings": 12,
    "bos_token_id": 518,
    "eos_token_id": 519,
    "pad_token_id": 519,
    "projection_dim": 16,
}


def write_pictures(folder: Path) -> None:
    """Write ``seen/0.png`` and so on, and samples ``made/0_0.png`` and so on."""
    rng = np.random.default_rng(0)
    for name in ("seen", "made"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(N_PICTURES):
        seen = rng.standard_normal((COARSE, COARSE, 3))
        _save(seen, SEEN_SIDE, folder / "seen" / f"{number}.png")
        for sample in range(N_SAMPLES):
            made = seen + NOISE * rng.standard_normal(seen.shape)
            name = f"{number}_{sample}.png"
            _save(made / np.hypot(1, NOISE), MADE_SIDE, folder / "made" / name)


def _save(coarse: np.ndarray, side: int, path: Path) -> None:
    pixels = np.clip(128 + 50 * coarse, 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    image.save(path)


def write_weights(folder: Path) -> None:
    """Write the weights that two profiles need, under their real names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in NETWORKS.items():
        state = fill(make(), seed=0).state_dict()
        torch.save(state, folder / known_weights()[name].file)
    config = CLIPConfig(
        text_config=CLIP_TEXT, vision_config=CLIP_VISION, projection_dim=16
    )
    fill(CLIPModel(config), seed=1).save_pretrained(folder / "clip-vit-l-14")


def fill(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Give a network weights that do not depend on how torch draws them."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = rng.standard_normal(parameter.shape, dtype=np.float32)
            if parameter.ndim > 1:
                drawn *= np.sqrt(2 / parameter[0].numel())
            elif name.endswith("weight"):
                drawn = 1 + 0.1 * drawn
            else:
                drawn *= 0.01
            parameter.copy_(torch.from_numpy(np.asarray(drawn, dtype=np.float32)))
    return model.eval()

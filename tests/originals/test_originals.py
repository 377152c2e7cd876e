"""Scores and pictures equal to those of the originals' own code; see the README."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from material import write_pictures, write_weights
from scores import ORIGINAL, ours
from toys import WIDTH

from bids_recon.machine import Machine
from bids_recon.networks.encoders import pretrained
from bids_recon.networks.sampling import Sampler, Sampling
from bids_recon.networks.versatile_diffusion import load_unet, set_mix


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    write_pictures(folder)
    write_weights(folder / "weights")
    return folder


@pytest.mark.parametrize("profile", ORIGINAL)
def test_scores_are_the_originals(material, profile):
    found = ours(material, profile)
    assert found.keys() == ORIGINAL[profile].keys()
    for metric, value in ORIGINAL[profile].items():
        assert found[metric] == pytest.approx(value, rel=2e-3, abs=1e-6), metric


# Every eleventh row of column 7, of red, green and blue.
PICTURES = {
    "stable-diffusion-1.4": [
        *(0.504112, 0.124696, 0.0),
        *(0.376669, 0.0, 0.168432),
        *(0.283268, 0.871656, 1.0),
    ],
    "versatile-diffusion": [
        *(0.46156, 0.19966, 0.096429),
        *(0.346904, 0.253261, 0.0),
        *(0.41401, 0.767345, 0.605651),
    ],
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_the_originals(toy_weights, name):
    path = toy_weights / name
    if name == "versatile-diffusion":
        unet = load_unet(path, torch.float32)
        set_mix(unet, 0.4, [3, 4])
    else:
        unet = pretrained(UNet2DConditionModel, path / "unet")
    machine = Machine(device="cpu", weights_dir=toy_weights)
    sampler = Sampler.load(path, unet, machine)
    rows, columns = np.mgrid[0:32, 0:32] / 31
    init = np.stack([rows, columns, (rows + columns) / 2]).astype(np.float32)
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((2, 7, WIDTH)).astype(np.float32)
    asked = Sampling(10, 0.75, 5.0, 32, noise_ahead=1, sample=True)
    made = sampler.picture(tokens, init, asked, seed=3)
    np.testing.assert_allclose(made[:, ::11, 7].ravel(), PICTURES[name], atol=2e-3)
    ordinary = sampler.picture(tokens, init, Sampling(10, 0.75, 5.0, 32), seed=3)
    assert np.abs(ordinary[:, ::11, 7].ravel() - PICTURES[name]).max() > 0.02


@pytest.mark.parametrize(
    ("strength", "first", "noised"), [(0.75, 721, 741), (0.8, 781, 801)]
)
def test_the_published_steps(toy_weights, strength, first, noised):
    path = toy_weights / "stable-diffusion-1.4"
    machine = Machine(device="cpu", weights_dir=toy_weights)
    unet = pretrained(UNet2DConditionModel, path / "unet")
    sampler = Sampler.load(path, unet, machine)
    sampler.scheduler.set_timesteps(50)
    asked = Sampling(50, strength, 5.0, 32, noise_ahead=1)
    grey = np.full((3, 32, 32), 0.5, dtype=np.float32)
    made = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        latent, timesteps = sampler._beginning(grey, asked, generator)
        made.append(latent)
    assert timesteps[0] == first
    # Two draws of noise apart, a latent differs by the noise's share at that step.
    noises = [
        torch.randn(made[0].shape, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    ]
    share = (1 - sampler.scheduler.alphas_cumprod[noised]).sqrt()
    torch.testing.assert_close(made[1] - made[0], share * (noises[1] - noises[0]))

"""Denoising by DDIM, from noise or from a first picture, under one condition.

Song, Meng & Ermon (2021), "Denoising diffusion implicit models", ICLR; Meng et al.
(2022), "SDEdit", ICLR; Ho & Salimans (2021), "Classifier-free diffusion guidance".
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from bids_recon.errors import Status, UserError
from bids_recon.machine import Machine, in_batches
from bids_recon.networks.autoencoders import reduction, to_latents, to_pictures
from bids_recon.networks.encoders import pretrained
from bids_recon.networks.resize import resized


@dataclass(frozen=True)
class Sampling:
    """What a sampling loop is asked for.

    Parameters
    ----------
    steps : int
        Of the whole way from noise to picture.
    strength : float
        Which share of the steps is gone from a first picture on.
    guidance : float
        How far to go from the unconditional prediction; 1 for no guidance.
    side : int, pixels
        Of pictures.
    noise_ahead : int
        How many steps' noise more than is removed is added to a first picture.
    sample : bool
        Whether the first picture's latent is drawn from the posterior; its mode
        otherwise.
    """

    steps: int
    strength: float
    guidance: float
    side: int
    noise_ahead: int = 0
    sample: bool = False


@dataclass(frozen=True)
class Sampler:
    """A latent diffusion model on its device.

    Parameters
    ----------
    unet : UNet2DConditionModel
        In half precision on a GPU.
    vae : AutoencoderKL
        In single precision, because half overflows in it.
    scheduler : DDIMScheduler
        Of the model's noise.
    machine : Machine
        Where they are.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: DDIMScheduler
    machine: Machine

    @classmethod
    def load(
        cls, path: Path, unet: UNet2DConditionModel, machine: Machine
    ) -> "Sampler":
        """Put a UNet and the rest of its pipeline, found at ``path``, on the device."""
        if machine.is_small:
            unet.set_attention_slice("auto")
        scheduler = DDIMScheduler.from_pretrained(
            path / "scheduler",
            local_files_only=True,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        device = machine.torch_device
        vae = pretrained(AutoencoderKL, path / "vae")
        return cls(unet.to(device), vae.to(device), scheduler, machine)

    @torch.inference_mode()
    def picture(
        self,
        tokens: np.ndarray,
        init: np.ndarray | None,
        asked: Sampling,
        seed: int,
    ) -> np.ndarray:
        """Make a picture.

        Parameters
        ----------
        tokens : array of shape (2, n_tokens, width)
            Embeddings of no condition, and of the condition.
        init : array of shape (3, H, W), optional
            The first picture; begins with noise without one.
        asked : Sampling
            Steps and sizes.
        seed : int
            Of the noise, which is drawn on the CPU and the same on any device.

        Returns
        -------
        array of shape (3, side, side), float32 in [0, 1]

        Raises
        ------
        UserError
            If what comes out is no number.
        """
        generator = torch.Generator().manual_seed(seed)
        conditions = torch.from_numpy(np.asarray(tokens, dtype=np.float32))
        conditions = conditions.to(self.machine.torch_device, self.unet.dtype)
        self.scheduler.set_timesteps(asked.steps)
        latent, timesteps = self._beginning(init, asked, generator)
        for t in timesteps:
            without, given = self._predict(latent, t, conditions)
            noise = without + asked.guidance * (given - without)
            latent = self.scheduler.step(noise, t, latent, eta=0.0).prev_sample
        made = to_pictures(self.vae, latent)[0].cpu().numpy()
        if not np.isfinite(made).all():
            raise UserError(
                "The diffusion model gave a picture that is no numbers. If it runs in "
                "half precision, use --device cpu.",
                Status.FAILED,
            )
        return made

    def _beginning(
        self, init: np.ndarray | None, asked: Sampling, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the latent (1, channels, h, w) to begin with, and the steps to go."""
        device = self.machine.torch_device
        side = asked.side // reduction(self.vae)
        shape = (1, self.vae.config.latent_channels, side, side)
        noise = torch.randn(shape, generator=generator).to(device)
        timesteps = self.scheduler.timesteps.to(device)
        if init is None:
            return noise * self.scheduler.init_noise_sigma, timesteps
        first = asked.steps - int(asked.steps * asked.strength)
        picture = resized(init[None], (asked.side, asked.side)).to(device)
        latent = to_latents(self.vae, picture, [generator] if asked.sample else None)
        start = timesteps[first - asked.noise_ahead]
        return self.scheduler.add_noise(latent, noise, start[None]), timesteps[first:]

    def _predict(
        self, latent: torch.Tensor, t: torch.Tensor, conditions: torch.Tensor
    ) -> torch.Tensor:
        """Predict the noise without and with the condition, (2, 1, channels, h, w)."""

        def predicted(tokens: torch.Tensor) -> torch.Tensor:
            batch = latent.to(self.unet.dtype).expand(len(tokens), -1, -1, -1)
            return self.unet(batch, t, encoder_hidden_states=tokens).sample.float()

        parts: list[Any] = [part for _, part in in_batches(predicted, conditions, 2)]
        return torch.cat(parts)[:, None]

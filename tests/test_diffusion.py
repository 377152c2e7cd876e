"""Networks of latent diffusion, at toy size with random weights."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.models import AutoencoderKL, DualTransformer2DModel
from PIL import Image
from toys import TOY_VDVAE, WIDTH
from transformers import CLIPModel, CLIPTokenizer

from bids_recon.datatypes import Decoded
from bids_recon.errors import UserError
from bids_recon.features.clip import ClipText, ClipVision
from bids_recon.features.latent import Latent
from bids_recon.features.vdvae import Vdvae
from bids_recon.generators.stable_diffusion import StableDiffusion
from bids_recon.generators.versatile_diffusion import VersatileDiffusion
from bids_recon.machine import Machine
from bids_recon.networks.autoencoders import load_autoencoder, to_latents, to_pictures
from bids_recon.networks.sampling import Sampler, Sampling
from bids_recon.networks.versatile_diffusion import (
    DualTransformer,
    load_unet,
    set_mix,
)
from bids_recon.recipe_file import read_recipe


@pytest.fixture(scope="session")
def machine(toy_weights):
    return Machine(device="cpu", weights_dir=toy_weights)


@pytest.fixture
def pictures():
    """Gradients and stripes, the same on every machine."""
    rows, columns = np.mgrid[0:32, 0:32] / 31
    first = np.stack([rows, columns, (rows + columns) / 2])
    second = np.stack([np.sin(9 * columns) / 2 + 0.5, rows * columns, 1 - rows])
    return np.stack([first, second]).astype(np.float32)


class TestStableDiffusion:
    def test_the_loop_is_that_of_diffusers(self, toy_weights, machine, pictures):
        path = toy_weights / "stable-diffusion-1.4"
        scheduler = DDIMScheduler.from_pretrained(
            path / "scheduler",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        pipeline = StableDiffusionImg2ImgPipeline(
            vae=AutoencoderKL.from_pretrained(path / "vae"),
            unet=UNet2DConditionModel.from_pretrained(path / "unet"),
            scheduler=scheduler,
            text_encoder=None,
            tokenizer=None,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        rng = np.random.default_rng(0)
        tokens = rng.standard_normal((2, 7, WIDTH)).astype(np.float32)
        embedded = torch.from_numpy(tokens)

        made = []
        for seed in (3, 4):
            noise = torch.randn(
                (1, 4, 16, 16), generator=torch.Generator().manual_seed(seed)
            )
            init = to_latents(pipeline.vae, torch.from_numpy(pictures[:1]))
            scheduler.set_timesteps(4)
            start = scheduler.timesteps[1:2]
            latents = scheduler.add_noise(init, noise, start)
            pipeline.prepare_latents = lambda *_, latents=latents, **__: latents
            made.append(
                pipeline(
                    image=torch.from_numpy(pictures[:1]),
                    prompt_embeds=embedded[1:],
                    negative_prompt_embeds=embedded[:1],
                    num_inference_steps=4,
                    strength=0.75,
                    guidance_scale=5.0,
                    eta=0.0,
                    output_type="np",
                ).images[0]
            )
        sampler = Sampler(pipeline.unet, pipeline.vae, scheduler, machine)
        for seed, expected in zip((3, 4), made, strict=True):
            own = sampler.picture(tokens, pictures[0], Sampling(4, 0.75, 5.0, 32), seed)
            np.testing.assert_allclose(own.transpose(1, 2, 0), expected, atol=1e-4)
        assert np.abs(made[0] - made[1]).max() > 1e-3

    def test_all_there_is_to_feed_has_an_effect(self, machine, pictures):
        space = ClipText("hidden", "stable-diffusion-1.4", machine)
        text = space.encode([("a dog",), ("two cats",)])
        settings = {"steps": 2, "side": 32, "strength": 0.5, "machine": machine}

        def make(init, text, seed=0, **more):
            feeds = {}
            if init is not None:
                feeds["init"] = Decoded(init[None], Latent())
            if text is not None:
                feeds["text"] = Decoded(text[None], space)
            absent = dict.fromkeys({"init", "text"} - set(feeds))
            options = {**settings, **absent, **more}
            return StableDiffusion(**options).generate(feeds, seed)[0]

        first = make(pictures[0], text[0])
        for other in (
            make(pictures[1], text[0]),
            make(pictures[0], text[1]),
            make(pictures[0], text[0], seed=1),
            make(pictures[0], text[0], guidance=9.0),
            make(pictures[0], None),
            make(None, text[0]),
        ):
            assert np.abs(first - other).max() > 1e-4

    def test_guidance_goes_from_no_text_to_the_text(self, machine, pictures):
        space = ClipText("hidden", "stable-diffusion-1.4", machine)
        init = Decoded(pictures[:1], None)
        settings = {"steps": 2, "side": 32, "strength": 0.5, "machine": machine}

        def make(texts, **more):
            feeds = {"text": Decoded(space.encode(texts), space), "init": init}
            return StableDiffusion(**settings, **more).generate(feeds, 0)

        # Without guidance nothing is left of the text; with 1 there is it alone.
        nothing = StableDiffusion(text=None, **settings).generate({"init": init}, 0)
        assert np.abs(make([("a dog",)], guidance=1.0) - nothing).max() > 1e-3
        np.testing.assert_allclose(make([("a dog",)], guidance=0.0), nothing, atol=1e-5)
        np.testing.assert_allclose(make([("",)], guidance=3.0), nothing, atol=1e-5)

    def test_a_fixed_picture_is_begun_with(self, machine, pictures, tmp_path):
        path = tmp_path / "first.png"
        pixels = (pictures[0] * 255).round().astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(pixels).save(path)
        space = ClipText("hidden", "stable-diffusion-1.4", machine)
        text = {"text": Decoded(space.encode([("a dog",)]), space)}
        given = {**text, "init": Decoded(pixels.transpose(2, 0, 1)[None] / 255, None)}
        settings = {"steps": 2, "side": 32, "strength": 0.5, "machine": machine}
        fixed = StableDiffusion(init=None, fixed_init=str(path), **settings)
        expected = StableDiffusion(**settings).generate(given, 0)
        np.testing.assert_allclose(fixed.generate(text, 0), expected, atol=1e-5)
        path.write_text("no picture")
        with pytest.raises(UserError, match=r"first\.png: not a picture"):
            fixed.generate(text, 0)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"steps": 0},
            {"fixed_init": "x.png"},
            {"strength": 0.0},
            {"strength": 1.5},
            {"steps": 2, "strength": 0.1},
            {"samples": 0},
            {"noise_ahead": -1},
            {"steps": 10, "strength": 0.8, "noise_ahead": 3},
            {"init": None, "text": None},
        ],
    )
    def test_settings_that_make_no_picture_are_refused(self, wrong):
        with pytest.raises(
            ValueError, match=r"steps|samples|strength|need|fixed|ahead"
        ):
            StableDiffusion(**wrong)


class TestVersatileDiffusion:
    def test_upstream_still_rejects_the_mask(self):
        # When this fails, diffusers has mended it: remove DualTransformer.
        parameters = inspect.signature(DualTransformer2DModel.forward).parameters
        assert "encoder_attention_mask" not in parameters
        assert "kwargs" not in parameters

    def test_the_mix_is_the_share_of_what_each_adds(self, toy_weights):
        unet = load_unet(toy_weights / "versatile-diffusion", torch.float32)
        block = next(m for m in unet.modules() if isinstance(m, DualTransformer))
        rng = torch.Generator().manual_seed(0)
        h = torch.randn((1, 16, 4, 4), generator=rng)
        text = torch.randn((1, 3, WIDTH), generator=rng)
        vision = torch.randn((1, 5, WIDTH), generator=rng)
        set_mix(unet, 0.4, [3, 5])
        with torch.no_grad():
            mixed = block(h, torch.cat([text, vision], 1), return_dict=False)[0]
            of_vision, of_text = (
                network(h, encoder_hidden_states=tokens, return_dict=False)[0]
                for network, tokens in zip(
                    block.transformers, (vision, text), strict=True
                )
            )
        expected = h + 0.4 * (of_text - h) + 0.6 * (of_vision - h)
        torch.testing.assert_close(mixed, expected)

    def test_the_text_transformers_are_those_of_the_text_unet(self, toy_weights):
        path = toy_weights / "versatile-diffusion"
        unet = load_unet(path, torch.float32)
        pairs = [m for m in unet.modules() if isinstance(m, DualTransformer)]
        assert len(pairs) == 4
        for pair in pairs:
            vision, text = (part.proj_in.weight for part in pair.transformers)
            assert not torch.equal(vision, text)

    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_a_share_of_all_or_nothing_is_one_condition_alone(
        self, machine, pictures, share
    ):
        text_space, vision_space = (
            ClipText(machine=machine),
            ClipVision(machine=machine),
        )
        decoded = {
            "text": Decoded(text_space.encode([("a dog",)]), text_space),
            "vision": Decoded(vision_space.encode(pictures[:1]), vision_space),
        }
        settings = {"steps": 2, "side": 32, "init": None, "machine": machine}
        both = VersatileDiffusion(mixing=share, **settings).generate(decoded, 0)
        kept, absent = ("text", "vision") if share else ("vision", "text")
        only = {kept: decoded[kept]}
        one = VersatileDiffusion(**settings, **{absent: None}).generate(only, 0)
        np.testing.assert_allclose(both, one, atol=1e-4)

    def test_guidance_goes_from_nothing_to_the_conditions(self, machine, pictures):
        spaces = ClipText(machine=machine), ClipVision(machine=machine)
        grey = np.full_like(pictures[:1], 0.5)
        init = Decoded(pictures[:1], None)
        settings = {"steps": 2, "side": 32, "strength": 0.5, "machine": machine}

        def make(caption, picture, guidance):
            feeds = {
                "init": init,
                "text": Decoded(spaces[0].encode([(caption,)]), spaces[0]),
                "vision": Decoded(spaces[1].encode(picture), spaces[1]),
            }
            generator = VersatileDiffusion(guidance=guidance, **settings)
            return generator.generate(feeds, 0)

        nothing = make("", grey, 7.5)
        assert np.abs(make("a dog", pictures[1:], 1.0) - nothing).max() > 1e-3
        without = make("a dog", pictures[1:], 0.0)
        np.testing.assert_allclose(without, nothing, atol=1e-5)

    def test_no_picture_is_grey_of_any_value(self, machine, pictures):
        space = ClipVision(machine=machine)
        decoded = {"vision": Decoded(space.encode(pictures[:1]), space)}
        settings = {"init": None, "text": None, "machine": machine}
        for options, value in (({}, 0.5), ({"grey": 127 / 255}, 127 / 255)):
            generator = VersatileDiffusion(**settings, **options)
            generator._load(decoded)
            grey = np.full((1, 3, 224, 224), value, dtype=np.float32)
            np.testing.assert_allclose(
                generator._nothing["vision"], space.encode(grey)[0], atol=1e-6
            )
        with pytest.raises(ValueError, match="grey is between 0 and 1"):
            VersatileDiffusion(grey=127)

    def test_the_recipe_takes_the_published_values(self):
        published = read_recipe("brain-diffuser")
        options = published.generate.options
        assert (options["noise_ahead"], options["sample"]) == (1, True)
        assert options["grey"] == pytest.approx(127 / 255, abs=1e-15)
        assert published.responses.standardize_again
        takagi = read_recipe("takagi2023")
        options = takagi.generate.options
        assert (options["noise_ahead"], options["sample"]) == (1, True)
        assert takagi.decode["latent"].features.options["sample"] is True
        for step in takagi.decode.values():
            assert step.decoder.options["intercept"] is False

    def test_thirty_seven_of_fifty_steps(self, toy_weights, machine, pictures):
        unet = load_unet(toy_weights / "versatile-diffusion", torch.float32)
        path = toy_weights / "versatile-diffusion"
        sampler = Sampler.load(path, unet, machine)
        sampler.scheduler.set_timesteps(50)
        asked = Sampling(50, 0.75, 7.5, 32)
        _, timesteps = sampler._beginning(
            pictures[0], asked, torch.Generator().manual_seed(0)
        )
        assert len(timesteps) == 37
        assert timesteps[0] == 721
        assert timesteps[-1] == 1

    def test_a_picture_of_no_numbers_is_told(self, toy_weights, machine, pictures):
        path = toy_weights / "versatile-diffusion"
        sampler = Sampler.load(path, load_unet(path, torch.float32), machine)
        tokens = np.full((2, 2, WIDTH), np.nan, dtype=np.float32)
        set_mix(sampler.unet, 0.5, [1, 1])
        with pytest.raises(UserError, match="no numbers"):
            sampler.picture(tokens, pictures[0], Sampling(2, 0.5, 7.5, 32), 0)


class TestClip:
    def test_class_and_end_tokens_are_the_models_own_embeddings(
        self, toy_weights, machine, pictures
    ):
        path = toy_weights / "clip-vit-l-14"
        model = CLIPModel.from_pretrained(path)
        # At the size of the model, so that nothing is resized.
        pictures = np.kron(pictures, np.ones((1, 1, 7, 7), dtype=np.float32))
        tokens = ClipVision(machine=machine).encode(pictures)
        mean = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
        std = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
        normal = torch.from_numpy(((pictures - mean) / std).astype(np.float32))
        with torch.no_grad():
            vision = model.vision_model(pixel_values=normal)
            embedded = model.visual_projection(vision.pooler_output).numpy()
        norm = np.linalg.norm(embedded, axis=1, keepdims=True)
        assert tokens.shape == (2, 5, WIDTH)
        np.testing.assert_allclose(tokens[:, 0], embedded / norm, atol=1e-5)
        texts = ["a dog", "two cats"]
        tokenizer = CLIPTokenizer.from_pretrained(path)
        ids = tokenizer(texts, padding="max_length", max_length=12, return_tensors="pt")
        with torch.no_grad():
            text = model.text_model(input_ids=ids["input_ids"])
            embedded = model.text_projection(text.pooler_output).numpy()
        values = ClipText(machine=machine).encode([(entry,) for entry in texts])
        ends = (ids["input_ids"] == 519).int().argmax(dim=1).tolist()
        norm = np.linalg.norm(embedded, axis=1, keepdims=True)
        own = np.stack([values[row, end] for row, end in enumerate(ends)])
        np.testing.assert_allclose(own, embedded / norm, atol=1e-5)

    def test_captions_are_averaged(self, machine):
        space = ClipText(machine=machine)
        one, other = space.encode([("a dog",), ("two cats",)])
        both = space.encode([("a dog", "two cats")])[0]
        np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)

    def test_long_captions_are_cut(self, machine):
        assert ClipText(machine=machine).encode([("word " * 200,)]).shape[1] == 12


class TestLatent:
    def test_pictures_of_any_size_and_one_pixel(self, machine):
        rng = np.random.default_rng(0)
        for size in ((1, 1), (9, 20), (64, 64)):
            pictures = rng.random((2, 3, *size)).astype(np.float32)
            space = Latent(machine=machine).fit(pictures)
            values = space.encode(pictures)
            assert values.shape[1] == 32
            assert space.decode(values).shape == pictures.shape

    def test_a_full_autoencoder_is_scaled_as_its_diffusion_model(
        self, toy_weights, machine, pictures
    ):
        model = load_autoencoder(toy_weights / "stable-diffusion-1.4")
        there = torch.from_numpy(pictures)
        with torch.no_grad():
            mode = model.encode(there * 2 - 1).latent_dist.mode()
            decoded = model.decode(mode).sample
            latents = to_latents(model, there)
            again = to_pictures(model, latents)
        torch.testing.assert_close(latents, mode * 0.18215)
        torch.testing.assert_close(again, (decoded / 2 + 0.5).clamp(0, 1))

    def test_draws_from_the_posterior_depend_on_the_picture_and_seed_alone(
        self, toy_weights, machine, pictures
    ):
        def encode(pictures, **options):
            space = Latent("stable-diffusion-1.4", machine=machine, **options)
            return space.encode(pictures)

        drawn = encode(pictures, sample=True)
        alone = encode(pictures[1:], sample=True)
        np.testing.assert_allclose(alone[0], drawn[1], atol=1e-5)
        assert np.abs(encode(pictures, sample=True, seed=1) - drawn).max() > 0.1
        model = load_autoencoder(toy_weights / "stable-diffusion-1.4")
        with torch.no_grad():
            posterior = model.encode(torch.from_numpy(pictures) * 2 - 1).latent_dist
        noise = (drawn / 0.18215 - posterior.mean.numpy()) / posterior.std.numpy()
        assert abs(noise.mean()) < 4 / noise.size**0.5
        assert noise.std() == pytest.approx(1, abs=4 / (2 * noise.size) ** 0.5)
        # A tiny autoencoder has no posterior.
        tiny = Latent(machine=machine, sample=True).encode(pictures)
        np.testing.assert_array_equal(tiny, Latent(machine=machine).encode(pictures))

    @pytest.mark.parametrize(
        ("weights", "step", "size", "side", "expected"),
        [
            # The next multiple of the step; half of one goes to the even one.
            ("taef2", 8, (32, 48), None, (32, 48)),
            ("taef2", 8, (30, 45), None, (32, 48)),
            ("taef2", 8, (27, 44), None, (24, 48)),
            ("taef2", 8, (3, 13), None, (8, 16)),
            ("taef2", 8, (64, 64), 20, (16, 16)),
            ("taef2", 8, (16, 64), 29, (32, 32)),
            ("stable-diffusion-1.4", 2, (9, 30), None, (8, 30)),
            ("stable-diffusion-1.4", 2, (1, 11), None, (2, 12)),
        ],
    )
    def test_pictures_are_brought_to_the_next_size(
        self, machine, weights, step, size, side, expected
    ):
        pictures = np.random.default_rng(0).random((1, 3, *size)).astype(np.float32)
        space = Latent(weights, side, machine=machine).fit(pictures)
        values = space.encode(pictures)
        assert values.shape[2:] == tuple(length // step for length in expected)
        assert space.decode(values).shape == pictures.shape

    def test_truncated_and_foreign_weights_are_told(self, tmp_path, toy_weights):
        folder = tmp_path / "taef2"
        folder.mkdir()
        whole = (toy_weights / "taef2" / "taef2_encoder.pth").read_bytes()
        (folder / "taef2_encoder.pth").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match="truncated"):
            load_autoencoder(folder)
        with pytest.raises(UserError, match="holds no autoencoder"):
            load_autoencoder(tmp_path)
        unet = toy_weights / "stable-diffusion-1.4" / "unet"
        with pytest.raises(UserError, match="UNet2DConditionModel"):
            load_autoencoder(unet)


# What the extractors give for the toys' weights, which do not depend on how a library
# draws them: a library that changes what it computes is found by it.
GOLDEN = {
    "latent": [0.0010934, 0.14606, 0.22175, -0.8642, -0.99238, -0.40853, 0.66765],
    "latent-kl": [
        0.05095,
        0.0057394,
        0.056536,
        -0.067881,
        -0.090753,
        -0.0091303,
        0.096712,
    ],
    "clip-vision": [
        -0.48533,
        -0.095847,
        0.34444,
        -0.031095,
        -0.10632,
        0.24019,
        0.17648,
    ],
    "clip-text": [0.075046, 0.039889, 0.080291, -0.14866, -0.15315, -0.35741, 0.23002],
    "clip-text-hidden": [
        -1.8705,
        -0.29101,
        0.16783,
        0.23889,
        -0.46188,
        0.10309,
        0.78598,
    ],
    "vdvae": [0.35632, -0.55683, 0.3241, 1.1249, -0.38135, -0.041551, 0.76714],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_features_of_fixed_weights_stay_what_they_were(name, machine, pictures):
    space = {
        "latent": Latent(machine=machine),
        "latent-kl": Latent("stable-diffusion-1.4", machine=machine),
        "clip-vision": ClipVision(machine=machine),
        "clip-text": ClipText(machine=machine),
        "clip-text-hidden": ClipText("hidden", "stable-diffusion-1.4", machine),
        "vdvae": Vdvae(3, architecture=TOY_VDVAE, machine=machine),
    }[name]
    of_captions = name.startswith("clip-text")
    items = [("a dog", "two cats"), ("grey",)] if of_captions else pictures
    values = space.encode(items).reshape(2, -1)
    found = [*values[0, :3], *values[1, -3:], np.abs(values).mean()]
    np.testing.assert_allclose(found, GOLDEN[name], rtol=2e-3, atol=2e-4)

"""The generator ``icnn``, real classes: what it finds, over what; bad input."""

import sys
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from bids_recon.datatypes import Decoded, Targets
from bids_recon.decoders.ridge import Ridge
from bids_recon.decoders.unit_ridge import UnitRidge
from bids_recon.errors import UserError
from bids_recon.evaluation.identification import two_way
from bids_recon.evaluation.metrics import correlation_matrix
from bids_recon.features.network import Network
from bids_recon.features.pixels import Pixels
from bids_recon.generators.feature_inversion import FeatureInversion
from bids_recon.machine import Machine
from bids_recon.networks.autoencoders import (
    load_autoencoder,
    reduction,
    unbounded_pictures,
)
from bids_recon.networks.deconvolution import (
    DGN_BOUNDS,
    DGN_FILE,
    DeconvolutionGenerator,
    load_deconvolution,
)
from bids_recon.stages.decode.layer_scale import LayerScale

OWN = """
import torch

def network():
    convolutions = (
        torch.nn.Conv2d(n_in, n_out, 3, stride, padding=1)
        for n_in, n_out, stride in ((3, 8, 1), (8, 16, 2), (16, 16, 2))
    )
    layers = []
    for layer in convolutions:
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])
"""

LAYERS = ("0", "2", "4")
"""The three convolutions, before their ReLU."""


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory):
    """Weights of a random network, whose module can be imported."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "random_network.py").write_text(OWN)
    sys.path.insert(0, str(folder))
    generator = torch.Generator().manual_seed(0)
    state = {}
    for layer, n_in, n_out in (("0", 3, 8), ("2", 8, 16), ("4", 16, 16)):
        weight = torch.randn(n_out, n_in, 3, 3, generator=generator)
        state[f"{layer}.weight"] = weight * (2 / (9 * n_in)) ** 0.5
        state[f"{layer}.bias"] = torch.zeros(n_out)
    save_file(state, folder / "random.safetensors")
    yield str(folder / "random.safetensors")
    sys.path.remove(str(folder))
    sys.modules.pop("random_network", None)


@pytest.fixture(scope="module")
def spaces(weights):
    machine = Machine()
    return {
        layer: Network(layer, "random_network:network", weights, machine=machine)
        for layer in LAYERS
    }


def smooth_pictures(n, side=32, seed=0):
    """Draw pictures in colour that vary slowly."""
    rng = np.random.default_rng(seed)
    small = rng.random((n, 3, side // 4, side // 4))
    return zoom(small, (1, 1, 4, 4), order=1).astype(np.float32)


def decoded_from(spaces, pictures):
    return {
        f"features/{name}": Decoded(
            space.fit(pictures).encode(pictures), replace(space).fit(pictures)
        )
        for name, space in spaces.items()
    }


def correlations(made, true):
    return [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(made, true, strict=True)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"rate": (2.0, 1e-10)},
        {"optimizer": "lbfgs", "bounds": "picture", "steps": 100},
        {"optimizer": "adam", "rate": (8.0, 1.0)},
        {"loss": "l1"},
        {"layers": "equal"},
        {"start": "random"},
        {"relu": "post", "start": "random"},
    ],
)
def test_true_features_give_the_picture_back(spaces, options):
    options = {**options}
    relu = options.pop("relu", "pre")
    own = {name: replace(space, relu=relu) for name, space in spaces.items()}
    pictures = smooth_pictures(1, side=24)
    generator = FeatureInversion(**options)
    made = generator.generate(decoded_from(own, pictures), 1)
    assert made.shape == pictures.shape
    assert made.dtype == np.float32
    assert 0 <= made.min() < made.max() <= 1
    assert min(correlations(made, pictures)) > (0.98 if relu == "post" else 0.99)
    for curve in generator.curves:
        assert curve[-1] < 0.01 * curve[0]


@pytest.mark.parametrize("loss", ["inner", "gram"])
def test_losses_that_do_not_fix_a_picture_become_small(spaces, loss):
    pictures = smooth_pictures(2)
    # A random network sees nothing in the mean colour, where the Gram matrix is flat.
    generator = FeatureInversion(loss=loss, steps=100, bounds="picture", start="random")
    generator.generate(decoded_from(spaces, pictures), 1)
    for curve in generator.curves:
        assert curve[-1] < (curve[0] if loss == "inner" else 0.01 * curve[0])


def test_a_thinned_layer_is_compared_on_the_units_that_are_kept(spaces):
    pictures = smooth_pictures(1)
    thinned = {"0": replace(spaces["0"], units=4000), "4": spaces["4"]}
    made = FeatureInversion().generate(decoded_from(thinned, pictures), 1)
    assert correlations(made, pictures)[0] > 0.98


def test_one_picture_alone_gives_what_it_gives_among_others(spaces):
    pictures = smooth_pictures(5)
    decoded = decoded_from(spaces, pictures)
    for options in ({}, {"batch": 2}, {"optimizer": "lbfgs"}):
        generator = FeatureInversion(steps=5, start="random", **options)
        together = generator.generate(decoded, 7)
        assert len(generator.curves) == 5
        one = {name: Decoded(p.values[2:3], p.space) for name, p in decoded.items()}
        np.testing.assert_array_equal(generator.generate(one, 7)[0], together[2])
        assert not np.array_equal(generator.generate(one, 8)[0], together[2])


def test_it_begins_with_the_picture_of_another_recipe(spaces):
    pictures = smooth_pictures(2)
    first = smooth_pictures(2, side=16, seed=5)
    decoded = decoded_from(spaces, pictures)
    decoded["init"] = Decoded(first, None)
    # So small a step shows what was begun with, in the size of the features.
    made = FeatureInversion(init="eigenimage", steps=1, rate=(1e-6, 0.0)).generate(
        decoded, 1
    )
    back = made.reshape(2, 3, 16, 2, 16, 2).mean(axis=(3, 5))
    assert min(correlations(back, first)) > 0.99


def test_layers_of_two_encoders_of_different_sides(spaces, weights):
    pictures = smooth_pictures(1)
    both = {
        "0": spaces["0"],
        "small": Network("4", "random_network:network", weights, side=24),
    }
    decoded = decoded_from(both, pictures)
    generator = FeatureInversion()
    made = generator.generate(decoded, 1)
    # The true picture has no loss: both encoders get it as when it was encoded.
    loss = generator._goals.loss(
        {name.split("/")[1]: part.values for name, part in decoded.items()},
        torch.from_numpy(pictures),
    )
    assert float(loss(torch.from_numpy(pictures))) < 1e-8
    assert correlations(made, pictures)[0] > 0.99


def test_stretching_clips_so_many_percent_and_fills_the_greys():
    picture = np.linspace(-3, 5, 3 * 100).reshape(3, 10, 10)
    generator = FeatureInversion(stretch=4.0)
    found = generator._shown(picture)
    low, high = np.percentile(picture, [2, 98])
    expected = (np.clip(picture, low, high) - low) / (high - low)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found == 0).sum() == (found == 1).sum() == 6
    shown = FeatureInversion()._shown(picture)
    np.testing.assert_allclose(shown, np.clip(picture, 0, 1), atol=1e-6)


def test_the_archive_of_deep_generator_networks(tmp_path):
    # Of the published sides, with few inputs and hidden units.
    network = DeconvolutionGenerator(
        24, 256, 32, 256, generator=torch.Generator().manual_seed(2)
    ).eval()
    state = network.state_dict()
    state |= {f"defc.{n}.weight": torch.zeros(1) for n in range(2)}
    torch.save(state, tmp_path / "generator.pt")
    archive, bounds = tmp_path / "generators.zip", np.arange(24) + 0.5
    with ZipFile(archive, "w") as file:
        file.writestr("generators/pool5/act_range_3x.txt", "1 2 3")
        file.writestr("generators/pool5/generator.pt", b"of another layer")
        file.write(tmp_path / "generator.pt", f"generators/{DGN_FILE}")
        file.writestr(f"generators/{DGN_BOUNDS}", " ".join(map(str, bounds)) + "\n")
    found, upper = load_deconvolution(archive)
    x = torch.rand(1, 24)
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x))
    np.testing.assert_array_equal(upper, bounds)
    assert load_deconvolution(tmp_path / "generator.pt")[1] is None
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_deconvolution(archive)


def test_over_the_inputs_of_a_deep_generator_network(spaces, tmp_path):
    drawn = torch.Generator().manual_seed(3)
    network = DeconvolutionGenerator(64, 32, 64, 16, generator=drawn)
    network.requires_grad_(False)
    network.deconv0.weight.mul_(30)
    latent = 12 * torch.rand(1, 64, generator=drawn)
    mean = torch.tensor([122.678914, 116.668768, 104.006988]) / 255
    # It makes blue, green and red, about the mean colour.
    picture = (network(latent).flip(1) / 255 + mean.view(3, 1, 1)).numpy()
    weights, bounds = tmp_path / "generator.pt", tmp_path / "upper.txt"
    torch.save(network.state_dict(), weights)
    bounds.write_text("\n".join(["14"] * 64))
    decoded = decoded_from(spaces, picture)
    generator = FeatureInversion(
        over="dgn", weights=str(weights), bounds=str(bounds), decay=(0.001, 0.0)
    )
    # A small one in the place of the published, which is the only one that loads.
    generator._model = (network, None)
    found = generator.generate(decoded, 1)
    assert correlations(found, np.clip(picture, 0, 1))[0] > 0.95
    assert generator.curves[0][-1] < 0.05 * generator.curves[0][0]
    bounds.write_text("1 2 3")
    with pytest.raises(UserError, match=r"expected 64 upper bounds.* found 3"):
        generator.generate(decoded, 1)
    bounds.write_text("1 two 3")
    with pytest.raises(UserError, match="upper bounds"):
        generator.generate(decoded, 1)
    generator.bounds = "published"
    with pytest.raises(UserError, match="found none"):
        generator.generate(decoded, 1)


@pytest.mark.parametrize("name", ["taef2", "stable-diffusion-1.4"])
@pytest.mark.parametrize("begun", [False, True])
def test_over_the_latent_of_an_autoencoder(toy_weights, spaces, name, begun):
    # What the autoencoder can make: the loss may go to nought.
    model = load_autoencoder(toy_weights / name)
    latent = torch.zeros(1, model.config.latent_channels, *[32 // reduction(model)] * 2)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        latent = latent + 0.5 * torch.randn(latent.shape, generator=drawn)
        pictures = unbounded_pictures(model, latent).numpy()
    decoded = decoded_from(spaces, pictures)
    if begun:
        decoded["init"] = Decoded(pictures, None)
    generator = FeatureInversion(
        over="autoencoder",
        weights=str(toy_weights / name),
        optimizer="adam",
        rate=(0.03, 0.0),
        steps=25,
        init="eigenimage" if begun else None,
    )
    made = generator.generate(decoded, 1)
    assert made.shape == pictures.shape
    assert generator.curves[0][-1] < 0.9 * generator.curves[0][0]


def test_over_the_weights_of_an_untrained_network(spaces):
    pictures = smooth_pictures(2, side=16)
    decoded = decoded_from(spaces, pictures)
    generator = FeatureInversion(
        over="image-prior",
        optimizer="adam",
        rate=(0.02, 0.02),
        steps=100,
        channels=(16, 16, 16),
        batch=2,
    )
    made = generator.generate(decoded, 1)
    assert min(correlations(made, pictures)) > 0.85


def test_decoded_features_of_another_shape_are_told(spaces):
    pictures = smooth_pictures(1)
    decoded = decoded_from(spaces, pictures)
    part = decoded["features/2"]
    decoded["features/2"] = Decoded(part.values[:, :, :8], part.space)
    with pytest.raises(UserError) as told:
        FeatureInversion().generate(decoded, 1)
    assert str(told.value) == (
        "The decoded features of '2' have the shape 16 x 8 x 16, and the layer '2' of "
        "random_network:network has 16 x 16 x 16 for pictures of 32 x 32 pixels. "
        "Decode them again with the same encoder, side and units."
    )


def test_gram_needs_channels_and_places(spaces):
    pictures = smooth_pictures(1)
    thinned = {"0": replace(spaces["0"], units=10)}
    with pytest.raises(UserError, match="compares channels over places"):
        FeatureInversion(loss="gram").generate(decoded_from(thinned, pictures), 1)


def test_a_loss_that_is_no_number_is_told(spaces):
    decoded = decoded_from(spaces, smooth_pictures(1))
    decoded["features/4"].values[0, 0, 0, 0] = np.inf
    for optimizer in ("gd", "lbfgs", "adam"):
        with pytest.raises(UserError, match="is not a number at step 1"):
            FeatureInversion(optimizer=optimizer).generate(decoded, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"over": "voxels"}, "over is one of"),
        ({"over": "dgn"}, "over: dgn needs weights"),
        ({"weights": "taef2"}, "over: pixels has no weights"),
        ({"over": "autoencoder", "weights": "no-such"}, "There are no weights called"),
        ({"steps": 0}, "steps are 1 to"),
        ({"rate": (0.0, 1.0)}, "rate is above 0"),
        ({"momentum": 1.0}, "momentum is 0 or more"),
        ({"decay": (1.0, 0.0)}, "decay is 0 or more"),
        ({"blur": (-1.0, 0.0)}, "blur is 0 or more"),
        ({"stretch": 100.0}, "stretch is null or"),
        ({"channels": ()}, "channels are numbers"),
        ({"batch": 0}, "batch is null or"),
        ({"over": "image-prior", "init": "eigenimage"}, "cannot begin with a picture"),
        ({"over": "image-prior", "blur": (1.0, 1.0)}, "blur is for over: pixels"),
        ({"optimizer": "lbfgs", "batch": 2}, "are for optimizers gd and adam"),
        ({"bounds": (1.0, 0.0)}, "two numbers that rise"),
        ({"bounds": (0.0, 1.0)}, "bounds: picture is for over: pixels"),
        ({"bounds": "published"}, "bounds: picture is for over: pixels"),
        ({"features": ()}, "features are needed"),
    ],
)
def test_options_that_cannot_be_are_told(options, said):
    with pytest.raises((ValueError, UserError), match=said):
        FeatureInversion(**options)


def simulated_voxels(pictures, rng, n_voxels=300, noise=1.0):
    """Return responses of voxels with Gaussian receptive fields, and noise."""
    side = pictures.shape[-1]
    places = (np.arange(side) + 0.5) / side
    centres = rng.uniform(0.1, 0.9, (2, n_voxels, 1))
    sizes = 2 * rng.uniform(0.04, 0.12, (n_voxels, 1)) ** 2
    down, across = np.exp(-((places - centres) ** 2) / sizes)
    seen = np.einsum("nhw,vh,vw->nv", pictures[:, 0], down, across)
    seen /= seen[:600].std(axis=0)
    return seen + noise * rng.standard_normal(seen.shape)


def test_from_decoded_features_it_identifies_as_well_as_ridge_to_pixels(spaces):
    rng = np.random.default_rng(0)
    digits = load_digits().images[rng.permutation(1797)[:630]] / 16
    large = zoom(digits, (1, 4, 4), order=1)
    pictures = np.repeat(large[:, None], 3, axis=1).astype(np.float32)
    X = simulated_voxels(pictures, rng)
    train, test = slice(600), slice(600, 630)
    groups = np.arange(600)
    pixels = Ridge().fit(X[train], Pixels().encode(pictures[train]), groups)
    by_ridge = pixels.predict(X[test]).reshape(30, *pictures.shape[1:])
    decoded = {}
    for name, space in spaces.items():
        Y = Targets(space.fit(pictures).encode(pictures[train]), groups)
        values = UnitRidge(alpha=100.0, k_best=None).fit(X[train], Y, groups)
        values = values.predict(X[test])
        scale = LayerScale.learn("train-centred", Y)
        decoded[f"features/{name}"] = Decoded(scale._rescaled(values), space)
    by_inversion = FeatureInversion(batch=10).generate(decoded, 1)
    flat = pictures[test].reshape(30, -1)

    def identified(made):
        return np.diag(two_way(correlation_matrix(flat, made.reshape(30, -1)))).mean()

    assert identified(by_inversion) >= identified(by_ridge) > 0.9
    assert np.mean(correlations(by_inversion, pictures[test])) > 0.85

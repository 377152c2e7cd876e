"""Encoders by name and of one's own: what layers give, against hooks of torchvision."""

import sys
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch.nn.functional import avg_pool2d, leaky_relu, linear, max_pool2d

from bids_recon.errors import UserError
from bids_recon.features.network import Network
from bids_recon.machine import Machine
from bids_recon.networks import ENCODERS
from bids_recon.networks.encoders import ILSVRC, IMAGENET
from bids_recon.registry import load

VGG19_CHANNELS = (64, 64, 128, 128, *(256,) * 4, *(512,) * 8)
POOLED = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vgg19_state():
    """Random weights of VGG-19, its wide layers with the same row in each unit."""
    generator = torch.Generator().manual_seed(1)
    state, n_in = {}, 3
    convolutions = [n for n in range(36) if n in VGG19_PLACES.values()]
    for place, n_out in zip(convolutions, VGG19_CHANNELS, strict=True):
        weight = torch.randn(n_out, n_in, 3, 3, generator=generator)
        state[f"features.{place}.weight"] = weight * (2 / (9 * n_in)) ** 0.5
        state[f"features.{place}.bias"] = 0.1 * torch.randn(n_out, generator=generator)
        n_in = n_out
    for place, n_in, n_out in ((0, 25088, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        row = torch.randn(1, n_in, generator=generator) * (1 / n_in) ** 0.5
        state[f"classifier.{place}.weight"] = row.expand(n_out, n_in)
        bias = torch.randn(n_out, generator=generator)
        state[f"classifier.{place}.bias"] = bias
    return state


VGG19_PLACES = dict(
    zip(
        [
            f"conv{block}_{n + 1}"
            for block, n_layers in enumerate((2, 2, 4, 4, 4), start=1)
            for n in range(n_layers)
        ],
        (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
        strict=True,
    )
)


def by_definition(state, x, *, slope=0.0, pool=max_pool2d):
    """Return the layers of VGG-19 before their ReLU."""
    found = {}
    for name, place in VGG19_PLACES.items():
        weight, bias = (
            state[f"features.{place}.{kind}"] for kind in ("weight", "bias")
        )
        found[name] = torch.conv2d(x, weight, bias, padding=1)
        x = leaky_relu(found[name], slope)
        x = pool(x, 2) if name in POOLED else x
    x = torch.nn.functional.adaptive_avg_pool2d(x, 7).flatten(1)
    for n, place in enumerate((0, 3, 6)):
        weight, bias = (
            state[f"classifier.{place}.{kind}"] for kind in ("weight", "bias")
        )
        found[f"fc{6 + n}"] = linear(x, weight, bias)
        x = leaky_relu(found[f"fc{6 + n}"], slope)
    return found


def activations(encoder, pictures, layers):
    with torch.no_grad():
        return dict(zip(layers, encoder.activations(pictures, layers), strict=True))


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = values.abs().max()
        torch.testing.assert_close(found[name] / scale, values / scale, msg=name)


def normalised(pictures, mean, std):
    return torchvision.transforms.functional.normalize(pictures, mean, std)


def test_all_19_layers_of_vgg19_come_before_their_relu(tmp_path, vgg19_state, pictures):
    torch.save(vgg19_state, tmp_path / "vgg19.pth")
    encoder = load(ENCODERS, "encoder", "vgg19")(tmp_path / "vgg19.pth")
    assert len(encoder.names) == 19
    expected = by_definition(vgg19_state, normalised(pictures, *IMAGENET))
    close(activations(encoder, pictures, list(encoder.names)), expected)
    # In another order and with a layer twice: each is what was asked for.
    fc8, first, again = encoder.activations(pictures, ["fc8", "conv1_1", "conv1_1"])
    torch.testing.assert_close(first, again)
    assert (first < 0).any()
    assert fc8.shape == (2, 1000)


@pytest.mark.parametrize("name", ["vgg19-caffe", "vgg19-caffe-leaky"])
def test_the_archive_of_caffes_vgg19(tmp_path, vgg19_state, pictures, name):
    path = tmp_path / "VGG_ILSVRC_19_layers.zip"
    torch.save(vgg19_state, tmp_path / "state.pt")
    with ZipFile(path, "w") as archive:
        archive.writestr("VGG_ILSVRC_19_layers/readme.md", "weights")
        archive.write(
            tmp_path / "state.pt", "VGG_ILSVRC_19_layers/VGG_ILSVRC_19_layers.pt"
        )
    # Caffe gets blue, green and red in 0 to 255, less their means.
    mean = torch.tensor([104.006988, 116.668768, 122.678914]).view(1, 3, 1, 1)
    blue_first = 255 * pictures.flip(1) - mean
    how = {"slope": 0.2, "pool": avg_pool2d} if name.endswith("leaky") else {}
    encoder = load(ENCODERS, "encoder", name)(path)
    assert (encoder.mean, encoder.std) == ILSVRC
    found = activations(encoder, pictures, list(encoder.names))
    close(found, by_definition(vgg19_state, blue_first, **how))


@pytest.mark.parametrize("name", ["alexnet", "resnet50"])
def test_named_layers_are_modules_of_torchvision(tmp_path, pictures, name):
    torch.manual_seed(2)
    network = getattr(torchvision.models, name)(weights=None).eval()
    for own in network.modules():
        if isinstance(own, torch.nn.ReLU):
            own.inplace = False
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    encoder = load(ENCODERS, "encoder", name)(tmp_path / "weights.pth")
    layers, expected = list(encoder.names), {}
    modules = [network.get_submodule(encoder.names[layer]) for layer in layers]
    hooks = [
        module.register_forward_hook(
            lambda _m, _i, out, layer=layer: expected.setdefault(layer, out)
        )
        for layer, module in zip(layers, modules, strict=True)
    ]
    large = torchvision.transforms.functional.resize(pictures, 70)
    with torch.no_grad():
        network(normalised(large, *IMAGENET))
    assert len(hooks) == len(expected) == {"alexnet": 8, "resnet50": 19}[name]
    close(activations(encoder, large, layers), expected)
    if name == "alexnet":
        assert all(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in modules)


def test_tokens_of_clip_and_dinov2_are_their_hidden_states(tmp_path):
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
        Dinov2Config,
        Dinov2Model,
    )

    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    torch.manual_seed(0)
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, projection_dim=8))
    dinov2 = Dinov2Model(Dinov2Config(**sizes, mlp_ratio=2))
    pictures = torch.rand(2, 3, 28, 28)
    for name, network in (("clip-vit-l-14", clip), ("dinov2-base", dinov2)):
        network.eval().save_pretrained(tmp_path / name)
        encoder = load(ENCODERS, "encoder", name)(tmp_path / name)
        batch = normalised(pictures, encoder.mean, encoder.std)
        with torch.no_grad():
            out = network(pixel_values=batch, output_hidden_states=True)
        expected = {f"hidden.{n}": out.hidden_states[n] for n in range(4)}
        if name == "clip-vit-l-14":
            expected["projected"] = out.image_embeds
        else:
            expected["normalised"] = out.last_hidden_state
        # Twice, because the computation ends in the middle.
        for _ in range(2):
            close(activations(encoder, pictures, list(expected)), expected)
            close(
                activations(encoder, pictures, ["hidden.1"]),
                {"hidden.1": expected["hidden.1"]},
            )


OWN = """
import torch
from bids_recon.networks.encoders import Encoder

def plain():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True))

def named():
    return Encoder(plain(), (0.5,) * 3, (0.25,) * 3, names={"first": "0"})

def broken():
    raise RuntimeError("no such part")

def number():
    return 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own, and the weights of its network."""
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    path = tmp_path / "own.safetensors"
    save_file({"0.weight": weight, "0.bias": torch.zeros(4)}, path)
    return path, weight


@pytest.mark.parametrize(
    ("attribute", "layer", "mean", "std"),
    [("plain", "0", *IMAGENET), ("named", "first", (0.5,) * 3, (0.25,) * 3)],
)
@pytest.mark.parametrize("relu", ["pre", "post"])
def test_an_encoder_of_ones_own(own, pictures, attribute, layer, mean, std, relu):
    path, weight = own
    space = Network(layer, f"own_networks:{attribute}", str(path), relu=relu)
    found = space.fit(pictures.numpy()).encode(pictures.numpy())
    expected = torch.conv2d(normalised(pictures, mean, std), weight)
    expected = expected.relu() if relu == "post" else expected
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found < 0).any() == (relu == "pre")


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("own_networks:broken", r"cannot be made \(RuntimeError: no such part\)"),
        ("own_networks:number", "returned int, expected a torch.nn.Module"),
        ("own_networks:missing", "cannot be made .AttributeError"),
        ("no_such_module_here:net", "cannot be made .ModuleNotFoundError"),
    ],
)
def test_what_is_no_encoder_is_told(own, encoder, said):
    space = Network("0", encoder, str(own[0]))
    with pytest.raises(UserError, match=said):
        space.check([space])


def test_weights_that_do_not_fit_ones_own_encoder_are_told(own, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"0.weight": torch.zeros(5, 3, 3, 3), "0.bias": torch.zeros(5)}, path)
    space = Network("0", "own_networks:plain", str(path))
    with pytest.raises(UserError, match="these weights do not fit Sequential"):
        space.load()
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        space.load()


def test_a_layer_that_is_not_there_is_told_with_those_that_are(own):
    spaces = [
        Network(layer, "own_networks:named", str(own[0])) for layer in ("0", "conv9")
    ]
    with pytest.raises(UserError) as told:
        spaces[0].check(spaces)
    assert str(told.value) == (
        "The encoder Sequential has no layer 'conv9'. It has first, and modules by "
        "their own names."
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": "vgg20"}, "There is no encoder called 'vgg20'"),
        ({"encoder": "a b:c"}, "encoder is a name or module:attribute"),
        ({"encoder": "own:net"}, "needs weights: its file"),
        ({"relu": "both"}, "relu is one of"),
        ({"side": 0}, "side is null or 1 to 4096"),
        ({"units": 0}, "units are null or at least 1"),
        ({"seed": -1}, "seed is at least 0"),
        ({"encoder": "vgg19-caffe-leaky"}, "There are no weights called"),
    ],
)
def test_options_that_cannot_be_are_told(options, said):
    with pytest.raises((ValueError, UserError), match=said):
        Network("conv1_1", **options)


def test_a_large_layer_is_thinned_evenly_and_the_same_each_time(own, pictures):
    path, _ = own
    where = {"encoder": "own_networks:plain", "weights": str(path)}
    whole = Network("0", **where).encode(pictures.numpy())
    assert whole.shape == (2, 4, 38, 38)
    thinned = Network("0", units=300, **where)
    found = thinned.encode(pictures.numpy())
    kept = thinned.kept(4 * 38 * 38)
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(found, whole.reshape(2, -1)[:, kept])
    # By places alike: each of the four channels has a quarter, within 5 deviations.
    shares = np.bincount(kept // 38**2, minlength=4)
    assert (abs(shares - 75) < 5 * (300 * 0.25 * 0.75) ** 0.5).all()
    assert not np.array_equal(Network("0", units=300, seed=1, **where).kept(5776), kept)
    # One that is small enough keeps its shape.
    assert Network("0", units=5776, **where).encode(pictures.numpy()).ndim == 4


def test_layers_of_one_encoder_are_computed_at_once(own, pictures):
    path, _ = own
    spaces = [
        Network(layer, "own_networks:plain", str(path), machine=Machine(), units=units)
        for layer, units in (("0", None), ("1", 50))
    ]
    parts = [found for _, found in Network.batches_of(spaces, pictures.numpy())]
    for n, space in enumerate(spaces):
        together = np.concatenate([found[n] for found in parts])
        np.testing.assert_array_equal(together, space.encode(pictures.numpy()))

"""The networks of the generator that learns to draw, and CaffeNet's weights."""

import struct

import numpy as np
import pytest
import torch
from torch.nn import functional

from bids_recon.decoders.gan import GAN
from bids_recon.errors import UserError
from bids_recon.networks.adversarial import (
    Discriminator,
    PictureGenerator,
    discriminator_layers,
)
from bids_recon.networks.caffenet import CONVOLUTIONS, caffenet
from bids_recon.recipe_file import read_recipe

E2E = read_recipe("shen2019-e2e").decode["pixels"].decoder.options


def spatial(network, x):
    """Return the shape that each layer of a network gives."""
    shapes = []
    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _m, _i, out: shapes.append(out.shape))
    network(x)
    return [tuple(shape[1:]) for shape in shapes]


def test_the_published_layers():
    # Figures are of discriminator.prototxt and generator.prototxt, written by hand.
    decoder = GAN(**E2E)
    decoder.shape_, decoder.x_mean_ = np.array((3, 248, 248)), np.zeros(9)
    with torch.device("meta"):
        generator = decoder._network()
        discriminator = Discriminator(generator.side, decoder.width)
        told = spatial(discriminator, torch.empty(1, 3, 227, 227))
        drawn = spatial(generator.layers, torch.empty(1, 9))
    assert told == [(32, 56, 56), (64, 52, 52), (128, 25, 25), (256, 23, 23),
                    (256, 11, 11), (256,), (2,)]  # fmt: skip
    assert drawn == [(4096,), (4096,), (4096,), (256, 8, 8), (512, 8, 8),
                     (256, 16, 16), (256, 16, 16), (128, 32, 32), (128, 32, 32),
                     (64, 64, 64), (32, 128, 128), (3, 256, 256)]  # fmt: skip
    shapes = [tuple(layer.weight.shape) for layer in discriminator.convolutions]
    assert shapes == [(32, 3, 7, 7), (64, 32, 5, 5), (128, 64, 3, 3), (256, 128, 3, 3),
                      (256, 256, 3, 3)]  # fmt: skip
    assert (generator.side, generator.whole) == (227, 248)
    # 39.3 million values beside 4096 a voxel, and 1.08 million.
    n_drawn = sum(p.numel() for p in generator.parameters()) - 9 * 4096
    assert n_drawn == pytest.approx(39.3e6, rel=0.01)
    n_told = sum(p.numel() for p in discriminator.parameters())
    assert n_told == pytest.approx(1.08e6, rel=0.01)
    # Only the linear layers of the generator have biases that learn.
    biases = [name for name, _ in generator.named_parameters() if "bias" in name]
    assert biases == [f"layers.defc{n}.bias" for n in (7, 6, 5)]


@pytest.mark.parametrize(
    ("side", "n_layers", "first_stride", "places"),
    [
        (28, 3, 2, 5),
        (32, 3, 2, 6),
        (33, 4, 1, 5),
        (64, 4, 1, 13),
        (65, 5, 2, 4),
        (128, 5, 2, 12),
        (129, 5, 4, 5),
        (256, 5, 4, 13),
    ],
)
def test_smaller_pictures_have_fewer_layers(side, n_layers, first_stride, places):
    layers = discriminator_layers(side, 64)
    assert len(layers) == n_layers
    assert layers[0][2] == first_stride
    assert layers[-1][0] == 64
    network = Discriminator(side, 16)
    assert spatial(network, torch.zeros(1, 3, side, side))[-3][1:] == (places, places)


def test_first_weights_have_the_published_spread():
    torch.manual_seed(0)
    network = Discriminator(227)
    fans = {"convolutions.0": 0.1 * (2 / 147) ** 0.5,
            "convolutions.3": (2 / 1152) ** 0.5,
            "hidden": 0.1 * (2 / 256) ** 0.5}  # fmt: skip
    for name, spread in fans.items():
        layer = network.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.03)
        assert not layer.bias.any()


def test_targets_are_cut_and_what_is_drawn_is_put_back():
    network = PictureGenerator(4, (248, 248), 227, 248, 8, 8)
    pictures = torch.arange(2 * 3 * 248 * 248, dtype=torch.float32)
    pictures = pictures.view(2, 3, 248, 248)
    centre = network.cut(network.wanted(pictures.flatten(1)), anywhere=False)
    assert torch.equal(centre, pictures[:, :, 10:237, 10:237])
    torch.manual_seed(0)
    cuts = network.cut(pictures, anywhere=True)
    # The first value says where a cut began.
    places = [(int(cut[0, 0, 0]) - n * 3 * 248**2) for n, cut in enumerate(cuts)]
    assert len(set(places)) == 2
    assert all(max(divmod(place, 248)) <= 21 for place in places)
    network.draw = lambda x: centre
    shown = network(torch.zeros(2, 4)).view(2, 3, 248, 248)
    assert torch.equal(shown[:, :, 10:237, 10:237], centre)
    assert torch.equal(
        shown[:, :, :10, 10:237], centre[:, :, :1].expand(-1, -1, 10, -1)
    )


def message(*fields):
    """Return fields (number, bytes or int or list) as protocol buffers have them."""
    out = b""
    for number, value in fields:
        out += integer(number << 3 | (0 if isinstance(value, int) else 2))
        out += integer(value) if isinstance(value, int) else integer(len(value)) + value
    return out


def integer(value):
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def blob(values, old):
    data = struct.pack(f"<{values.size}f", *values.ravel())
    dims = values.shape if values.ndim == 4 else (1, 1, 1, len(values))
    if old:
        return message(*enumerate(dims, 1), (5, data))
    shape = message((1, b"".join(map(integer, values.shape))))
    return message((7, shape), (5, data))


@pytest.fixture(scope="module", params=["old", "new"])
def caffemodel(request, tmp_path_factory):
    """A file of Caffe with random weights, and these."""
    rng, old = np.random.default_rng(0), request.param == "old"
    parts, weights = [], {}
    for name, (n_in, n_out, size, _, _, groups) in CONVOLUTIONS.items():
        shape = (n_out, n_in // groups, size, size)
        weight = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        bias = rng.standard_normal(n_out)
        weights[name] = [part.astype(np.float32) for part in (weight, bias)]
        own = [((6 if old else 7), blob(part, old)) for part in weights[name]]
        own = message(((4 if old else 1), name.encode()), *own)
        parts.append(((2 if old else 100), own))
    path = tmp_path_factory.mktemp("caffe") / "bvlc_reference_caffenet.caffemodel"
    path.write_bytes(message((1, b"CaffeNet"), *parts))
    return path, weights


def test_caffenet_against_its_layers_by_hand(caffemodel):
    path, weights = caffemodel
    pictures = torch.rand(1, 3, 227, 227, generator=torch.manual_seed(1))
    found = caffenet(path).activations(pictures, ["pool5"])[0]
    assert found.shape == (1, 256, 6, 6)
    # Blue, green and red in 0 to 255, less their means.
    means = torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
    x = 255 * pictures.flip(1) - means
    for name, (_, _, _, stride, padding, groups) in CONVOLUTIONS.items():
        weight, bias = map(torch.from_numpy, weights[name])
        x = functional.conv2d(x, weight, bias, stride, padding, groups=groups).relu()
        if name in ("conv1", "conv2", "conv5"):
            x = functional.max_pool2d(x, 3, 2)
        if name in ("conv1", "conv2"):
            squares = functional.pad(x**2, (0, 0, 0, 0, 2, 2))
            around = sum(squares[:, k : k + x.shape[1]] for k in range(5))
            x = x / (1 + 1e-4 / 5 * around) ** 0.75
    torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-3)


def test_a_damaged_caffemodel_is_told(caffemodel, tmp_path):
    whole = caffemodel[0].read_bytes()
    path = tmp_path / "cut.caffemodel"
    for part, said in (
        (whole[: len(whole) // 2], "cannot be read as a caffemodel"),
        (b"no weights", "cannot be read as a caffemodel"),
        (b"", "do not fit Sequential"),
    ):
        path.write_bytes(part)
        with pytest.raises(UserError, match=said):
            caffenet(path)

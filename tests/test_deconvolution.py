"""The generator by deconvolution: its published layers, and smaller ones."""

import pytest
import torch

from bids_recon.networks.deconvolution import DeconvolutionGenerator


def test_the_published_layers():
    with torch.device("meta"):
        network = DeconvolutionGenerator(4096)
    shapes = {
        name.removesuffix(".weight"): tuple(weight.shape)
        for name, weight in network.named_parameters()
        if name.endswith("weight")
    }
    assert shapes == {
        "defc7": (4096, 4096),
        "defc6": (4096, 4096),
        "defc5": (4096, 4096),
        "deconv5": (256, 256, 4, 4),
        "conv5_1": (256, 512, 3, 3),
        "deconv4": (512, 256, 4, 4),
        "conv4_1": (256, 256, 3, 3),
        "deconv3": (256, 128, 4, 4),
        "conv3_1": (128, 128, 3, 3),
        "deconv2": (128, 64, 4, 4),
        "deconv1": (64, 32, 4, 4),
        "deconv0": (32, 3, 4, 4),
    }


@pytest.mark.parametrize(("side", "n_doublings"), [(28, 3), (32, 3), (33, 4), (64, 4)])
def test_smaller_pictures_go_without_the_first_layers(side, n_doublings):
    network = DeconvolutionGenerator(5, side, n_hidden=6, width=16, bias=False)
    doubling = [name for name in network.deconvolutions if name.startswith("deconv")]
    assert doubling == [f"deconv{n}" for n in reversed(range(n_doublings))]
    assert network(torch.zeros(2, 5)).shape == (2, 3, side, side)
    assert not any(
        name.endswith("bias")
        for name, _ in network.named_parameters()
        if name.startswith("deconv")
    )


def test_the_centre_is_cut_out_and_weights_follow_their_generator():
    whole, cut, other = (
        DeconvolutionGenerator(
            5, side, 6, 16, generator=torch.Generator().manual_seed(seed)
        )
        for side, seed in ((32, 1), (26, 1), (32, 2))
    )
    x = torch.ones(1, 5)
    assert torch.equal(whole(x)[:, :, 3:29, 3:29], cut(x))
    assert not torch.equal(whole(x), other(x))
    # A published standard deviation: 1.8 sqrt(2 / (16 channels of 4 x 4)).
    spread = DeconvolutionGenerator(5, 256, 6, 256).deconv3.weight.std().item()
    assert spread == pytest.approx(1.8 * (2 / (128 * 16)) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"side": 4}, "side is above 4"), ({"width": 12}, "width is a multiple of 8")],
)
def test_sizes_that_cannot_be_made_are_told(options, said):
    with pytest.raises(ValueError, match=said):
        DeconvolutionGenerator(5, **options)

"""The very deep autoencoder, at toy size with random weights and by hand."""

import numpy as np
import pytest
import torch
from toys import TOY_VDVAE, fill

from bids_recon.errors import UserError
from bids_recon.features.vdvae import Vdvae
from bids_recon.machine import Machine
from bids_recon.networks.autoencoders import content_generator
from bids_recon.networks.vdvae import (
    VDVAE,
    Architecture,
    MixtureNet,
    parse_blocks,
)


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


class TestVdvae:
    def test_the_published_layers(self):
        sides = Architecture().latent_sides
        assert len(sides) == 75
        assert sum(16 * side**2 for side in sides[:31]) == 91168
        assert sum(16 * side**2 for side in sides[:10]) == 5152
        with torch.device("meta"):
            model = VDVAE(Architecture())
        # 125 million parameters, as the paper's table of ImageNet 64 says.
        assert round(sum(p.numel() for p in model.parameters()) / 1e6) == 125
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
        assert shapes["encoder.in_conv.weight"] == (512, 3, 3, 3)
        assert shapes["encoder.enc_blocks.0.c2.weight"] == (128, 128, 3, 3)
        assert shapes["encoder.enc_blocks.64.c2.weight"] == (128, 128, 1, 1)
        assert shapes["decoder.dec_blocks.0.enc.c1.weight"] == (128, 1024, 1, 1)
        assert shapes["decoder.dec_blocks.74.prior.c4.weight"] == (544, 128, 1, 1)
        assert shapes["decoder.dec_blocks.3.z_proj.weight"] == (512, 16, 1, 1)
        assert shapes["decoder.dec_blocks.3.resnet.c3.bias"] == (128,)
        assert shapes["decoder.bias_xs.5"] == (1, 512, 64, 64)
        assert shapes["decoder.out_net.out_conv.weight"] == (100, 512, 1, 1)
        assert shapes["decoder.gain"] == (1, 512, 1, 1)

    def test_a_form_that_is_none_is_refused(self):
        assert parse_blocks("4x2,4d2,1") == [
            (4, "x", 1),
            (4, "x", 1),
            (4, "d", 2),
            (1, "x", 1),
        ]
        with pytest.raises(ValueError, match="16x9"):
            parse_blocks("4y2")

    def test_a_network_of_one_block_by_hand(self):
        form = Architecture("2x1", "2x1", 4, 2, 0.5, 2)
        model = fill(VDVAE(form)).double()
        x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(1, 3, 2, 2)
        gelu = torch.nn.functional.gelu
        # Convolutions of 1 x 1 are matrices, for sides of at most 2.
        block = model.decoder.dec_blocks[0]

        def apply(part, h):
            for layer in (part.c1, part.c2, part.c3, part.c4):
                matrix = layer.weight[:, :, 0, 0]
                h = torch.einsum("oi,nihw->nohw", matrix, gelu(h))
                h = h + layer.bias[:, None, None]
            return h

        with torch.no_grad():
            z = model.encode(x, 1, [torch.Generator().manual_seed(7)])[0]
            first = model.encoder.in_conv(x)
            activation = first + apply(model.encoder.enc_blocks[0], first)
            bias = model.decoder.bias_xs[0]
            mean, log_scale = apply(block.enc, torch.cat([bias, activation], 1)).chunk(
                2, 1
            )
            noise = torch.randn((2, 2, 2), generator=torch.Generator().manual_seed(7))
            torch.testing.assert_close(z, mean + log_scale.exp() * noise)
            on = apply(block.prior, bias)[:, 4:]
            h = bias + on
            projected = torch.einsum(
                "oi,nihw->nohw", block.z_proj.weight[:, :, 0, 0], z
            )
            h = h + projected + block.z_proj.bias[:, None, None]
            h = h + apply(block.resnet, h)
            h = h * model.decoder.gain + model.decoder.bias
            expected = model.decoder.out_net.sample(
                h, [torch.Generator().manual_seed(9)]
            )

        with torch.no_grad():
            xs = {2: bias}
            block(xs, None, z, torch.zeros((1, 2, 2, 2), dtype=torch.float64))
            got = model.decoder.out_net.sample(
                xs[2] * model.decoder.gain + model.decoder.bias,
                [torch.Generator().manual_seed(9)],
            )
        torch.testing.assert_close(got, expected)

    def test_the_mixture_is_drawn_as_its_distribution_says(self):
        net = MixtureNet(4)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_()
            bias = net.out_conv.bias
            # Mixture 2 alone, with hardly any width: red 0.5, green 0.1 + 0.2 red, blue
            # -0.3 + 0.1 red + 0.3 green.
            bias[2] = 50.0
            rest = bias[10:].view(3, 3, 10)
            rest[:, 0, 2] = torch.tensor([0.5, 0.1, -0.3])
            rest[:, 1, 2] = -20.0
            coefficients = torch.atanh(torch.tensor([0.2, 0.1, 0.3]))
            rest[:, 2, 2] = coefficients
            drawn = net.sample(
                torch.zeros(1, 4, 1, 1), [torch.Generator().manual_seed(0)]
            )
        red, green, blue = drawn[0, :, 0, 0].tolist()
        assert red == pytest.approx(0.5, abs=0.02)
        assert green == pytest.approx(0.1 + 0.2 * red, abs=0.02)
        assert blue == pytest.approx(-0.3 + 0.1 * red + 0.3 * green, abs=0.02)

    def one_mixture(self, means, log_scale, coefficients):
        """Return a network whose pixels all have one mixture."""
        net = MixtureNet(4)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_()
            net.out_conv.bias[2] = 50.0
            rest = net.out_conv.bias[10:].view(3, 3, 10)
            rest[:, 0, 2] = torch.tensor(means)
            rest[:, 1, 2] = log_scale
            rest[:, 2, 2] = torch.atanh(torch.tensor(coefficients))
        return net

    def test_the_least_width_is_that_of_an_exponent_of_minus_seven(self):
        net = self.one_mixture([0.5, 0.1, -0.3], -20.0, [0.0, 0.0, 0.0])
        with torch.no_grad():
            drawn = net.sample(
                torch.zeros(1, 4, 5, 5), [torch.Generator().manual_seed(0)]
            )[0].numpy()
        # The same draws: which mixture, then where in its logistic distribution.
        rng = torch.Generator().manual_seed(0)
        torch.rand((10, 5, 5), generator=rng)
        u = torch.rand((3, 5, 5), generator=rng).numpy() * (1 - 2e-5) + 1e-5
        means = np.array([0.5, 0.1, -0.3])[:, None, None]
        np.testing.assert_allclose(
            drawn, means + np.exp(-7) * np.log(u / (1 - u)), atol=1e-6
        )

    def test_colours_stay_within_the_range(self):
        for sign in (1, -1):
            net = self.one_mixture(
                [1.5 * sign, 3.0 * sign, 3.0 * sign], -7.0, [0.5] * 3
            )
            with torch.no_grad():
                drawn = net.sample(
                    torch.zeros(1, 4, 2, 2), [torch.Generator().manual_seed(0)]
                )
            np.testing.assert_array_equal(drawn, np.full((1, 3, 2, 2), sign))
        # What lies outside the range does not enter other colours as it is: red and
        # green of 3 count as 1.
        net = self.one_mixture([3.0, 3.0, -0.6], -7.0, [0.5, 0.2, 0.3])
        with torch.no_grad():
            drawn = net.sample(
                torch.zeros(1, 4, 1, 1), [torch.Generator().manual_seed(0)]
            )
        assert float(drawn[0, 2, 0, 0]) == pytest.approx(-0.6 + 0.2 + 0.3, abs=0.02)

    def test_every_layer_that_is_decoded_is_used(self, machine, pictures):
        n_layers = len(Architecture(**TOY_VDVAE).latent_sides)
        space = Vdvae(n_layers, architecture=TOY_VDVAE, machine=machine).fit(pictures)
        model = space._model()
        rng = torch.Generator().manual_seed(5)
        latents = [
            torch.rand(1, 4, side, side, generator=rng)
            for side in model.form.latent_sides
        ]
        made = []

        def layers(given):
            """Return what each block says its latent is."""
            hooks = [
                block.register_forward_hook(lambda _, __, out: made.append(out))
                for block in model.decoder.dec_blocks
            ]
            made.clear()
            with torch.no_grad():
                model.decode(given, [torch.Generator().manual_seed(0)])
            for hook in hooks:
                hook.remove()
            return list(made)

        for count in (1, n_layers - 1, n_layers):
            used = layers(latents[:count])
            assert len(used) == n_layers
            for number, (own, given) in enumerate(zip(used, latents, strict=True)):
                assert torch.equal(own, given) == (number < count)

    def test_pictures_are_what_the_network_makes_of_minus_one_to_one(
        self, machine, pictures
    ):
        space = Vdvae(2, architecture=TOY_VDVAE, machine=machine)
        # At the network's own size, so that nothing is resized.
        space.fit(pictures[:, :, :8, :8])
        values = space.encode(pictures)
        model = space._model()
        row = torch.from_numpy(values[:1])
        latents = [row[:, :4].view(1, 4, 1, 1), row[:, 4:].view(1, 4, 4, 4)]
        with torch.no_grad():
            made = model.decode(latents, [content_generator(values[0], 0)]).numpy()
        assert made.min() < -0.1
        np.testing.assert_allclose(space.decode(values[:1]), made / 2 + 0.5, atol=1e-6)

    def test_pictures_are_scaled_as_the_network_was_trained(self, machine, pictures):
        small = pictures[:, :, :8, :8]
        space = Vdvae(1, architecture=TOY_VDVAE, machine=machine).fit(small)
        model = space._model()
        # The mean and deviation of ImageNet's pixels that the authors' code has.
        scaled = (torch.from_numpy(small) * 255 - 115.92961967) * (1 / 69.37404)
        generators = [content_generator(one, 0) for one in scaled.numpy()]
        with torch.no_grad():
            (expected,) = model.encode(scaled, 1, generators)
        np.testing.assert_allclose(
            space.encode(small), expected.flatten(1), rtol=1e-4, atol=1e-5
        )

    def test_what_is_decoded_has_an_effect_and_the_rest_is_drawn(
        self, machine, pictures
    ):
        space = Vdvae(2, architecture=TOY_VDVAE, machine=machine).fit(pictures)
        values = space.encode(pictures)
        assert values.shape == (2, 4 + 4 * 16)
        made = space.decode(values)
        assert made.shape == pictures.shape
        np.testing.assert_array_equal(made, space.decode(values))
        assert np.abs(made[0] - made[1]).max() > 0.01
        other = Vdvae(2, architecture=TOY_VDVAE, seed=1, machine=machine).fit(pictures)
        assert np.abs(other.decode(values) - made).max() > 0.01

    def test_weights_of_another_shape_are_told(self, machine, pictures):
        wrong = {**TOY_VDVAE, "width": 32}
        space = Vdvae(2, architecture=wrong, machine=machine).fit(pictures)
        with pytest.raises(UserError, match="do not fit VDVAE"):
            space.encode(pictures)

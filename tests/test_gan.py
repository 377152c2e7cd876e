"""The generator that learns to draw: its steps, and what comes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from seen_digits import DRAWING, alike, digits
from torch.nn import functional
from torchvision.models import squeezenet1_1
from toy_gan import CPU, TINY, problem
from toys import fill

from bids_recon.datatypes import Prior
from bids_recon.decoders import training
from bids_recon.decoders.adversarial_training import (
    DRAWN,
    REAL,
    AdversarialTraining,
    Gate,
    rate_at,
)
from bids_recon.decoders.batches import Batches
from bids_recon.decoders.comparator import Comparator
from bids_recon.decoders.gan import GAN
from bids_recon.decoders.ridge import Ridge
from bids_recon.decoders.state import restore, state_of
from bids_recon.errors import UserError
from bids_recon.machine import Machine
from bids_recon.networks.adversarial import Autoencoder, Discriminator
from bids_recon.networks.encoders import IMAGENET, Encoder
from bids_recon.pictures import stretched
from bids_recon.recipe_file import read_recipe

E2E = read_recipe("shen2019-e2e").decode["pixels"].decoder.options


def loop(comparator=None, side=28, n_trials=8, **options):
    """Return a training with its first weights, and some trials."""
    X, Y, _ = problem(n_trials, size=(side, side))
    decoder = GAN(**TINY | {"batch_size": 4} | options)
    decoder.shape_, decoder.x_mean_ = np.array(Y.shape[1:]), np.zeros(10)
    y_mean, y_scale = decoder._scales(Y, np.arange(n_trials))
    device = torch.device("cpu")
    batches = Batches(X, Y, 0 * X[0], 0 * X[0] + 1, y_mean, y_scale, device)
    with training.seeded(0, device):
        generator = decoder._network()
        discriminator = Discriminator(generator.side, decoder.width)
    return AdversarialTraining(
        generator,
        discriminator,
        comparator,
        lambda n: torch.empty(0, 3, side, side),
        batches,
        decoder,
    )


# Steps


def test_the_gate_by_hand():
    gate, seen = Gate(), []
    for losses in (
        (0.7, 0.7, 0.7),  # 2: both go on
        (0.02, 0.02, 1.0),  # 0.04: the discriminator is too good
        (0.1, 0.1, 1.0),  # 0.2: still
        (0.4, 0.2, 1.0),  # 0.6: it resumes
        (5.0, 7.0, 1.0),  # 12: the generator is too good
        (0.7, 0.7, 0.7),  # 2: as published, it waits
        (0.02, 0.02, 1.0),  # 0.04: until the discriminator is too good again
        (1.0, 1.0, 0.0),  # nothing is lost by being told for drawn
    ):
        gate.after(*losses)
        seen.append((gate.discriminator, gate.generator))
    on = (True, True)
    assert seen == [on, (False, True), (False, True), on, (True, False), (True, False),
                    (False, True), (True, False)]  # fmt: skip


def test_the_learning_rate_is_halved_at_updates():
    rates = [rate_at(n, 2e-4, (300, 500)) for n in (1, 299, 300, 499, 500, 900)]
    assert rates == [2e-4, 2e-4, 1e-4, 1e-4, 5e-5, 5e-5]
    loop_ = loop(image=1.0, feature=0.0, halved_at=(2,), learning_rate=0.01)
    for _ in range(2):
        loop_._step(np.arange(4))
    assert [o.param_groups[0]["lr"] for o in loop_.optimizers.values()] == [5e-3, 5e-3]


def test_losses_are_those_of_caffe():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Conv2d(3, 256, 11, 4), torch.nn.ReLU())
        layers.append(torch.nn.AdaptiveMaxPool2d(6))
    encoder = Encoder(layers, (0.4,) * 3, (0.2,) * 3)
    weights = {key: E2E[key] for key in ("image", "feature", "adversarial")}
    own = loop(Comparator(encoder, "2"), side=227, **weights)
    n = 3
    real, drawn = 255 * torch.rand(2, n, 3, 227, 227, generator=torch.manual_seed(2))
    # EuclideanLoss is a sum of squares over 2 N; weights are those of the prototxts.
    units = [
        layers(((p + torch.tensor([123.0, 117, 104]).view(3, 1, 1)) / 255 - 0.4) / 0.2)
        for p in (drawn, real)
    ]
    assert units[0].shape[1:] == (256, 6, 6)
    image = 2e-6 * ((drawn - real) ** 2).sum() / (2 * n)
    feature = 0.01 * ((units[0] - units[1]) ** 2).sum() / (2 * n)
    found = own._losses(drawn, real)
    assert found.item() == pytest.approx((image + feature).item(), rel=1e-4)
    # SoftmaxWithLoss is the mean over pictures; real is class 0.
    own.discriminator.eval()
    for label in (REAL, DRAWN):
        odds = own.discriminator(drawn).double()
        chosen = odds[:, label] - torch.log(torch.exp(odds).sum(dim=1))
        expected = -chosen.mean().item()
        assert own._entropy(drawn, label).item() == pytest.approx(expected, rel=1e-5)
    assert weights["adversarial"] == 100


def test_one_step_by_hand():
    own = loop(image=0.5, feature=0.0, adversarial=2.0, weight_decay=3.0)
    twin = loop(image=0.5, feature=0.0, adversarial=2.0)
    rows, rate = np.arange(4), own.settings.learning_rate
    x, y = own.batches.take(rows)
    with training.seeded(5, torch.device("cpu")):
        lost = own._step(rows)
    with training.seeded(5, torch.device("cpu")):
        real, drawn = y.view(4, 3, 28, 28), twin.generator.draw(x)
        labels = torch.zeros(4, dtype=torch.long)
        told = functional.cross_entropy(twin.discriminator(real), labels)
        drawn_ = functional.cross_entropy(
            twin.discriminator(drawn.detach()), labels + 1
        )
        (100 * (told + drawn_)).backward()
        # Adam's first step is the sign of the gradient, of which the decay is part.
        before = list(twin.discriminator.parameters())
        for old, new in zip(before, own.discriminator.parameters(), strict=True):
            gradient = old.grad + 3.0 * old
            step = rate * gradient / (gradient.abs() + 1e-8)
            torch.testing.assert_close(new, old - step, rtol=1e-4, atol=1e-7)
        twin.discriminator.load_state_dict(own.discriminator.state_dict())
        fooled = functional.cross_entropy(twin.discriminator(drawn), labels)
        loss = 0.5 * ((drawn - real) ** 2).mean() + 2.0 * fooled
        twin.generator.zero_grad()
        loss.backward()
    assert lost == pytest.approx(loss.item(), rel=1e-5)
    for old, new in zip(
        twin.generator.parameters(), own.generator.parameters(), strict=True
    ):
        step = rate * old.grad / (old.grad.abs() + 1e-8)
        torch.testing.assert_close(new, old - step, rtol=1e-4, atol=1e-6)


def test_a_network_that_pauses_does_not_change_and_gradients_are_clipped():
    own = loop(feature=0.0, clip=1e-3)
    own.gate = Gate(discriminator=False, generator=True)
    before = [p.clone() for p in own.discriminator.parameters()]
    own._step(np.arange(4))
    assert all(map(torch.equal, before, own.discriminator.parameters()))
    norm = sum(float((p.grad**2).sum()) for p in own.generator.parameters()) ** 0.5
    assert norm == pytest.approx(1e-3, rel=1e-3)
    before = [p.clone() for p in own.generator.parameters()]
    own.gate = Gate(discriminator=True, generator=False)
    own._step(np.arange(4))
    assert all(map(torch.equal, before, own.generator.parameters()))
    assert own.updates == {"optimizer": 1, "adversary": 1}


# The decoder


@pytest.mark.parametrize("size", [(20, 40), (30, 17)])
def test_pictures_keep_their_size(size):
    X, Y, groups = problem(size=size)
    decoder = GAN(**TINY | {"epochs": 1}).fit(X, Y, groups)
    assert decoder.predict(X[:2]).shape == (2, 3, *size)
    assert decoder._trained().side == max(*size, 28)


def test_what_is_saved_is_what_predicts():
    X, Y, groups = problem()
    decoder = GAN(**TINY).fit(X, Y, groups)
    state = state_of(decoder)
    names = {name for name in state if not name.startswith("network.")}
    assert names == {"shape", "x_mean", "x_scale", "y_mean", "y_scale", "curve",
                     "best_epoch"}  # fmt: skip
    weights = {name.removeprefix("network.") for name in state if "network." in name}
    assert weights == set(decoder._trained().state_dict())
    again = restore(GAN(**TINY), state)
    np.testing.assert_array_equal(again.predict(X), decoder.predict(X))


def test_averages_are_scaled_by_the_root_of_their_number():
    X, Y, groups = problem()
    decoder = GAN(**TINY).fit(X, Y, groups)
    X = X[:3]
    counts = np.array([1.0, 4.0, 9.0])
    further = decoder.x_mean_ + np.array([[1], [2], [3]]) * (X - decoder.x_mean_)
    scaled = decoder.predict(X, n_repeats=counts)
    np.testing.assert_allclose(scaled, decoder.predict(further), rtol=1e-4, atol=1e-4)
    plain = replace(decoder, test_scale=1)
    restore(plain, state_of(decoder))
    np.testing.assert_array_equal(
        plain.predict(X, n_repeats=counts), decoder.predict(X)
    )


def test_contrast_is_stretched_by_hand():
    picture = np.arange(101, dtype=np.float32).reshape(1, 1, 101) / 50 - 0.3
    found = stretched(picture, 10.0)
    # Five values at each end are clipped: from -0.2 to 1.6.
    expected = np.clip((picture + 0.2) / 1.8, 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    flat = np.full((3, 2, 2), 1.5)
    assert (stretched(flat, 0.04) == 1).all()


def test_the_epoch_is_chosen_by_the_losses_that_count():
    comparator = Comparator(
        Encoder(fill(Autoencoder(8)).eval(), (0.5,) * 3, (0.5,) * 3), "encoder"
    )
    own = loop(comparator, image=0.0, feature=2.0)
    own.generator.eval()
    x, y = own.batches.take(np.arange(8))
    with torch.inference_mode():
        units = [
            comparator(own.settings.seen(part))
            for part in (own.generator.draw(x), y.view(8, 3, 28, 28))
        ]
        expected = 2.0 * ((units[0] - units[1]) ** 2).mean().item()
        assert own._error(np.arange(8)) == pytest.approx(expected, rel=1e-5)
    # The adversarial loss is another's from epoch to epoch, so that the last is kept.
    X, Y, groups = problem()
    options = {"image": 0.0, "feature": 0.0, "patience": 1, "epochs": 3}
    assert GAN(**TINY | options).fit(X, Y, groups).best_epoch_ == 3


def test_published_steps_are_whole_epochs_on_all_trials():
    X, Y, groups = problem()
    decoder = GAN(**TINY | {"steps": 9, "held_out": None}).fit(X, Y, groups)
    # 24 trials are four batches an epoch.
    assert decoder.best_epoch_ == len(decoder.curve_) == 3
    np.testing.assert_allclose(decoder.x_mean_, X.mean(axis=0), atol=1e-6)


def test_pictures_that_were_never_shown_count_as_real():
    X, Y, groups = problem()
    more = np.random.default_rng(5).random((7, 3, 28, 28)).astype(np.float32)

    def fitted(pictures, **options):
        prior = Prior(pictures, np.empty((24, 0)), np.empty((len(pictures), 0)))
        return GAN(**tiny | options).fit(X, Y, groups, prior).predict(X)

    tiny = TINY | {"epochs": 1}
    without = GAN(**tiny).fit(X, Y, groups).predict(X)
    np.testing.assert_array_equal(fitted(more[:0]), without)
    assert not np.array_equal(fitted(more), without)
    # The discriminator gets them, and so does the comparator.
    for weights in ({"feature": 0.0}, {"adversarial": 0.0}):
        assert not np.array_equal(fitted(more, **weights), fitted(more[:0], **weights))


def test_a_pretrained_comparator(toy_weights):
    X, Y, groups = problem(size=(32, 32))
    machine = Machine(device="cpu", weights_dir=toy_weights)
    options = TINY | {"machine": machine, "layer": "fire3", "epochs": 1}
    decoder = GAN(**options, comparator="squeezenet1-1")
    decoder.check()
    found = decoder.fit(X, Y, groups).predict(X)
    assert np.isfinite(found).all()
    assert "squeezenet1-1" in machine.used
    other = GAN(**options | {"layer": "fire4"}, comparator="squeezenet1-1")
    assert not np.array_equal(other.fit(X, Y, groups).predict(X), found)
    with pytest.raises(UserError, match=r"has no layer 'fire99'.*It has conv1, fire2"):
        GAN(**options | {"layer": "fire99"}, comparator="squeezenet1-1").check()


def test_the_comparator_with_real_weights(shared):
    X, Y, groups = problem(size=(32, 32))
    machine = Machine(device="cpu", weights_dir=shared / "weights")
    options = TINY | {"machine": machine, "epochs": 1}
    decoder = GAN(**options, comparator="squeezenet").fit(X, Y, groups)
    assert decoder.layer == "fire5"
    assert np.isfinite(decoder.predict(X)).all()
    assert "squeezenet" in machine.used


def test_a_comparator_of_ones_own(tmp_path):
    X, Y, groups = problem(size=(32, 32))
    path = tmp_path / "own.safetensors"
    network = fill(squeezenet1_1())
    save_file(network.state_dict(), path)
    options = TINY | {"layer": "features.3", "weights": str(path), "epochs": 1}
    decoder = GAN(**options, comparator="torchvision.models:squeezenet1_1")
    decoder.check()
    pictures = torch.from_numpy(Y.values[:2])
    means, scales = (torch.tensor(p).view(3, 1, 1) for p in IMAGENET)
    found = decoder._comparator(None, torch.device("cpu"))(pictures)
    expected = network.features[:4]((pictures - means) / scales)
    torch.testing.assert_close(found, expected)
    assert np.isfinite(decoder.fit(X, Y, groups).predict(X)).all()


# What it learns


def test_digits_are_drawn_at_least_as_well_as_by_ridge_and_collapse_without_pixels():
    X, Y, X_test, seen, _ = digits()
    every = np.arange(len(X))
    ridge = alike(seen, Ridge().fit(X, Y.reshape(len(Y), -1), every).predict(X_test))
    found = []
    for image in (DRAWING["image"], 0.0):
        decoder = GAN(**DRAWING | {"image": image}, machine=CPU).fit(X, Y, every)
        found.append(alike(seen, decoder.predict(X_test)))
    full, without = found
    assert 0.95 < ridge[1] < 1
    assert full[1] >= ridge[1]
    assert full[0] > 0.8
    assert without[0] < 0.5
    assert without[1] < ridge[1] - 0.05

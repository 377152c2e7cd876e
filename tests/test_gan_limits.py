"""The generator that learns to draw: what it goes on with, and what it refuses."""

import json
import tracemalloc

import numpy as np
import pytest
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1
from toy_gan import CPU, TINY, coarse, problem
from toys import fill

from bids_recon.datatypes import Prior, Targets
from bids_recon.decoders import training
from bids_recon.decoders.adversarial_training import AdversarialTraining
from bids_recon.decoders.gan import GAN
from bids_recon.decoders.state import state_of
from bids_recon.errors import Status, UserError
from bids_recon.features.pixels import Pixels
from bids_recon.machine import AbsentWeightsError, Machine
from bids_recon.pictures import Pictures
from bids_recon.plan.methods import whole_recipe
from bids_recon.recipe_file import read_recipe
from bids_recon.stages.decode.features import Gallery
from bids_recon.stages.decode.posterior import prior_of

# Killed


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Return what begins a training, ends it early, and tells where it is kept."""
    monkeypatch.setattr(training, "KEEP_EVERY", 0.0)

    def begin(decoder, X, Y, groups, after=1):
        epoch = AdversarialTraining._epoch

        def ended(self, *arguments):
            if len(self.curve) == after:
                raise KeyboardInterrupt
            return epoch(self, *arguments)

        decoder.keep = tmp_path / "training.safetensors"
        with monkeypatch.context() as patched:
            patched.setattr(AdversarialTraining, "_epoch", ended)
            with pytest.raises(KeyboardInterrupt):
                decoder.fit(X, Y, groups)
        assert decoder.keep.is_file()
        return decoder.keep

    return begin


def same(found, expected):
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert found[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("after", [1, 3])
def test_a_training_that_was_killed_ends_with_the_same_bytes(killed, after):
    X, Y, groups = problem()
    again = GAN(**TINY)
    again.keep = killed(GAN(**TINY), X, Y, groups, after)
    found = state_of(again.fit(X, Y, groups))
    same(found, state_of(GAN(**TINY).fit(X, Y, groups)))


@pytest.mark.parametrize("shown", ["learned from", "held out"])
def test_a_training_on_other_pictures_is_not_gone_on_with(killed, shown):
    X, Y, groups = problem()
    again, other = GAN(**TINY), Y.values.copy()
    learned, held_out = again._sides(groups)
    which = np.unique(Y.rows[learned if shown == "learned from" else held_out])
    other[which] = 1 - other[which]
    again.keep = killed(GAN(**TINY), X, Y, groups)
    Y = Targets(other, Y.rows)
    found = state_of(again.fit(X, Y, groups))
    same(found, state_of(GAN(**TINY).fit(X, Y, groups)))


def test_a_training_by_other_weights_of_the_same_name_is_not_gone_on_with(
    killed, tmp_path
):
    X, Y, groups = problem(size=(32, 32))
    path, network = tmp_path / "own.safetensors", fill(squeezenet1_1())
    save_file(network.state_dict(), path)
    options = TINY | {"layer": "features.3", "weights": str(path), "epochs": 3}
    options |= {"comparator": "torchvision.models:squeezenet1_1"}
    again = GAN(**options)
    again.keep = killed(GAN(**options), X, Y, groups)
    state = {name: 2 * value for name, value in network.state_dict().items()}
    save_file(state, path, metadata={"trained": "longer"})
    found = state_of(again.fit(X, Y, groups))
    same(found, state_of(GAN(**options).fit(X, Y, groups)))


# Bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"comparator": "own:encoder"}, "say which one of 'own:encoder'"),
        ({"comparator": "own:encoder", "layer": "a"}, "needs weights: its file"),
        ({"comparator": "vgg19"}, "say which one of 'vgg19'"),
        ({"weights": "vgg19"}, "a self-trained comparator has no weights"),
        ({"side": 27}, "28 to 256 pixels, not 27"),
        ({"width": 12}, "width is a multiple of 8"),
        ({"image": 0, "feature": 0, "adversarial": 0}, "one of them above"),
        ({"image": float("nan")}, "at least 0"),
        ({"stretch": 100.0}, "stretch is null or 0 to 100"),
        ({"steps": 0}, "steps is at least 1"),
        ({"held_out": 1}, "held_out is null or at least 2"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        GAN(**options)


def test_a_comparator_without_weights_is_told(tmp_path):
    machine = Machine(device="cpu", weights_dir=tmp_path)
    with pytest.raises(AbsentWeightsError, match="weights fetch caffenet"):
        GAN(comparator="caffenet", machine=machine).check()
    # What is not compared need not be there.
    GAN(comparator="caffenet", feature=0.0, machine=machine).check()


def test_fewer_pictures_than_a_batch_are_told():
    X, Y, groups = problem()
    with pytest.raises(UserError, match=r"batches of 64 pictures.*there are 20 train"):
        GAN(**TINY | {"batch_size": 64}).fit(X, Y, groups)


@pytest.fixture
def coarse_weights(tmp_path):
    path = tmp_path / "coarse.safetensors"
    save_file(fill(coarse()).state_dict(), path)
    return path


def test_pictures_too_small_for_the_comparator_are_told(coarse_weights):
    X, Y, groups = problem()
    options = {"comparator": "toy_gan:coarse", "layer": "3"}
    decoder = GAN(**TINY | options, weights=str(coarse_weights))
    said = "28 pixels on a side, which are too small for the layer 3 of its comparator"
    for begin in (lambda: decoder.check((20, 28)), lambda: decoder.fit(X, Y, groups)):
        with pytest.raises(UserError, match=said):
            begin()
    decoder.check()
    decoder.check((20, 63))


def test_a_loss_that_is_no_number_is_told():
    X, Y, groups = problem()
    with pytest.raises(UserError, match="gan: the loss was not a number in the first"):
        GAN(**TINY | {"image": 1e38}).fit(X, Y, groups)


def test_other_features_than_pixels_are_refused(tmp_path):
    path = tmp_path / "own.yml"
    path.write_text(
        "name: own\ndecode:\n  edges: {features: {}, decoder: gan}\n"
        "generate: {name: inverse, features: edges}\n"
    )
    with pytest.raises(UserError, match="draws pictures; give it pixels"):
        whole_recipe(str(path))


# A whole run

RECIPE = """
name: own
pictures: {max_size: 32}
responses: {estimator: lss}
decode:
  pixels:
    features: {}
    decoder: {name: gan, width: 8, n_hidden: 8, epochs: 1, BATCH, COMPARATOR}
generate: {name: inverse, features: pixels}
"""


def own_recipe(folder, batch="batch_size: 4", comparator="comparator: self-trained"):
    path = folder / "own.yml"
    text = RECIPE.replace("BATCH", batch).replace("COMPARATOR", comparator)
    path.write_text(text)
    return ["--recipe", str(path), "--roi", "V1"]


def test_what_was_trained_is_applied_where_the_comparator_is_not(
    small_dataset, tmp_path, toy_weights, run
):
    compared = "comparator: squeezenet1-1, layer: fire3"
    options = own_recipe(tmp_path, comparator=compared)
    trained, applied = tmp_path / "trained", tmp_path / "applied"
    more = ["--run-id", "1", "--split", "all", "--weights-dir", toy_weights]
    code, said = run(small_dataset, trained, "participant", *options, *more)
    assert code == 0, said
    more = ["--run-id", "2", "--model-from", trained]
    for weights in (
        ["--weights-dir", tmp_path / "none"],
        ["--weights-dir", toy_weights],
    ):
        code, said = run(
            small_dataset, applied, "participant", *options, *more, *weights
        )
        assert code == 0, said
    sidecar = next((applied / "sub-01" / "recon").glob("*_recon.json"), None)
    assert sidecar is not None
    # Nothing was made anew where the comparator came back.
    assert json.loads(sidecar.read_text())["BidsRecon"]["Settings"]["weights"] == {}


def test_a_run_that_is_too_small_is_refused_before_its_first_job(
    small_dataset, tmp_path, run, coarse_weights
):
    out = tmp_path / "out"
    options = own_recipe(tmp_path, batch="batch_size: 22")
    code, said = run(small_dataset, out, "participant", *options, "--split", "all")
    assert code == Status.USAGE
    # Of 24 trials, 3 are held out.
    assert "sub-01, recipe own: The decoder gan learns from batches of 22" in said
    assert "there are 21 training trials" in said
    options = own_recipe(tmp_path, batch="batch_size: 16")
    more = ["--train-fraction", "0.5", "1", "--split", "kfold:12"]
    code, said = run(small_dataset, out, "participant", *options, *more)
    assert code == Status.USAGE
    assert "sub-01, recipe own, --train-fraction 0.5: The decoder gan learns" in said
    comparator = f"comparator: 'toy_gan:coarse', layer: '3', weights: {coarse_weights}"
    options = own_recipe(tmp_path, comparator=comparator)
    code, said = run(small_dataset, out, "participant", *options, "--split", "all")
    assert code == Status.USAGE
    assert "too small for the layer 3" in said
    assert not [*out.rglob("*_bold*"), *out.rglob("*.npy"), *out.rglob("*.h5")]


def test_pictures_never_shown_stay_bytes_until_they_are_drawn_from():
    rng = np.random.default_rng(0)
    shown, unseen = rng.integers(0, 256, (2, 1000, 3, 32, 32), dtype=np.uint8)
    gallery = Gallery(Pictures.of(shown), unseen=Pictures.of(unseen))
    step = read_recipe("gan-small").decode["pixels"]
    tracemalloc.start()
    prior = prior_of(step, gallery, Pixels(), np.arange(1000), CPU)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # As numbers, each would be 12 MB.
    assert peak < 1e6
    np.testing.assert_array_equal(
        prior.values[np.array([7, 3])], np.float32(unseen[[7, 3]]) / 255
    )
    assert prior.beside.shape == prior.beside_prior.shape == (1000, 0)
    X, Y, groups = problem(size=(32, 32))
    bare = np.empty((24, 0))
    found, expected = (
        GAN(**TINY).fit(X, Y, groups, Prior(values, bare, bare)).predict(X)
        for values in (prior.values, np.asarray(prior.values))
    )
    np.testing.assert_array_equal(found, expected)

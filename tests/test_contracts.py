"""What every method keeps, over the registries: a new method is tested by its entry."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GroupKFold
from toys import TOY_VDVAE

from bids_recon.datatypes import Decoded, Responses
from bids_recon.decoders import DECODERS
from bids_recon.decoders.state import restore, state_of
from bids_recon.errors import UserError
from bids_recon.evaluation import METRICS
from bids_recon.evaluation.folds import Fold, Split
from bids_recon.features import FEATURES
from bids_recon.generators import GENERATORS
from bids_recon.machine import Machine
from bids_recon.recipe import DecodeStep, Method
from bids_recon.recipe_file import read_recipe, recipe_names
from bids_recon.registry import build, load
from bids_recon.responses import ESTIMATORS
from bids_recon.rois import GRAPHS, SELECTIONS
from bids_recon.stages.connectivity.nodes import Nodes
from bids_recon.stages.decode.features import Gallery
from bids_recon.stages.decode.fold_data import Material, fold_data
from bids_recon.stages.decode.graphs import GraphPlan
from bids_recon.stages.decode.rescale import rescale
from bids_recon.stages.decode.step_decoder import StepDecoder, fit_space

N_PICTURES, N_VOXELS = 12, 40

# What a method needs beside its defaults to run on pictures of 6 x 6 pixels, with
# networks at toy size.
DECODER_OPTIONS = {
    "cluster-attention": {
        "n_clusters": 6,
        "n_queries": 3,
        "width": 16,
        "epochs": 2,
        "batch_size": 16,
    },
    "cnn": {"channels": 4, "kernel": 3, "hidden": [16], "epochs": 2, "batch_size": 16},
    "gan": {"n_hidden": 8, "width": 8, "epochs": 2, "batch_size": 4},
    "gcn": {"width": 16, "hidden": 16, "channels": 4, "epochs": 2, "batch_size": 16},
    "vae": {"hidden": [16], "width": 16, "epochs": 2, "batch_size": 16},
}
OPTIONS = {
    "vdvae": {"n_layers": 3, "architecture": TOY_VDVAE},
    "network": {"layer": "fire2", "encoder": "squeezenet1-1", "side": 24, "units": 300},
}
FEEDS = {
    "icnn": {"features": "network", "init": "eigenimage"},
    "inverse": {"features": "eigenimage"},
    "local_combination": {"features": "local_contrast"},
    "stable-diffusion": {"init": "latent", "text": "clip-text"},
    "versatile-diffusion": {
        "init": "vdvae",
        "text": "clip-text",
        "vision": "clip-vision",
    },
}
GENERATOR_OPTIONS = {
    "icnn": {"init": "eigenimage", "steps": 8, "blur": [1.0, 0.5], "decay": [0.1, 0.0]},
    "stable-diffusion": {"steps": 2, "side": 32, "strength": 0.6},
    "versatile-diffusion": {"steps": 2, "side": 32},
}


def draws(decoder):
    """Tell whether a decoder makes pictures, and nothing else."""
    return getattr(load(DECODERS, "decoder", decoder), "draws", False)


LEARNED = [
    name
    for name in FEATURES
    if not getattr(load(FEATURES, "features", name), "pretrained", False)
]
CAPTIONS = tuple((f"picture {n}", "black and white") for n in range(N_PICTURES))
REGISTRIES = {
    "estimator": ESTIMATORS,
    "features": FEATURES,
    "decoder": DECODERS,
    "generator": GENERATORS,
    "metric": METRICS,
    "selection": SELECTIONS,
    "graph": GRAPHS,
}


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    grey = (rng.random((N_PICTURES, 1, 6, 6)) > 0.5).astype(np.float32)
    return np.repeat(grey, 3, axis=1)


@pytest.fixture
def material(pictures):
    """Two runs in which each picture is shown twice, and a split over pictures."""
    rng = np.random.default_rng(1)
    picture = np.concatenate([rng.permutation(N_PICTURES) for _ in range(4)])
    drive = pictures.mean(axis=1).reshape(N_PICTURES, -1)
    weights = rng.standard_normal((drive.shape[1], N_VOXELS))
    values = drive[picture] @ weights + rng.standard_normal((48, N_VOXELS))
    trials = pd.DataFrame(
        {
            "session": "n/a",
            "task": "t",
            "run": np.repeat(["1", "2"], 24),
            "onset": np.arange(48.0),
            "role": "trial",
            "stimulus": [f"p{index:02d}" for index in picture],
        }
    )
    responses = Responses(
        values.astype(np.float32), trials, np.zeros((N_VOXELS, 3)), "T1w"
    )
    tested = picture < 3
    fold = Fold("test", np.flatnonzero(~tested), np.flatnonzero(tested))
    split = Split("x", (fold,), trials["stimulus"].to_numpy(str), False, "")
    region = {"only": np.ones(N_VOXELS, dtype=bool)}
    return Material(responses, region, Gallery(pictures, CAPTIONS), picture, split)


@pytest.fixture
def machine(toy_weights):
    return Machine(device="cpu", weights_dir=toy_weights)


def step(decoder="ridge", features="pixels", voxels=None, rescale=None):
    method = Method(features, OPTIONS.get(features, {}))
    options = DECODER_OPTIONS.get(decoder, {})
    return DecodeStep(method, Method(decoder, options), (), voxels, rescale)


def graph_plan(decoder):
    """Four regions for nodes, where a decoder reads a graph."""
    if not getattr(load(DECODERS, "decoder", decoder), "uses_graph", False):
        return None
    nodes = Nodes(("A", "B", "C", "D"), np.arange(N_VOXELS) % 4)
    return GraphPlan(load(GRAPHS, "graph", "nearest")(k=2), nodes, None)


def step_decoder(material, step, machine, fold=None):
    recipe = read_recipe("eigenimage")
    data = fold_data(material, fold or material.split.folds[0], recipe)
    space = fit_space(step, material.gallery, data.train_picture, machine)
    Y = material.gallery.targets(space, data.train_picture)
    graph = graph_plan(step.decoder.name)
    region = material.region["only"]
    return StepDecoder(step, region, data, Y, machine, graph=graph)


def decoded_test(material, step, machine, fold=None):
    own = step_decoder(material, step, machine, fold)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "decoded.npy")
        state = own.decode(path)
        if step.rescale:
            rescale(path, step.rescale, own.Y, own.spread)
        return np.load(path), state


def make_space(name, machine):
    return build(FEATURES, "features", name, OPTIONS.get(name, {}), machine)


def items(space, pictures, rows=slice(None)):
    of_captions = getattr(space, "reads", "pictures") == "captions"
    return CAPTIONS[rows] if of_captions else pictures[rows]


def with_other_test_responses(material):
    values = material.responses.values.copy()
    rng = np.random.default_rng(9)
    test = material.split.folds[0].test
    values[test] = 50 * rng.standard_normal((len(test), N_VOXELS))
    return replace(material, responses=replace(material.responses, values=values))


@pytest.mark.parametrize("kind", REGISTRIES)
def test_a_registry_is_read_only_and_every_entry_loads(kind):
    registry = REGISTRIES[kind]
    with pytest.raises(TypeError):
        registry["other"] = "module:attribute"
    for name in registry:
        assert callable(load(registry, kind, name))


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "given"])
def test_estimators_give_one_response_per_trial(name):
    rng = np.random.default_rng(0)
    bold = (500 + rng.standard_normal((80, 7))).astype(np.float32)
    trials = pd.DataFrame(
        {"onset": 6 + 12.0 * np.arange(11), "duration": 4.0, "role": "trial"}
    )
    values = load(ESTIMATORS, "estimator", name)().estimate(bold, trials, 2.0)
    assert values.shape == (11, 7)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", FEATURES)
def test_feature_spaces_are_learned_from_the_pictures_given(name, pictures, machine):
    space = make_space(name, machine).fit(pictures[3:])
    values = space.encode(items(space, pictures))
    assert len(values) == N_PICTURES
    alone = space.encode(items(space, pictures, slice(1)))
    np.testing.assert_allclose(alone[0], values[0], rtol=1e-5, atol=1e-6)
    if hasattr(space, "decode"):
        decoded = space.decode(values)
        assert decoded.shape == pictures.shape
        assert decoded.min() >= 0
        assert decoded.max() <= 1


@pytest.mark.parametrize(
    ("decoder", "features"),
    [
        *(
            (decoder, features)
            for decoder in DECODERS
            for features in LEARNED
            # What a network is trained on makes no difference to it.
            if decoder not in DECODER_OPTIONS
            or features == ("pixels" if draws(decoder) else "eigenimage")
        ),
        *(("ridge", features) for features in FEATURES if features not in LEARNED),
    ],
)
@pytest.mark.parametrize("how", [None, "train"])
def test_one_test_trial_alone_gives_what_it_gives_in_the_set(
    material, decoder, features, machine, how
):
    if (decoder, features) == ("sparse_logistic", "eigenimage"):
        pytest.skip("the scores are no classes, which test_decoders.py covers")
    own = step(decoder, features, rescale=how)
    together, _ = decoded_test(material, own, machine)
    fold = material.split.folds[0]
    alone = replace(fold, test=fold.test[4:5])
    single, _ = decoded_test(material, own, machine, alone)
    np.testing.assert_allclose(single[0], together[4], rtol=1e-4, atol=1e-5)


def test_the_transductive_form_is_told_apart_by_a_trial_alone(material, machine):
    own = step(rescale="transductive")
    together, _ = decoded_test(material, own, machine)
    fold = material.split.folds[0]
    fewer, _ = decoded_test(material, own, machine, replace(fold, test=fold.test[:6]))
    assert not np.allclose(together[:6], fewer, rtol=1e-2)
    alone = replace(fold, test=fold.test[:1])
    with pytest.raises(UserError, match="there is one only"):
        decoded_test(material, own, machine, alone)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("selection", [None, *SELECTIONS])
def test_what_is_learned_does_not_depend_on_test_responses(
    material, decoder, selection, machine
):
    voxels = Method(selection, {"k": 15}) if selection else None
    one = step(decoder, voxels=voxels)
    _, before = decoded_test(material, one, machine)
    _, after = decoded_test(with_other_test_responses(material), one, machine)
    assert before.keys() == after.keys()
    for key in before:
        np.testing.assert_array_equal(before[key], after[key], err_msg=key)


@pytest.mark.parametrize("decoder", DECODERS)
def test_out_of_fold_predictions_do_not_depend_on_test_trials_or_own_group(
    material, decoder, machine, tmp_path
):
    fold = material.split.folds[0]

    def out_of_fold(material):
        own = step_decoder(material, step(decoder), machine)
        own.decode_out_of_fold(tmp_path / "train.npy")
        return np.load(tmp_path / "train.npy")

    before = out_of_fold(material)
    np.testing.assert_array_equal(
        before, out_of_fold(with_other_test_responses(material))
    )
    # What a picture looks like must not enter the prediction of its own trials.
    own = material.picture[fold.train] == 7
    pictures = material.gallery.pictures.copy()
    pictures[7] = 1 - pictures[7]
    after = out_of_fold(replace(material, gallery=Gallery(pictures, CAPTIONS)))
    np.testing.assert_array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])


@pytest.mark.parametrize("name", SELECTIONS)
def test_voxels_for_a_trial_out_of_fold_are_not_chosen_on_it(
    material, name, machine, tmp_path
):
    fold = material.split.folds[0]

    def out_of_fold(material):
        own = step(voxels=Method(name, {"k": 3}))
        own = step_decoder(material, own, machine)
        own.decode_out_of_fold(tmp_path / "train.npy")
        return own, np.load(tmp_path / "train.npy")

    own, before = out_of_fold(material)
    chosen = []
    # scikit-learn says which trials are predicted from which.
    codes = material.picture[fold.train]
    folds = GroupKFold(5, shuffle=True, random_state=1).split(codes, groups=codes)
    Y = np.asarray(own.Y)
    for known, held_out in folds:
        method = build(SELECTIONS, "voxel selection", name, {"k": 3})
        voxels = method.select(own.whole[known], Y[known], codes[known])
        chosen.append(tuple(np.flatnonzero(voxels)))
        ridge = build(DECODERS, "decoder", "ridge", {}, machine)
        ridge.fit(own.whole[known][:, voxels], Y[known], own.data.groups[known])
        expected = ridge.predict(own.whole[held_out][:, voxels])
        np.testing.assert_allclose(before[held_out], expected, rtol=1e-4, atol=1e-5)
    # Otherwise nothing would be seen of a choice on all of them.
    assert len(set(chosen)) > 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_saved_and_loaded_predicts_the_same(decoder, machine):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((30, N_VOXELS)).astype(np.float32)
    shape = (3, 6, 6) if draws(decoder) else (2, 3)
    Y = (rng.random((30, *shape)) > 0.5).astype(np.float32)
    # A ridge that makes no coefficients predicts from its training trials.
    options = DECODER_OPTIONS.get(decoder, {})
    options = {"coefficients": True} if decoder == "ridge" else options
    how, more = graph_plan(decoder), {}
    if how is not None:
        trials = pd.DataFrame({"session": "", "task": "", "run": np.arange(30) // 15})
        every = np.arange(N_VOXELS)
        more["graph"] = how.graph(trials, X, every, np.zeros((N_VOXELS, 3)))

    def make():
        return build(DECODERS, "decoder", decoder, options, machine)

    fitted = make().fit(X, Y, np.arange(30), **more)
    again = restore(make(), state_of(fitted))
    X_test = rng.standard_normal((5, N_VOXELS)).astype(np.float32)
    predicted = fitted.predict(X_test)
    assert predicted.shape == (5, *shape)
    np.testing.assert_array_equal(predicted, again.predict(X_test))


@pytest.mark.parametrize("decoder", DECODERS)
def test_decoders_repeat_and_leave_global_randomness_alone(material, decoder, machine):
    # The legacy state is what a method that seeds globally would change.
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    before = torch.get_rng_state()
    first, _ = decoded_test(material, step(decoder), machine)
    again, _ = decoded_test(material, step(decoder), machine)
    np.testing.assert_array_equal(first, again)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_make_pictures_and_repeat(name, pictures, machine):
    rng = np.random.default_rng(0)
    decoded, state = {}, torch.get_rng_state()
    for need, feature in FEEDS[name].items():
        space = make_space(feature, machine).fit(pictures)
        values = space.encode(items(space, pictures))
        noise = rng.standard_normal(values.shape).astype(np.float32)
        decoded[need] = Decoded(values + 0.1 * noise, space)
    kind = load(GENERATORS, "generator", name)
    assert set(kind.needs) == set(FEEDS[name])
    for need in getattr(kind, "as_pictures", ()):
        part = decoded[need]
        decoded[need] = Decoded(part.space.decode(part.values), part.space)
    decoded = {
        need: replace(part, values=part.values[:4]) for need, part in decoded.items()
    }

    def make(seed):
        options = GENERATOR_OPTIONS.get(name, {})
        generator = build(GENERATORS, "generator", name, options, machine)
        if hasattr(generator, "fit"):
            generator.fit(decoded, pictures[:4])
        return generator.generate(decoded, seed), generator

    made, generator = make(5)
    assert made.shape[:2] == (4, 3)
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    assert np.ptp(made[0]) > 0
    np.testing.assert_array_equal(made, make(5)[0])
    alone = {need: replace(p, values=p.values[2:3]) for need, p in decoded.items()}
    np.testing.assert_allclose(generator.generate(alone, 5)[0], made[2], atol=1e-5)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", METRICS)
def test_metrics_give_one_number_per_pair(name, pictures):
    values = load(METRICS, "metric", name)(pictures, pictures[::-1])
    assert values.shape == (N_PICTURES,)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_name_methods_that_exist(name):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert recipe.cite
    assert recipe.generate.name in GENERATORS
    assert recipe.responses.estimator.name in ESTIMATORS
    for decode_step in recipe.decode.values():
        assert decode_step.features.name in FEATURES
        assert decode_step.decoder.name in DECODERS


def test_methods_of_the_generator_registry_all_have_a_feed():
    assert set(FEEDS) == set(GENERATORS)


def test_averages_are_scaled_again_by_those_of_training(material):
    ordinary = read_recipe("eigenimage")
    once, again = (
        replace(
            ordinary,
            responses=replace(
                ordinary.responses,
                average_train=True,
                average_test=True,
                standardize_again=asked,
            ),
        )
        for asked in (False, True)
    )
    fold = material.split.folds[0]
    averaged, scaled = (fold_data(material, fold, own) for own in (once, again))
    values = averaged.train.values.astype(np.float64)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    # Averages over four repeats vary less than trials do.
    assert (scale < 1).all()
    for side in ("train", "test"):
        expected = (getattr(averaged, side).values - mean) / scale
        np.testing.assert_allclose(getattr(scaled, side).values, expected, atol=1e-5)
    # What is learned for training does not depend on test responses.
    other = fold_data(with_other_test_responses(material), fold, again)
    np.testing.assert_array_equal(other.train.values, scaled.train.values)

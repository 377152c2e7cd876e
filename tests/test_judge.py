"""Features that are kept are those of the picture, layer and weights asked for."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.models import squeezenet1_1

from bids_recon.evaluation.judge import Judge
from bids_recon.evaluation.profiles import MetricSpec, Step
from bids_recon.plan.methods import machine_of, weights_stamps
from bids_recon.settings import Settings
from bids_recon.stages.evaluate import weights_here
from bids_recon.weights import known_weights

SIZE = (40, 40)


def spec(**changes):
    asked = {
        "name": "m",
        "kind": "two_way",
        "network": "squeezenet1-1",
        "layer": "features.4",
        "prepare": (Step(engine="tensor", size=48),),
    }
    return MetricSpec(**{**asked, **changes})


@pytest.fixture
def networks(tmp_path):
    """Two folders with random weights of a network, and the networks."""
    made = {}
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        folder = tmp_path / name
        folder.mkdir()
        made[folder] = squeezenet1_1(weights=None).eval()
        path = folder / known_weights()["squeezenet1-1"].file
        torch.save(made[folder].state_dict(), path)
    return made


def expected(network, pictures, n_layers, size=48):
    batch = torch.from_numpy(pictures)
    if size != pictures.shape[2]:
        batch = torch.nn.functional.interpolate(batch, (size, size), mode="bilinear")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.inference_mode():
        # A copy: layers that rectify do so in place.
        return network.features[:n_layers]((batch - mean) / std).clone().flatten(1)


def test_what_is_kept_is_taken_for_nothing_else(networks, tmp_path):
    pictures = np.random.default_rng(0).random((2, 3, *SIZE)).astype(np.float32)
    first, second = networks
    cases = [
        (first, pictures, {}, 5, 48),
        (first, pictures, {"layer": "features.7"}, 8, 48),
        (first, 1 - pictures, {}, 5, 48),
        (second, pictures, {}, 5, 48),
        (first, pictures, {"prepare": (Step(engine="tensor", size=56),)}, 5, 56),
        (first, pictures[:1], {}, 5, 48),
    ]
    for again in range(2):
        for folder, shown, changes, n_layers, size in cases:
            judge = Judge(folder, tmp_path / "cache")
            found = judge.features(shown, spec(**changes), SIZE, remember=True)
            values = expected(networks[folder], shown, n_layers, size)
            np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4)
        assert len(list((tmp_path / "cache").iterdir())) == len(cases), again


def test_weights_that_took_the_place_of_others_are_noticed(networks, tmp_path):
    pictures = np.random.default_rng(0).random((2, 3, *SIZE)).astype(np.float32)
    first, second = networks
    place = tmp_path / "weights"
    settings = Settings(
        "/in", "/out", "participant", weights_dir=place, work_dir=tmp_path / "work"
    )
    memory, noted = machine_of(settings).memory, []
    for folder in (first, second):
        shutil.copytree(folder, place, dirs_exist_ok=True)
        judge = Judge(place, tmp_path / "cache", memory)
        found = judge.features(pictures, spec(), SIZE, remember=True)
        values = expected(networks[folder], pictures, 5)
        np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4)
        noted.append(weights_stamps(["squeezenet1-1", "alexnet"], settings))
    assert [list(names) for names in noted] == [["squeezenet1-1"]] * 2
    assert noted[0] != noted[1]


def test_the_weights_of_the_perceptual_distance_are_noted(tmp_path):
    settings = Settings("/in", tmp_path, "participant", weights_dir=tmp_path)
    names, noted = ("alexnet", "lpips-alex"), []
    for content in (b"1", b"2"):
        for name in names:
            (tmp_path / known_weights()[name].file).write_bytes(content)
        noted.append(weights_here(("cs292f",), settings))
    assert set(names) <= set(noted[0])
    assert all(noted[0][name] != noted[1][name] for name in names)


def test_features_are_kept_only_where_it_is_asked_for(networks, tmp_path):
    pictures = np.random.default_rng(0).random((1, 3, *SIZE)).astype(np.float32)
    judge = Judge(next(iter(networks)), tmp_path / "cache")
    judge.features(pictures, spec(), SIZE)
    assert not (tmp_path / "cache").exists()
    Judge(next(iter(networks))).features(pictures, spec(), SIZE, remember=True)


def test_without_a_network_features_are_pixels(tmp_path):
    pictures = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    own = MetricSpec(name="m", kind="two_way")
    found = Judge(None, tmp_path / "cache").features(pictures, own, (4, 5), True)
    np.testing.assert_array_equal(found, pictures.reshape(2, -1))


WITHOUT_WEIGHTS = """
import sys

import numpy as np

from bids_recon.evaluation.judge import Judge
from bids_recon.evaluation.profiles import MetricSpec
from bids_recon.machine import AbsentWeightsError

judge, pictures = Judge(), np.zeros((2, 3, 64, 64), dtype=np.float32)
spec = MetricSpec(name="m", kind="two_way", network="inception-v3", layer="avgpool")
for compute in (
    lambda: judge.features(pictures, spec, (64, 64)),
    lambda: judge.lpips(pictures, pictures),
):
    try:
        compute()
    except AbsentWeightsError:
        continue
    sys.exit("it has weights")
sys.exit("torch" in sys.modules)
"""


def test_where_weights_are_absent_torch_is_not_loaded(tmp_path):
    own = {k: v for k, v in os.environ.items() if k != "BIDS_RECON_WEIGHTS"}
    places = ("HOME", "HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_WEIGHTS],
        env={**own, **dict.fromkeys(places, str(tmp_path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

"""Features that are kept are those of the picture, layer and weights asked for."""

import numpy as np
import pytest
import torch
from torchvision.models import squeezenet1_1

from bids_recon.evaluation.judge import Judge
from bids_recon.evaluation.profiles import MetricSpec, Step
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

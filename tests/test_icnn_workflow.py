"""Deep image reconstruction as recipes, and from start to page with a small network."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kills import kill_when
from safetensors.torch import save_file

from bids_recon.errors import Status, UserError
from bids_recon.machine import Machine
from bids_recon.plan.methods import feeds_of, space_of, whole_recipe
from bids_recon.recipe import steps_called
from bids_recon.recipe_file import read_recipe, recipe_names

PUBLISHED = ("shen2019-dgn", "shen2019-dir", "shen2019-dir-imagery")
MIXED = """
name: mixed
decode:
  whole: {features: {name: network, layer: fc8, units: 7}}
  vgg19:
    each: {layer: [conv1_1, fc8]}
    features: {name: network, units: 9}
    rois: [V1]
    rescale: paper
  network:
    each: {relu: [pre, post]}
    features: {layer: conv5_4}
generate: {name: icnn, features: [vgg19, whole, network.post]}
"""


def test_each_writes_a_step_for_each_value(tmp_path):
    path = tmp_path / "mixed.yml"
    path.write_text(MIXED)
    recipe = read_recipe(str(path))
    layers = {
        name: (own.features.name, *own.features.options.values(), own.rois, own.rescale)
        for name, own in recipe.decode.items()
    }
    assert layers == {
        "whole": ("network", "fc8", 7, (), None),
        "vgg19.conv1_1": ("network", 9, "conv1_1", ("V1",), "paper"),
        "vgg19.fc8": ("network", 9, "fc8", ("V1",), "paper"),
        "network.pre": ("network", "conv5_4", "pre", (), None),
        "network.post": ("network", "conv5_4", "post", (), None),
    }
    assert feeds_of(recipe) == {
        f"features/{name}": name
        for name in ("vgg19.conv1_1", "vgg19.fc8", "whole", "network.post")
    }
    assert steps_called("vgg", recipe.decode) == ()


@pytest.mark.parametrize(
    ("each", "said"),
    [
        ("{}", "vgg19, each: expected one option with its values"),
        ("{layer: []}", "vgg19, each: layer: expected 1 or more entries"),
        ("{layer: [fc8], relu: [pre]}", "vgg19, each: .* such as .* found layer, relu"),
        ("[fc8]", "vgg19, each: expected a mapping, found a list of 1"),
        ("{layers: [fc8]}", "vgg19.fc8: features: there is no setting 'layers'"),
        ("{layer: [fc8, FC8]}", "differ in upper and lower case only"),
        ("{layer: [a/b]}", "vgg19.a/b: expected a name of at most 60 letters"),
    ],
)
def test_each_that_cannot_be_is_told_with_its_place(tmp_path, each, said):
    path = tmp_path / "wrong.yml"
    path.write_text(MIXED.replace("{layer: [conv1_1, fc8]}", each))
    with pytest.raises(UserError, match=rf"wrong.yml, decode: .*{said}"):
        whole_recipe(str(path))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_recipes_decode_all_19_layers(name, tmp_path):
    assert set(PUBLISHED) <= set(recipe_names())
    recipe = read_recipe(name)
    assert list(recipe.decode) == list(feeds_of(recipe).values())
    layers = [own.features.options["layer"] for own in recipe.decode.values()]
    assert len(set(layers)) == 19
    (encoder, weights), *others = {
        (own.features.options["encoder"], own.features.options.get("weights"))
        for own in recipe.decode.values()
    }
    leaky = name == "shen2019-dir-imagery"
    assert encoder == ("vgg19-caffe-leaky" if leaky else "vgg19-caffe")
    assert weights == ("vgg19-caffe" if leaky else None)
    assert not others
    # The whole layers, as the paper has them, are a recipe of one's own.
    path = tmp_path / "whole.yml"
    change = "decode: {vgg19: {features: {units: null}}}"
    path.write_text(f"name: whole\nextends: {name}\n{change}\n")
    whole = read_recipe(str(path))
    assert list(whole.decode) == list(recipe.decode)
    for own in whole.decode.values():
        assert own.features.options["units"] is None
        assert own.features.options["side"] == 224


OWN = """
import torch

def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(6, 8, 3, stride=2, padding=1),
    )
"""
RECIPE = """
name: own-network
pictures: {{max_size: 16}}
responses: {{standardize: run}}
decode:
  own:
    each: {{layer: ['0', '2']}}
    features:
      name: network
      encoder: small_network:network
      weights: {weights}
      units: {units}
      side: 16
    decoder: {{name: unit-ridge, k_best: 100}}
    rescale: train-centred
  eigenimage: {{}}
generate: {{name: icnn, features: own, init: eigenimage, steps: {steps}, batch: 3}}
evaluate: {{recovery: false}}
"""


@pytest.fixture
def own_recipe(tmp_path, monkeypatch):
    """Write the recipe with a network of one's own, and return its file."""
    (tmp_path / "small_network.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.syspath_prepend(tmp_path)
    generator = torch.Generator().manual_seed(0)
    state = {
        "0.weight": torch.randn(6, 3, 3, 3, generator=generator) / 4,
        "0.bias": torch.zeros(6),
        "2.weight": torch.randn(8, 6, 3, 3, generator=generator) / 5,
        "2.bias": torch.zeros(8),
    }
    weights = tmp_path / "own.safetensors"
    save_file(state, weights)

    def write(weights=weights, units=400, steps=60):
        path = tmp_path / "own-network.yml"
        path.write_text(RECIPE.format(weights=weights, units=units, steps=steps))
        return path

    return write


def outputs(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for pattern in ("*_recon/*.png", "*_loss.tsv", "*_metrics.tsv", "*_recon.tsv")
        for path in folder.rglob(pattern)
    }


def test_from_start_to_page_and_on_after_a_kill(
    run, command, small_dataset, own_recipe, tmp_path
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    arguments = [
        *(small_dataset, out, "participant", "--recipe", own_recipe()),
        *("--roi", "visual=V1+V2", "--split", "kfold:3"),
    ]
    status, said = run(*arguments)
    assert status == 0, said
    (metrics,) = out.rglob("*desc-ownNetwork_metrics.tsv")
    table = pd.read_csv(metrics, sep="\t").set_index("metric")
    assert table.loc["two_way_identification", "value"] > 0.7
    (loss,) = out.rglob("*desc-ownNetwork_loss.tsv")
    curves = pd.read_csv(loss, sep="\t").groupby("image")["loss"]
    assert curves.size().eq(60).all()
    assert (curves.last() < curves.first()).all()
    page = next(out.glob("sub-*.html")).read_text()
    assert page.count("own-network") > 1
    out.rename(whole)
    started = subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL)
    kill_when(started, lambda: len(list(out.rglob("*_recon/0*.png"))) >= 4)
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*_recon/0*.png")}
    assert 4 <= len(made) < 24
    status, said = run(*arguments)
    assert status == 0, said
    # Of the three that were in the making, those that are there are made once more.
    kept = [path for path, at in made.items() if path.stat().st_mtime_ns == at]
    assert len(kept) >= len(made) - 3
    first, second = outputs(whole), outputs(out)
    assert first.keys() == second.keys()
    assert not [name for name in first if first[name] != second[name]]


def refused(run, small_dataset, recipe, tmp_path):
    out = tmp_path / "refused"
    status, told = run(
        *(small_dataset, out, "participant", "--recipe", recipe, "--roi", "V1")
    )
    assert "Traceback" not in told
    assert not list(out.rglob("*.png"))
    return status, told


def test_a_layer_that_is_not_there_is_told_before_anything_runs(
    run, small_dataset, own_recipe, tmp_path
):
    recipe = own_recipe()
    recipe.write_text(recipe.read_text().replace("'2'", "conv9"))
    status, told = refused(run, small_dataset, recipe, tmp_path)
    assert status == Status.USAGE
    assert "has no layer 'conv9'. It has 0, 1, 2." in told


def test_missing_weights_are_told(run, small_dataset, own_recipe, tmp_path):
    status, told = refused(
        run, small_dataset, own_recipe(tmp_path / "gone.safetensors"), tmp_path
    )
    assert status == Status.USAGE
    assert re.search("There are no weights called '.*gone.safetensors'", told)
    status, told = refused(run, small_dataset, "shen2019-dgn", tmp_path)
    assert status == Status.NO_INPUT
    assert "dgn-fc7" in told
    assert "vgg19-caffe" in told


def test_the_encoder_of_the_page_is_as_the_page_says(tmp_path, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "deep-image-reconstruction.md"
    text = page.read_text(encoding="utf-8")
    network, weights = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (recipe,) = re.findall(r"^```yaml\n(name: my-icnn\n.*?)^```", text, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_networks.py").write_text(network)
    exec(compile(weights, page.name, "exec"), {})
    (tmp_path / "my-icnn.yml").write_text(recipe)
    steps = whole_recipe("my-icnn.yml").decode
    assert list(steps) == ["mine.first", "mine.second"]
    pictures = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    shapes = [
        space_of(step, Machine()).encode(pictures).shape for step in steps.values()
    ]
    assert shapes == [(2, 8, 32, 32), (2, 16, 16, 16)]
    for own in re.findall(r"^```yaml\n(name: .*?)^```", text, re.M | re.S):
        (tmp_path / "own.yml").write_text(own)
        assert whole_recipe("own.yml").name in own

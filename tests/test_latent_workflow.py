"""Latent diffusion from BIDS to pictures: networks at toy size, and a real one."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kills import kill_when
from PIL import Image
from toys import TOY_VDVAE

from bids_recon.plan.methods import whole_recipe
from bids_recon.simulate.dataset import Experiment, simulate_dataset

CHANGES = {
    "brain-diffuser": {
        "decode": {"vdvae": {"features": {"n_layers": 3, "architecture": TOY_VDVAE}}},
        "generate": {"steps": 4, "side": 32},
    },
    "brain-diffuser-small": {
        "decode": {"vdvae": {"features": {"n_layers": 2, "architecture": TOY_VDVAE}}},
        "generate": {"steps": 4, "side": 32},
    },
    "takagi2023": {
        "decode": {
            "latent": {"features": {"side": 32}, "rois": ["V1"]},
            "clip-text": {"rois": ["ventral"]},
        },
        "generate": {"steps": 4, "side": 32, "samples": 2},
    },
}

CHANGES["hou2023-gcn"] = {
    "decode": {
        "latent": {
            "features": {"side": 32},
            "rois": ["V1", "V2", "V3"],
            "decoder": {"width": 8, "hidden": 8, "channels": 2, "epochs": 2},
        },
        "clip-text": {
            "decoder": {"channels": 2, "n_blocks": 1, "hidden": [8], "epochs": 2}
        },
    },
    "generate": {"steps": 4, "side": 32, "samples": 1},
}


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """One participant who sees 12 photographs with captions; never written to."""
    folder = tmp_path_factory.mktemp("photographs") / "dataset"
    simulate_dataset(
        folder,
        Experiment(
            "photographs", n_participants=1, n_runs=2, n_pictures=12, noise=0.2, seed=3
        ),
    )
    names = sorted(path.stem for path in (folder / "stimuli").rglob("*.png"))
    lines = [f"{name}\ta photograph of {name.split('-')[0]}" for name in names]
    text = "\n".join(["stimulus\tcaption", *lines]) + "\n"
    (folder / "stimuli" / "captions.tsv").write_text(text)
    return folder


@pytest.fixture
def toy_recipe(tmp_path):
    """Write a recipe that has one of ours at toy size."""

    def write(extends, **more):
        data = {
            "name": "toy",
            "extends": extends,
            "pictures": {"max_size": 32},
            "evaluate": {"profiles": []},
            **CHANGES[extends],
        }
        data["generate"] = {**data["generate"], **more.pop("generate", {})}
        path = tmp_path / f"{extends}.yml"
        path.write_text(yaml.safe_dump({**data, **more}))
        return path

    return write


def options(recipe, weights):
    return [
        *("--recipe", recipe, "--weights-dir", weights, "--split", "kfold:4"),
        *("--roi", "V1=V1", "--device", "cpu"),
    ]


def outputs(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        # How long jobs took is the only thing that no two runs share.
        if path.is_file() and "_times." not in path.name
    }


@pytest.mark.parametrize(
    ("extends", "label"),
    [
        ("brain-diffuser", "V1"),
        ("brain-diffuser-small", "V1"),
        ("takagi2023", "V1Ventral"),
        ("hou2023-gcn", "V1V2V3Ventral"),
    ],
)
def test_from_bids_to_pictures(
    run, photographs, toy_weights, toy_recipe, tmp_path, extends, label
):
    out = tmp_path / "out"
    recipe = toy_recipe(extends)
    status, said = run(photographs, out, "participant", *options(recipe, toy_weights))
    assert status == 0, said
    recon = out / "sub-01" / "recon"
    (table,) = recon.glob(f"*label-{label}*desc-toy_recon.tsv")
    rows = pd.read_csv(table, sep="\t")
    samples = 2 if extends == "takagi2023" else 1
    assert len(rows) == 12 * samples
    assert sorted(rows["sample"].unique()) == list(range(1, samples + 1))
    assert rows["seed"].nunique() == len(rows)
    folder = table.with_suffix("")
    assert {path.name for path in folder.iterdir()} == set(rows["image"])
    with Image.open(folder / rows["image"][0]) as picture:
        assert picture.size == (32, 32)
    facts = json.loads(table.with_suffix(".json").read_text())
    assert facts["Transductive"] is False
    weights = facts["BidsRecon"]["Weights"]
    assert any("diffusion" in name for name in weights)
    metrics = pd.read_csv(str(table).replace("_recon.tsv", "_metrics.tsv"), sep="\t")
    # One picture of a trial counts for the program's own profile.
    assert metrics["n"].max() == 12
    assert rows.loc[rows["sample"] > 1, "pixel_correlation"].isna().all()
    assert (out / "sub-01.html").is_file()


def test_pictures_are_scored_at_their_own_size(
    run, photographs, toy_weights, toy_recipe, tmp_path
):
    # The recipe learns from 16 pixels, makes 32, and the stimuli have more.
    recipe = toy_recipe(
        "takagi2023",
        pictures={"max_size": 16},
        evaluate={"profiles": ["brain-diffuser-2023"]},
    )
    out = tmp_path / "out"
    status, said = run(photographs, out, "participant", *options(recipe, toy_weights))
    assert status == 0, said
    (table,) = (out / "sub-01" / "recon").glob("*desc-toy_recon.tsv")
    rows = pd.read_csv(table, sep="\t")
    rows = rows[rows["sample"] == 1]
    files = {path.stem: path for path in (photographs / "stimuli").rglob("*.png")}
    for row in rows.to_dict("records"):
        pair = []
        for path in (
            files[Path(row["stimulus"]).stem],
            table.with_suffix("") / row["image"],
        ):
            with Image.open(path) as picture:
                assert picture.width > 16
                large = picture.convert("RGB").resize((425, 425))
            pair.append(np.asarray(large).ravel())
        assert row["pixel_correlation_brain-diffuser-2023"] == pytest.approx(
            np.corrcoef(*pair)[0, 1], abs=1e-4
        )


def test_without_captions_the_recipe_says_so_and_goes_without(
    run, photographs, toy_weights, toy_recipe, tmp_path
):
    dataset = Path(shutil.copytree(photographs, tmp_path / "dataset"))
    (dataset / "stimuli" / "captions.tsv").unlink()
    out = tmp_path / "out"
    recipe = toy_recipe("brain-diffuser")
    status, said = run(dataset, out, "participant", *options(recipe, toy_weights))
    assert status == 0, said
    assert "There are no captions" in (out / "sub-01.html").read_text()
    (facts,) = (out / "sub-01" / "recon").glob("*label-V1*toy_recon.json")
    facts = json.loads(facts.read_text())
    assert facts["Recipe"]["generate"]["text"] is None
    assert list(facts["Recipe"]["decode"]) == ["vdvae", "clip-vision"]
    # The small one is guided by the text alone.
    recipe = toy_recipe("brain-diffuser-small")
    status, said = run(dataset, out, "participant", *options(recipe, toy_weights))
    assert status != 0
    assert "--captions FILE" in said


def test_ablations_are_settings(run, photographs, toy_weights, toy_recipe, tmp_path):
    inputs = {"init": "vdvae", "text": "clip-text", "vision": "clip-vision"}
    for off, name in inputs.items():
        recipe = toy_recipe("brain-diffuser", generate={off: None})
        assert set(whole_recipe(str(recipe)).decode) == {*inputs.values()} - {name}
    # The last of them, without what the picture's tower sees.
    out = tmp_path / "out"
    status, said = run(photographs, out, "participant", *options(recipe, toy_weights))
    assert status == 0, said
    (facts,) = (out / "sub-01" / "recon").glob("*label-V1*toy_recon.json")
    decoded = json.loads(facts.read_text())["Recipe"]["decode"]
    assert set(decoded) == {"vdvae", "clip-text"}


def test_the_published_scale_is_marked_transductive(
    run, photographs, toy_weights, toy_recipe, tmp_path
):
    out = tmp_path / "out"
    recipe = toy_recipe("brain-diffuser")
    data = yaml.safe_load(recipe.read_text())
    for name in ("vdvae", "clip-vision", "clip-text"):
        data["decode"].setdefault(name, {})["rescale"] = "transductive"
    recipe.write_text(yaml.safe_dump(data))
    status, said = run(photographs, out, "participant", *options(recipe, toy_weights))
    assert status == 0, said
    (facts,) = (out / "sub-01" / "recon").glob("*label-V1*toy_recon.json")
    assert json.loads(facts.read_text())["Transductive"] is True
    assert "Transductive: the decoded features" in (out / "sub-01.html").read_text()


def test_killed_while_pictures_are_made_it_goes_on_at_the_next(
    run, command, photographs, toy_weights, toy_recipe, tmp_path
):
    recipe = toy_recipe("brain-diffuser")
    out, whole = tmp_path / "out", tmp_path / "whole"
    arguments = [photographs, out, "participant", *options(recipe, toy_weights)]
    status, said = run(*arguments)
    assert status == 0, said
    out.rename(whole)
    started = subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL)
    kill_when(started, lambda: len(list(out.rglob("*_recon/0*.png"))) >= 3)
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*_recon/0*.png")}
    assert 3 <= len(made) < 12
    status, said = run(*arguments)
    assert status == 0, said
    assert "pictures are there" in said
    assert all(path.stat().st_mtime_ns == at for path, at in made.items())
    first, second = outputs(whole), outputs(out)
    assert first.keys() == second.keys()
    assert not [name for name in first if first[name] != second[name]]


def test_other_weights_of_the_same_name_are_used_anew(
    run, photographs, toy_weights, tmp_path
):
    weights = tmp_path / "weights"
    shutil.copytree(toy_weights / "taef2", weights / "taef2")
    arguments = [
        *(photographs, tmp_path / "out", "participant", "--recipe", "tiny-latent"),
        *("--weights-dir", weights, "--split", "kfold:4", "--roi", "V1=V1"),
    ]
    assert run(*arguments)[0] == 0
    _, said = run(*arguments)
    assert "decode: up to date" in said
    path = weights / "taef2" / "taef2_encoder.pth"
    state = torch.load(path, weights_only=True)
    torch.save({key: value.float() for key, value in state.items()}, path)
    _, said = run(*arguments)
    assert "tiny-latent V1 decode: done" in said
    assert "settings changed: weights" in said


def test_pictures_of_other_settings_are_not_taken_over(
    run, photographs, toy_weights, toy_recipe, tmp_path
):
    out = tmp_path / "out"
    arguments = options(toy_recipe("brain-diffuser"), toy_weights)
    assert run(photographs, out, "participant", *arguments)[0] == 0
    (folder,) = out.rglob("*label-V1*toy_recon")
    before = outputs(folder)
    # As after a kill: the stage has not finished, its pictures are there.
    (sidecar,) = out.rglob("*label-V1*toy_recon.json")
    sidecar.unlink()
    other = toy_recipe("brain-diffuser", generate={"guidance": 2.0})
    arguments = options(other, toy_weights)
    assert run(photographs, out, "participant", *arguments)[0] == 0
    after = outputs(folder)
    assert all(before[name] != after[name] for name in before)


def test_a_dry_run_says_which_weights(run, photographs, toy_weights, tmp_path):
    status, said = run(
        *(photographs, tmp_path / "out", "participant", "--dry-run"),
        *("--recipe", "brain-diffuser", "tiny-latent", "--weights-dir", toy_weights),
    )
    assert status == 0
    assert "weights taef2 (5 MB, MIT): here" in said
    assert "weights versatile-diffusion (10620 MB, MIT): here" in said


class TestBadInput:
    def test_absent_weights_are_told_before_anything_runs(
        self, run, photographs, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        out = tmp_path / "out"
        status, said = run(photographs, out, "participant", "--recipe", "tiny-latent")
        assert status == 66
        for words in ("taef2", "5 MB", "MIT", "bids-recon-weights fetch taef2"):
            assert words in said
        assert not out.exists()

    def test_a_device_that_is_not_there(
        self, run, photographs, toy_weights, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        status, said = run(
            *(photographs, tmp_path / "out", "participant", "--device", "cuda"),
            *("--recipe", "tiny-latent", "--weights-dir", toy_weights),
        )
        assert status == 64
        assert "--device cuda: there is none on this machine. This run" in said

    def test_truncated_weights(self, run, photographs, toy_weights, tmp_path):
        folder = tmp_path / "weights" / "taef2"
        folder.mkdir(parents=True)
        for path in (toy_weights / "taef2").iterdir():
            (folder / path.name).write_bytes(path.read_bytes()[:5000])
        status, said = run(
            *(photographs, tmp_path / "out", "participant"),
            *("--recipe", "tiny-latent", "--weights-dir", folder.parent),
        )
        assert status == 65
        assert "taef2_encoder.pth" in said
        assert "truncated" in said

    def test_weights_of_another_shape(
        self, run, photographs, toy_weights, toy_recipe, tmp_path
    ):
        recipe = toy_recipe("brain-diffuser")
        data = yaml.safe_load(recipe.read_text())
        data["decode"]["vdvae"]["features"]["architecture"]["width"] = 64
        recipe.write_text(yaml.safe_dump(data))
        status, said = run(
            *(photographs, tmp_path / "out", "participant"),
            *options(recipe, toy_weights),
        )
        assert status == 65
        assert "do not fit VDVAE" in said
        assert "size mismatch" in said

    def test_decoded_features_that_are_no_numbers(
        self, run, photographs, toy_weights, tmp_path
    ):
        out = tmp_path / "out"
        arguments = [
            *(photographs, out, "participant", "--recipe", "tiny-latent"),
            *("--weights-dir", toy_weights, "--split", "kfold:4", "--roi", "V1=V1"),
        ]
        assert run(*arguments, "--stages", "responses", "rois", "decode")[0] == 0
        (path,) = (out / "work").rglob("fold-01_latent_test.npy")
        values = np.load(path)
        values[2, 0, 0] = np.nan
        np.save(path, values)
        status, said = run(*arguments, "--stages", "generate")
        assert status == 65
        assert "fold-01_latent_test.npy" in said
        assert "not numbers" in said

    def test_pictures_of_any_kind_are_read(
        self, run, photographs, toy_weights, tmp_path
    ):
        dataset = Path(shutil.copytree(photographs, tmp_path / "dataset"))
        paths = sorted((dataset / "stimuli").rglob("*.png"))
        for path, mode in zip(paths, ("L", "RGBA", "CMYK", 1, 10_000), strict=False):
            with Image.open(path) as picture:
                if mode == "CMYK":
                    # PNG knows no CMYK: what is inside decides, not the name.
                    picture.convert(mode).save(path, format="JPEG")
                elif isinstance(mode, int):
                    large = picture.convert("L").resize((mode, mode))
                    large.save(path, compress_level=1)
                else:
                    picture.convert(mode).save(path)
        status, said = run(
            *(dataset, tmp_path / "out", "participant", "--recipe", "tiny-latent"),
            *("--weights-dir", toy_weights, "--split", "kfold:4", "--roi", "V1=V1"),
        )
        assert status == 0, said


@pytest.fixture(scope="module")
def real_run(shared, tmp_path_factory, command):
    """Photographs by the real autoencoder, with pictures told apart and shuffled."""
    folder = tmp_path_factory.mktemp("real")
    for shuffled in (False, True):
        name = "shuffled" if shuffled else "true"
        simulate_dataset(
            folder / name,
            Experiment(
                "photographs",
                n_participants=1,
                n_pictures=150,
                noise=0.5,
                shuffled=shuffled,
            ),
        )
        done = subprocess.run(
            [
                *(*command, folder / name, folder / f"{name}-out", "participant"),
                *("--recipe", "tiny-latent", "--weights-dir", shared / "weights"),
                *("--roi", "visual=V1+V2+V3", "--split", "kfold:5"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return folder


def test_real_pictures_beat_the_mean_and_the_shuffled_pairing(real_run):
    tables = {}
    for name in ("true", "shuffled"):
        (path,) = (real_run / f"{name}-out").rglob("*_metrics.tsv")
        tables[name] = pd.read_csv(path, sep="\t").set_index("metric")
    two_way = tables["true"].loc["two_way_identification"]
    assert two_way["value"] > 0.75
    assert (
        two_way["ci_low"] > tables["shuffled"].loc["two_way_identification", "ci_high"]
    )
    assert two_way["p_value"] < 0.01
    assert two_way["floor"] == pytest.approx(0.5, abs=0.01)
    correlation = tables["true"].loc["pixel_correlation"]
    assert correlation["value"] > correlation["floor"]
    mse = tables["true"].loc["mse"]
    assert mse["value"] < mse["floor"]
    assert abs(tables["shuffled"].loc["two_way_identification", "value"] - 0.5) < 0.05
    # What the autoencoder makes of true latents is nearly the picture.
    assert correlation["ceiling"] > 0.95

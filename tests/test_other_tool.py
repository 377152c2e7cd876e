"""Reconstructions of other tools beside ours: scored alike, compared where possible."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from group_tables import write_group, write_participant

from bids_recon import cli, score
from bids_recon.stages.report.group_level.reading import read_participants
from bids_recon.stages.report.group_level.rows import comparable, what_differs

METRICS = ["value", "n_candidates", "n", "n_pictures"]


@pytest.fixture
def out(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def beside(out):
    (path,) = out.glob("sub-01/recon/*_desc-eigenimage_recon.tsv")
    return path


@pytest.fixture
def theirs(beside, tmp_path):
    """The pictures of ``eigenimage`` as if another tool had made them."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    table = pd.read_csv(beside, sep="\t")
    for name, image in zip(table["stimulus"], table["image"], strict=True):
        made = beside.with_suffix("") / image
        shutil.copyfile(made, folder / name.rpartition("/")[2])
    return folder


@pytest.fixture
def run_score(capsys, small_dataset, theirs, beside):
    def call(*options, name="Their net", where=None):
        arguments = [small_dataset / "stimuli", theirs, "--beside", where or beside]
        arguments += ["--name", name, *options]
        status = score.main([str(argument) for argument in arguments])
        return status, capsys.readouterr().err

    return call


def metrics(folder, desc):
    (path,) = folder.glob(f"sub-01/recon/*_desc-{desc}_metrics.tsv")
    return pd.read_csv(path, sep="\t").set_index("metric")


def test_the_same_pictures_have_the_same_scores_and_candidates(out, run_score):
    status, said = run_score()
    assert status == 0, said
    ours, theirs = metrics(out, "eigenimage"), metrics(out, "TheirNet")
    pd.testing.assert_frame_equal(ours[METRICS], theirs[METRICS])
    assert theirs["floor"].isna().all()


def test_the_group_compares_them_with_recipes(out, small_dataset, run_score):
    run_score()
    status = cli.main([str(small_dataset), str(out), "group"])
    assert status == 0
    rows = pd.read_csv(out / "group_differences.tsv", sep="\t")
    name = "Their net (other tool)"
    own = rows[(rows["a"] == name) & (rows["subject"] == "all")]
    own = own[own["b"] == "eigenimage"]
    assert len(own) == 5
    assert np.allclose(own["difference"], 0, atol=1e-6)
    assert set(own["table"]) == {"A"}
    page = (out / "group.html").read_text()
    assert f"{name}: scored by bids-recon-score on the same test images" in page
    assert "_desc-TheirNet_recon/0" in page


def test_under_another_profile_they_stand_apart(out, small_dataset, run_score):
    assert run_score("--profile", "deeprecon")[0] == 0
    assert cli.main([str(small_dataset), str(out), "group"]) == 0
    page = (out / "group.html").read_text()
    assert "because it differs in" in page
    assert "metric profile (deeprecon-1, not bids-recon-1)" in page


def test_again_with_other_pictures_replaces_what_was_there(out, theirs, run_score):
    run_score()
    for path in theirs.iterdir():
        path.write_bytes(next(theirs.iterdir()).read_bytes())
    assert run_score()[0] == 0
    found = metrics(out, "TheirNet").loc["two_way_identification", "value"]
    assert found == pytest.approx(0.5)
    assert not read_participants(out, []).problems


class TestRefused:
    def test_a_name_that_a_recipe_has(self, out, run_score):
        before = metrics(out, "eigenimage")
        status, said = run_score(name="eigenimage")
        assert status == 64
        assert "a recipe of bids-recon has outputs of this name" in said
        pd.testing.assert_frame_equal(before, metrics(out, "eigenimage"))

    def test_a_test_image_without_a_reconstruction(self, theirs, run_score):
        next(theirs.iterdir()).unlink()
        status, said = run_score()
        assert status == 66
        assert "1 of 24 test images have no reconstruction in it" in said

    @pytest.mark.parametrize("name", [" ", "a\nb"])
    def test_a_name_that_is_none(self, run_score, name):
        status, said = run_score(name=name)
        assert status == 64
        assert "expected a name that can be printed" in said

    def test_what_is_no_table_of_ours(self, tmp_path, beside, run_score):
        other = tmp_path / beside.name
        shutil.copyfile(beside, other)
        status, said = run_score(where=other)
        assert status == 66
        assert "expected a table of reconstructions that bids-recon wrote" in said

    def test_one_option_without_the_other(self, tmp_path, capsys):
        folders = [str(tmp_path), str(tmp_path)]
        assert score.main([*folders, "--name", "x"]) == 64
        assert "--beside and --name go together" in capsys.readouterr().err


TERMS = [
    ({}, 1),
    ({"preprocessing": "X 1"}, 1),
    ({"learned_on": True}, 1),
    ({"candidates": 10}, 2),
    ({"split": "run"}, 2),
    ({"version": "9"}, 2),
    ({"pictures": [f"q{i}.png" for i in range(30)]}, 2),
]


@pytest.mark.parametrize(("terms", "n_blocks"), TERMS)
def test_only_what_is_known_of_another_tool_keeps_it_apart(tmp_path, terms, n_blocks):
    out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
    scores = {"two_way_identification": np.linspace(0, 1, 30)}
    path = write_participant(out, "01", "other", "V1", scores, **terms)
    path = path.with_name(path.name.replace("_metrics.tsv", "_recon.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"OtherTool": True}))
    blocks = comparable(read_participants(out, []).entries)
    assert len(blocks) == n_blocks
    assert "other (other tool)" in blocks[-1].recipes
    if n_blocks > 1:
        (sentence,) = what_differs(blocks)
        assert "not known" not in sentence

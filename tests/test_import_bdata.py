"""Kamitani Lab's BData, made BIDS."""

import shutil
from pathlib import Path

import bdpy
import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from releases import make_god, validator_errors

from bids_recon.dataset.importers.bdata import name_of, names_of


@pytest.fixture(scope="module")
def god(tmp_path_factory):
    return make_god(tmp_path_factory.mktemp("god"))


@pytest.fixture
def file(god, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copy(god.file, tmp_path))


def statmap_of(folder):
    (image,) = folder.rglob("*_stat-effect_desc-trial_statmap.nii.gz")
    return image


def trials_of(folder):
    (path,) = folder.rglob("*_desc-trial_events.tsv")
    return pd.read_csv(path, sep="\t", keep_default_na=False)


def test_what_follows_the_point_is_rounded():
    # In binary, this is 1518878.00595799996...: cut off, 5957 would be left.
    assert int((1518878.005958 - 1518878) * 1e6) == 5957
    assert name_of(1518878.005958) == "n01518878_5958"
    assert name_of(1443537.022563) == "n01443537_22563"
    assert name_of(1943899.0) == "n01943899"
    assert name_of(float("nan")) is None


def test_names_of_files():
    assert names_of("Subject3") == ("03", "perception")
    assert names_of("sub-01_NaturalImageTraining_fmriprep") == (
        "01",
        "NaturalImageTrainingFmriprep",
    )
    assert names_of("mydata") == ("01", "mydata")


def test_from_a_file_to_a_page_that_beats_chance(god, tmp_path, imports, run):
    status, said = imports(
        *("bdata", god.file, tmp_path / "bids", "--stimuli", god.stimuli)
    )
    assert status == 0, said
    assert "sub-03, perception: 290 samples, 160 test, 120 train" in said
    assert validator_errors(tmp_path / "bids") == []
    assert validator_errors(tmp_path / "bids/derivatives/betas") == []
    status, said = run(
        tmp_path / "bids", tmp_path / "out", "participant", "--roi", "VC"
    )
    assert status == 0, said
    (path,) = (tmp_path / "out").glob("sub-03/recon/*_metrics.tsv")
    row = pd.read_csv(path, sep="\t").set_index("metric").loc["two_way_identification"]
    assert row["ci_low"] > row["chance"]
    (recon,) = (tmp_path / "out").glob("sub-03/recon/*_recon.tsv")
    assert pd.read_csv(recon, sep="\t")["stimulus"].nunique() == 20


@pytest.mark.parametrize("indices", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_numbers_are_those_of_bdpy(tmp_path, imports, old, indices):
    god = make_god(tmp_path / "god", old=old, indices=indices)
    status, said = imports("bdata", god.file, tmp_path / "bids", "--roi", "V1")
    assert status == 0, said
    data = bdpy.BData(str(god.file))
    values = data.select("ROI_V1")
    x = data.get_metadata("voxel_x", where="VoxelData")
    inside = data.get_metadata("ROI_V1", where="VoxelData") == 1
    xyz = np.stack(
        [data.get_metadata(f"voxel_{n}", where="VoxelData") for n in "xyz"], 1
    )
    assert len(x) == len(xyz)
    image = nib.load(statmap_of(tmp_path / "bids"))
    found = image.get_fdata(dtype=np.float32)
    at = nib.affines.apply_affine(np.linalg.inv(image.affine), xyz[inside])
    np.testing.assert_allclose(
        found[tuple(at.round().astype(int).T)].T, values, rtol=1e-6
    )
    assert np.isfinite(found[..., 0]).sum() == inside.sum()
    trials = trials_of(tmp_path / "bids")
    kinds = data.select("DataType").ravel()
    assert trials["split"].tolist() == [
        {1: "train", 2: "test", 3: "n/a"}[int(kind)] for kind in kinds
    ]
    assert (trials["role"] == "imagery").tolist() == (kinds == 3).tolist()


def test_labels_of_a_vmap_are_names(god, tmp_path, imports):
    data = bdpy.BData(str(god.file))
    numbers = sorted(set(data.select("stimulus_id").ravel()))
    data.add_vmap("stimulus_id", {n: f"picture{i}" for i, n in enumerate(numbers)})
    data.save(str(tmp_path / "sub-01_Test.h5"))
    status, said = imports("bdata", tmp_path / "sub-01_Test.h5", tmp_path / "bids")
    assert status == 0, said
    trials = trials_of(tmp_path / "bids")
    assert trials["stimulus"].tolist() == list(data.get_labels("stimulus_id"))


def test_regions_that_overlap_are_all_found(god, tmp_path, imports):
    imports("bdata", god.file, tmp_path / "bids")
    tables = sorted((tmp_path / "bids").rglob("*_dseg.tsv"))
    names = [pd.read_csv(path, sep="\t")["name"].tolist() for path in tables]
    assert names == [["V1"], ["VC"]]


def cut(path):
    path.write_bytes(path.read_bytes()[:-20_000])


def without(path, key):
    with h5py.File(path, "r+") as opened:
        keys = opened["metadata/key"][()]
        keys[keys == key] = b"other"
        opened["metadata/key"][...] = keys


def crooked(path):
    with h5py.File(path, "r+") as opened:
        keys = opened["metadata/key"][()].tolist()
        opened["metadata/value"][keys.index(b"voxel_x"), 5] += 1.3


BROKEN = {
    "cut": (cut, "not readable as BData in HDF5, or cut short"),
    "no voxels": (lambda p: without(p, b"VoxelData"), "there is no variable VoxelData"),
    "no pictures": (lambda p: without(p, b"stimulus_id"), "no variable says what was"),
    "no places": (
        lambda p: without(p, b"voxel_x"),
        "nothing says where its voxels",
    ),
    "no grid": (crooked, "do not lie on one grid"),
    "no HDF5": (lambda p: p.write_text("hello"), "not readable as BData"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_in_a_sentence(file, tmp_path, imports, name):
    spoil, words = BROKEN[name]
    spoil(file)
    status, said = imports("bdata", file, tmp_path / "bids")
    assert status == 65, said
    assert words in said
    assert "Subject3.h5" in said
    assert "Traceback" not in said


def test_a_subject_or_place_that_does_not_exist_is_told(god, tmp_path, imports):
    status, said = imports(
        "bdata", god.file, tmp_path / "bids", "--participant-label", "7"
    )
    assert status == 18
    assert "There are: 03" in said
    status, said = imports("bdata", tmp_path / "none.h5", tmp_path / "bids")
    assert status == 66
    assert "none.h5: there is no such file or folder" in said
    (tmp_path / "empty").mkdir()
    status, said = imports(
        "bdata", god.file, tmp_path / "bids", "--stimuli", tmp_path / "empty"
    )
    assert status == 66
    assert "140 of the 140 pictures of the trials are missing" in said


def test_a_name_that_no_table_can_hold_is_told(god, tmp_path, imports):
    data = bdpy.BData(str(god.file))
    numbers = sorted(set(data.select("stimulus_id").ravel()))
    data.add_vmap("stimulus_id", {n: f"two\tnames{i}" for i, n in enumerate(numbers)})
    data.save(str(tmp_path / "Subject1.h5"))
    status, said = imports("bdata", tmp_path / "Subject1.h5", tmp_path / "bids")
    assert status == 65
    assert "holds a tab or a line break" in said


def test_names_of_a_file_without_a_participant_are_given(god, tmp_path, imports):
    shutil.copy(god.file, tmp_path / "decoding.h5")
    arguments = ("bdata", tmp_path / "decoding.h5", tmp_path / "bids")
    status, said = imports(*arguments, "--participant-label", "a/b")
    assert status == 64
    status, said = imports(*arguments, "--participant-label", "sub-07")
    assert status == 0, said
    assert "sub-07_task-decoding_" in statmap_of(tmp_path / "bids").name

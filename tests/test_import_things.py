"""THINGS-fMRI's tables and images, made BIDS."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from releases import make_things, validator_errors

from bids_recon.dataset.importers.pandas_hdf import PandasFrame
from bids_recon.errors import UserError


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    return make_things(tmp_path_factory.mktemp("things") / "release")


@pytest.fixture
def release(things, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(things.folder, tmp_path / "release"))


def images_of(folder):
    return sorted(folder.rglob("*_stat-effect_desc-trial_statmap.nii.gz"))


def trials_of(image):
    name = image.name.replace("_stat-effect_desc-trial_statmap.nii.gz", "")
    path = image.with_name(f"{name}_desc-trial_events.tsv")
    return pd.read_csv(path, sep="\t", keep_default_na=False)


@pytest.mark.parametrize("betas", ["csv", "vol"])
def test_from_files_to_a_page_that_beats_chance(things, tmp_path, imports, run, betas):
    status, said = imports(
        *("things", things.folder, tmp_path / "bids", "--betas", betas),
        *("--stimuli", things.stimuli),
    )
    assert status == 0, said
    assert "sub-01: 240 trials" in said
    assert len(images_of(tmp_path / "bids")) == (2 if betas == "csv" else 6)
    assert all(path.is_symlink() == (betas == "vol") for path in images_of(tmp_path))
    assert validator_errors(tmp_path / "bids") == []
    assert validator_errors(tmp_path / "bids/derivatives/betas") == []
    status, said = run(
        *(tmp_path / "bids", tmp_path / "out", "participant", "--roi", "V1+lFFA")
    )
    assert status == 0, said
    (path,) = (tmp_path / "out").glob("sub-01/recon/*_metrics.tsv")
    row = pd.read_csv(path, sep="\t").set_index("metric").loc["two_way_identification"]
    assert row["ci_low"] > row["chance"]
    (recon,) = (tmp_path / "out").glob("sub-01/recon/*_recon.tsv")
    assert pd.read_csv(recon, sep="\t")["stimulus"].nunique() == 10
    # Catch trials have volumes and are no trials: 240 responses in all.
    parts = sorted((tmp_path / "out/work").rglob("*_values.npy"))
    np.testing.assert_allclose(
        np.concatenate([np.load(part) for part in parts]), things.values, rtol=1e-5
    )


def test_numbers_are_those_of_pandas(things, tmp_path, imports):
    status, said = imports(
        *("things", things.folder, tmp_path / "bids", "--betas", "csv"),
        *("--roi", "lFFA", "--sessions", "2"),
    )
    assert status == 0, said
    csv = things.folder / "betas_csv"
    frame = pd.read_hdf(csv / "sub-01_ResponseData.h5")
    voxels = pd.read_csv(csv / "sub-01_VoxelMetadata.csv")
    (image,) = images_of(tmp_path / "bids")
    data = nib.load(image).get_fdata(dtype=np.float32)
    trials = trials_of(image)
    assert trials["trial_id"].tolist() == list(range(120, 240))
    kept = voxels[voxels["lFFA"] == 1]
    assert np.isfinite(data[..., 0]).sum() == len(kept)
    for volume, trial in ((0, 120), (7, 127), (119, 239)):
        for row in (0, 3, len(kept) - 1):
            own = kept.iloc[row]
            x, y, z = own[["voxel_x", "voxel_y", "voxel_z"]].astype(int)
            expected = frame.loc[frame["voxel_id"] == own["voxel_id"], trial].item()
            assert data[x, y, z, volume] == np.float32(expected)
    assert trials["split"].tolist() == things.design["trial_type"][120:].tolist()
    (ceiling,) = (tmp_path / "bids").rglob("*desc-testset_statmap.nii.gz")
    assert nib.load(ceiling).get_fdata()[things.mask][-1] == 90


def test_volumes_of_catch_trials_are_rest(things, tmp_path, imports):
    imports("things", things.folder, tmp_path / "bids")
    trials = trials_of(images_of(tmp_path / "bids")[0])
    # Of 42 volumes, those at 5 and 17 are catch trials.
    assert len(trials) == 42
    assert np.flatnonzero(trials["role"] == "rest").tolist() == [5, 17]
    shown = trials[trials["role"] == "trial"]["stimulus"].tolist()
    assert shown == things.design["stimulus"][:40].tolist()
    assert trials["stimulus"][6] == things.design["stimulus"][5]


def test_a_column_called_by_a_text_beside_numbers_is_found(things):
    with PandasFrame(things.folder / "betas_csv/sub-01_ResponseData.h5") as frame:
        assert frame.numbers == list(range(240))
        (seventh,) = frame.columns([7])
    np.testing.assert_array_equal(seventh, things.values[7])


def test_a_pickle_among_the_names_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "sub-01_ResponseData.h5"
    columns = pd.Index(["voxel_id", Evil(), 1], dtype=object)
    pd.DataFrame(np.ones((3, 3)), columns=columns).to_hdf(path, key="data")
    (tmp_path / "ran").unlink(missing_ok=True)
    with pytest.raises(UserError, match="this pickle would run"):
        PandasFrame(path)
    assert not (tmp_path / "ran").exists()


def edited(release, name, change):
    path = next(release.rglob(name))
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


def cut(release, name):
    path = next(release.rglob(name))
    path.write_bytes(path.read_bytes()[:-4000])


BROKEN = {
    "no design": (
        lambda r: next(r.rglob("*_StimulusMetadata.csv")).unlink(),
        (),
        66,
        "there is no sub-01_StimulusMetadata.csv",
    ),
    "no mask": (
        lambda r: shutil.rmtree(r / "brainmasks"),
        (),
        66,
        "there is no sub-01_space-T1w_brainmask.nii.gz",
    ),
    "no responses": (
        lambda r: next(r.rglob("*_ResponseData.h5")).unlink(),
        ("--betas", "csv"),
        66,
        "there is no sub-01_ResponseData.h5",
    ),
    "cut short": (
        lambda r: cut(r, "*_ResponseData.h5"),
        ("--betas", "csv"),
        65,
        "sub-01_ResponseData.h5: not a readable table of pandas in HDF5, or cut short",
    ),
    "a run missing": (
        lambda r: next(r.rglob("*ses-things01_run-02_betas.nii.gz")).unlink(),
        (),
        66,
        "there is no sub-01_ses-things01_run-02_betas.nii.gz",
    ),
    "more trials": (
        lambda r: edited(
            r,
            "*_StimulusMetadata.csv",
            lambda t: pd.concat([t, t.tail(1).assign(trial_id=240)]),
        ),
        ("--betas", "csv"),
        65,
        "no column for 1 trials",
    ),
    "other order": (
        lambda r: edited(
            r,
            "*_StimulusMetadata.csv",
            lambda t: t.assign(stimulus=t["stimulus"].iloc[::-1].to_numpy()),
        ),
        (),
        65,
        "the 1th differs",
    ),
    "fewer voxels": (
        lambda r: edited(r, "*_VoxelMetadata.csv", lambda t: t.iloc[:-1]),
        (),
        65,
        "59 voxels, but 60 in sub-01_space-T1w_brainmask.nii.gz",
    ),
    "no subject": (lambda r: None, ("--participant-label", "04"), 18, "There is no"),
    "pictures missing": (
        lambda r: next(r.rglob("thing0001_02s.jpg")).unlink(),
        ("--stimuli", "object_images"),
        66,
        "1 of the 190 pictures of the trials are missing: thing0001_02s.jpg",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_in_a_sentence(release, tmp_path, imports, name):
    spoil, options, expected, words = BROKEN[name]
    spoil(release)
    options = [release / o if o == "object_images" else o for o in options]
    status, said = imports("things", release, tmp_path / "bids", *options)
    assert status == expected, said
    assert words in said
    assert "Traceback" not in said

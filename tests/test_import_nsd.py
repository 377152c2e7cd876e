"""NSD from its folder: what is made of it, and what is said where it is broken."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from releases import AFFINE, make_nsd, save, validator_errors

from bids_recon.dataset.importers.nsd_design import Design


@pytest.fixture(scope="module")
def nsd(tmp_path_factory):
    return make_nsd(tmp_path_factory.mktemp("nsd") / "release")


@pytest.fixture
def release(nsd, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(nsd.folder, tmp_path / "release"))


SESSION = (
    "derivatives/betas/sub-02/ses-{0}/func/sub-02_ses-{0}_task-nsdcore_space-func1pt8mm"
)


def trials_of(folder, session="01"):
    name = SESSION.format(session) + "_desc-trial_events.tsv"
    return pd.read_csv(folder / name, sep="\t")


def statmap_of(folder, session="01"):
    return folder / (SESSION.format(session) + "_stat-effect_desc-trial_statmap.nii.gz")


def test_from_files_to_a_page_that_beats_chance(nsd, tmp_path, imports, run):
    status, said = imports("nsd", nsd.folder, tmp_path / "bids")
    assert status == 0, said
    assert "Data Access Agreement" in said
    assert "subj02: 2 sessions, 1500 trials" in said
    link = statmap_of(tmp_path / "bids")
    assert link.is_symlink()
    assert link.resolve().name == "betas_session01.nii.gz"
    assert validator_errors(tmp_path / "bids") == []
    assert validator_errors(tmp_path / "bids/derivatives/betas") == []
    status, said = run(
        *(tmp_path / "bids", tmp_path / "out", "participant", "--roi"),
        "V1=V1v+V1d",
    )
    assert status == 0, said
    (path,) = (tmp_path / "out").glob("sub-02/recon/*_metrics.tsv")
    metrics = pd.read_csv(path, sep="\t").set_index("metric")
    row = metrics.loc["two_way_identification"]
    assert row["ci_low"] > row["chance"]
    assert (tmp_path / "out" / "sub-02.html").is_file()
    (recon,) = (tmp_path / "out").glob("sub-02/recon/*_recon.tsv")
    # Every fifth of the 160 pictures is shared, and shown to all.
    assert pd.read_csv(recon, sep="\t")["stimulus"].nunique() == 32
    # What the program read is percent signal change: the betas, over 300.
    (values,) = (tmp_path / "out/work").rglob("*ses-01*_values.npy")
    (mask,) = (tmp_path / "out/work").rglob("*ses-01*_mask.npy")
    inside = np.load(mask)
    assert np.array_equal(inside, nsd.mask)
    np.testing.assert_allclose(
        np.load(values), nsd.betas[2, 1] / 300, rtol=1e-5, atol=1e-6
    )


def test_the_indices_begin_at_one():
    # Trial 0 is place 1, trial 749 place 1000, trial 750 place 1001.
    ordering = np.full(30000, 10000)
    ordering[[0, 749, 750]] = 1, 1000, 1001
    pictures = np.full((8, 10000), 77)
    pictures[1, [0, 999, 1000]] = 73000, 5, 1
    design = Design(ordering, pictures, None)
    first, second = design.session(2, 1), design.session(2, 2)
    columns = ["stimulus", "split"]
    assert first.iloc[0][columns].tolist() == ["nsd73000.png", "test"]
    assert first.iloc[749][columns].tolist() == ["nsd00005.png", "test"]
    assert second.iloc[0][columns].tolist() == ["nsd00001.png", "train"]
    # A run of 63 trials, then one of 62.
    assert first["run"].iloc[[0, 62, 63, 124, 125, 749]].tolist() == [1, 1, 2, 2, 3, 12]


def test_pictures_and_trials_are_those_of_nsd_access(nsd, tmp_path, imports):
    imports("nsd", nsd.folder, tmp_path / "bids", "--sessions", "2")
    assert not statmap_of(tmp_path / "bids", "01").exists()
    trials = trials_of(tmp_path / "bids", "02")
    path = nsd.folder / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    with h5py.File(path) as file:
        for t in (750, 751, 1000, 1499):
            place = nsd.ordering[t]
            row = nsd.pictures[2 - 1, place - 1] - 1
            own = trials.iloc[t - 750]
            picture = Image.open(tmp_path / "bids/stimuli/nsd" / own["stimulus"])
            assert np.array_equal(np.asarray(picture), file["imgBrick"][row])
            assert own["split"] == ("test" if place <= 1000 else "train")
            assert own["73k_id"] == row + 1


def scaled(folder, session="01"):
    image = nib.load(statmap_of(folder, session))
    assert image.get_data_dtype() == np.int16
    return image.get_fdata(dtype=np.float32)


@pytest.mark.parametrize("flips", [(), (0,), (0, 1), (2,)])
def test_regions_alone_are_read_from_the_hdf5_twin(tmp_path, imports, flips):
    nsd = make_nsd(tmp_path / "release", sessions=(1,), flips=flips)
    status, said = imports("nsd", nsd.folder, tmp_path / "bids", "--roi", "V1d")
    assert status == 0, said
    assert "read voxel by voxel" in said
    found = scaled(tmp_path / "bids")
    inside = nsd.visual == 2
    assert np.array_equal(found.any(axis=3), inside)
    expected = nsd.betas[2, 1][:, inside[nsd.mask]] / 300
    np.testing.assert_allclose(found[inside].T, expected, rtol=1e-6, atol=1e-6)
    (mask,) = (tmp_path / "bids").rglob("*desc-brain_mask.nii.gz")
    assert np.array_equal(nib.load(mask).get_fdata() > 0, inside)


def test_nifti_and_hdf5_give_the_same_bytes(nsd, release, tmp_path, imports):
    for path in release.rglob("*.hdf5"):
        if "betas" in path.name:
            path.unlink()
    for source, name in ((nsd.folder, "a"), (release, "b")):
        status, said = imports("nsd", source, tmp_path / name, "--roi", "V1v", "V1d")
        assert status == 0, said
    a, b = (statmap_of(tmp_path / name).read_bytes() for name in "ab")
    assert a == b


def test_what_is_there_is_kept_and_what_is_missing_made(nsd, tmp_path, imports):
    options = ("nsd", nsd.folder, tmp_path / "bids", "--roi", "V1v")
    imports(*options)
    before = {p: p.read_bytes() for p in (tmp_path / "bids").rglob("*") if p.is_file()}
    stamp = statmap_of(tmp_path / "bids").stat().st_mtime_ns
    lost = statmap_of(tmp_path / "bids", "02")
    lost.unlink()
    picture = next((tmp_path / "bids/stimuli/nsd").iterdir())
    picture.unlink()
    status, said = imports(*options)
    assert status == 0
    assert "2 files written" in said
    assert {p: p.read_bytes() for p in before} == before
    assert statmap_of(tmp_path / "bids").stat().st_mtime_ns == stamp


def test_voxels_of_another_region_need_a_dataset_of_their_own(nsd, tmp_path, imports):
    options = ("nsd", nsd.folder, tmp_path / "bids", "--sessions")
    assert imports(*options, "1", "--roi", "V1v")[0] == 0
    assert imports(*options, "2", "--roi", "V1v")[0] == 0
    status, said = imports(*options, "2", "--roi", "V1d")
    assert status == 73
    assert "an earlier import kept other voxels (Voxels of V1v" in said
    status, said = imports(*options, "2")
    assert status == 73


def test_files_are_copied_where_that_is_asked(nsd, tmp_path, imports):
    options = ("nsd", nsd.folder, tmp_path / "bids", "--sessions", "1", "--copy")
    assert imports(*options)[0] == 0
    image = statmap_of(tmp_path / "bids")
    assert not image.is_symlink()
    assert (
        image.read_bytes()
        == next(nsd.folder.rglob("betas_session01.nii.gz")).read_bytes()
    )


def test_a_scale_that_is_none_is_told(nsd, tmp_path, imports, run):
    imports("nsd", nsd.folder, tmp_path / "bids", "--sessions", "1")
    image = statmap_of(tmp_path / "bids")
    sidecar = image.with_name(image.name.replace(".nii.gz", ".json"))
    data = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**data, "ScaleFactor": -2}))
    status, said = run(tmp_path / "bids", tmp_path / "out", "participant")
    assert status == 65
    assert "ScaleFactor: expected" in said


def test_dry_run_writes_nothing(nsd, tmp_path, imports):
    status, said = imports("nsd", nsd.folder, tmp_path / "bids", "--dry-run")
    assert status == 0
    assert "1500 trials" in said
    assert not (tmp_path / "bids").exists()


def remove(release, pattern):
    for path in release.rglob(pattern):
        path.unlink()


def cut(release, pattern, n_bytes):
    for path in release.rglob(pattern):
        path.write_bytes(path.read_bytes()[:-n_bytes])


def shorter(release):
    path = next(release.rglob("betas_session02.nii.gz"))
    image = nib.load(path)
    save(path, np.asarray(image.dataobj)[..., :740])


def another_order(release):
    path = next(release.rglob("responses.tsv"))
    table = pd.read_csv(path, sep="\t")
    table.loc[[3, 4], "73KID"] = 1, 2
    table.to_csv(path, sep="\t", index=False)


def no_pickle(release):
    (release / "nsddata/experiments/nsd/nsd_expdesign.mat").write_bytes(b"MATLAB 5.0")


BROKEN = {
    "no design": (lambda r: remove(r, "*.mat"), (), 66, "nsd_expdesign.mat: there is"),
    "damaged design": (no_pickle, (), 65, "nsd_expdesign.mat: not a readable MATLAB"),
    "short design": (
        lambda r: cut(r, "*.mat", 40),
        (),
        65,
        "nsd_expdesign.mat: not a readable MATLAB",
    ),
    "no session 1": (
        lambda r: remove(r, "betas_session01.*"),
        (),
        66,
        "betas_session01 are missing",
    ),
    "short betas": (shorter, (), 65, "betas_session02.nii.gz: 740 volumes, but 750"),
    "short pictures": (
        lambda r: cut(r, "nsd_stimuli.hdf5", 5000),
        (),
        65,
        "nsd_stimuli.hdf5: not a readable HDF5 file, or cut short",
    ),
    "short hdf5": (
        lambda r: cut(r, "betas_session02.hdf5", 5000),
        ("--roi", "V1v"),
        65,
        "betas_session02.hdf5: not a readable HDF5 file, or cut short",
    ),
    "no pictures": (lambda r: remove(r, "nsd_stimuli.hdf5"), (), 66, "--stimuli DIR"),
    "no brain": (lambda r: remove(r, "brainmask*"), (), 66, "brainmask.nii.gz: there"),
    "other order": (another_order, (), 65, "responses.tsv: session 1 is not in the"),
    "no betas": (lambda r: None, ("--betas", "b4"), 66, "betas_fithrf_GLMdenoise_RR"),
    "no subject": (
        lambda r: None,
        ("--participant-label", "09"),
        18,
        "There is no participant '09'",
    ),
    "no session": (lambda r: None, ("--sessions", "3"), 18, "There are: 01, 02"),
    "no region": (lambda r: None, ("--roi", "V9"), 18, "there is no region 'V9'"),
    "no place": (shutil.rmtree, (), 66, "there is no such folder"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_in_a_sentence(release, tmp_path, imports, name):
    spoil, options, expected, words = BROKEN[name]
    spoil(release)
    status, said = imports("nsd", release, tmp_path / "bids", *options)
    assert status == expected, said
    assert words in said
    assert "Traceback" not in said


def test_without_means_to_check_by_the_nifti_file_is_read(release, tmp_path, imports):
    for path in release.rglob("meanbeta_session*"):
        path.unlink()
    status, said = imports("nsd", release, tmp_path / "bids", "--roi", "V1v")
    assert status == 0, said
    assert "voxel by voxel" not in said


def test_means_that_fit_no_orientation_are_told(release, tmp_path, imports):
    path = next(release.rglob("meanbeta_session01.nii.gz"))
    mean = nib.load(path).get_fdata()
    save(path, mean.astype(np.float32) + 40, AFFINE)
    status, said = imports("nsd", release, tmp_path / "bids", "--roi", "V1v")
    assert status == 65
    assert "in any orientation" in said


def test_a_folder_of_other_things_is_left_alone(nsd, tmp_path, imports):
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids/thesis.docx").write_text("mine")
    status, said = imports("nsd", nsd.folder, tmp_path / "bids")
    assert status == 73
    assert "this folder is not empty" in said
    assert [p.name for p in (tmp_path / "bids").iterdir()] == ["thesis.docx"]


def test_a_full_disk_is_told_and_the_import_goes_on(nsd, tmp_path, imports):
    arguments = ("nsd", nsd.folder, tmp_path / "bids", "--roi", "nsdgeneral")
    limited = (
        "import resource, sys; from bids_recon.import_command import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 73, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "bids").rglob("*-part-*"))
    assert imports(*arguments)[0] == 0
    assert imports("nsd", nsd.folder, tmp_path / "whole", "--roi", "nsdgeneral")[0] == 0
    a, b = (statmap_of(tmp_path / name).read_bytes() for name in ("bids", "whole"))
    assert a == b

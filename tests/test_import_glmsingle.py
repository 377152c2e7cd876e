"""GLMsingle's outputs in all forms, made BIDS."""

import pickle
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from releases import AFFINE, digits, responses, save, validator_errors

from bids_recon.dataset.importers.pickled import load_npy
from bids_recon.errors import UserError

NAME = "TYPED_FITHRF_GLMDENOISE_RR"
GRID = (5, 4, 3)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Betas in all forms, a table, pictures, an image and a mask; never written to."""
    folder = tmp_path_factory.mktemp("glmsingle")
    drawn = digits(60)
    shown = np.r_[np.arange(50), np.repeat(np.arange(50, 60), 3)]
    order = np.random.default_rng(2).permutation(len(shown))
    shown = shown[order]
    (folder / "pictures").mkdir()
    for number, pixels in enumerate(drawn):
        picture = Image.fromarray((pixels * 255).astype(np.uint8))
        picture.save(folder / f"pictures/p{number:02d}.png")
    pd.DataFrame(
        {
            "stimulus": [f"p{n:02d}.png" for n in shown],
            "session": np.repeat(["01", "02"], 40),
            "run": np.tile(np.repeat(["1", "2"], 20), 2),
            "split": np.where(shown < 50, "train", "test"),
        }
    ).to_csv(folder / "trials.tsv", sep="\t", index=False)
    values = responses(drawn[shown], int(np.prod(GRID))).astype(np.float32)
    betas = values.T.reshape(*GRID, 80)  # x, y, z, trial
    others = {"R2": betas[..., 0], "HRFindex": betas[..., 0], "pcnum": 5}
    results = {"betasmd": betas, **others}
    np.save(folder / f"{NAME}.npy", results, allow_pickle=True)
    np.save(folder / "plain.npy", betas)
    with h5py.File(folder / f"{NAME}.hdf5", "w") as file:
        for key, own in results.items():
            file[key] = own
    with h5py.File(folder / f"{NAME}.mat", "w", userblock_size=512) as file:
        file["modelmd"] = betas.T  # as MATLAB writes it
        file["modelmd"].attrs["MATLAB_class"] = np.bytes_("single")
    save(folder / f"{NAME}.nii.gz", betas)
    mask = np.zeros(GRID, dtype=np.uint8)
    mask[1:, :3, 1:] = 1
    save(folder / "mask.nii.gz", mask)
    save(folder / "mean.nii.gz", np.ones(GRID, dtype=np.float32))
    np.save(folder / "masked.npy", {"betasmd": betas[mask > 0]}, allow_pickle=True)
    # mask(:) of MATLAB: the first index is fastest.
    listed = betas.reshape(-1, 80, order="F")[mask.ravel(order="F") > 0]
    with h5py.File(folder / "masked.mat", "w") as file:
        file["modelmd"] = listed.T
    return folder


def options_of(release, reference="mean.nii.gz"):
    return (
        *("--trials", release / "trials.tsv"),
        *("--reference", release / reference),
    )


def read(folder):
    images = sorted(folder.rglob("*_stat-effect_desc-trial_statmap.nii.gz"))
    return np.concatenate(
        [nib.load(path).get_fdata(dtype=np.float32) for path in images], axis=3
    )


@pytest.mark.parametrize("ending", ["npy", "hdf5", "mat", "nii.gz"])
def test_all_forms_give_the_same_numbers(release, tmp_path, imports, ending):
    source = release / f"{NAME}.{ending}"
    status, said = imports("glmsingle", source, tmp_path / "bids", *options_of(release))
    assert status == 0, said
    betas = nib.load(release / f"{NAME}.nii.gz").get_fdata(dtype=np.float32)
    assert np.array_equal(read(tmp_path / "bids"), betas)


@pytest.mark.parametrize("name", ["masked.npy", "masked.mat"])
def test_betas_in_a_list_are_those_of_a_mask(release, tmp_path, imports, name):
    status, said = imports(
        *("glmsingle", release / name, tmp_path / "bids"),
        *options_of(release, "mask.nii.gz"),
    )
    assert status == 0, said
    betas = nib.load(release / f"{NAME}.nii.gz").get_fdata(dtype=np.float32)
    inside = nib.load(release / "mask.nii.gz").get_fdata() > 0
    found = read(tmp_path / "bids")
    assert np.array_equal(found[inside], betas[inside])
    assert np.isnan(found[~inside]).all()


def test_from_a_folder_to_a_page_that_beats_chance(release, tmp_path, imports, run):
    shutil.copy(release / f"{NAME}.npy", tmp_path)
    status, said = imports(
        *("glmsingle", tmp_path, tmp_path / "bids", *options_of(release)),
        *("--stimuli", release / "pictures", "--participant-label", "sub-05"),
    )
    assert status == 0, said
    assert "sub-05: 80 trials, 60 pictures" in said
    assert validator_errors(tmp_path / "bids") == []
    assert validator_errors(tmp_path / "bids/derivatives/betas") == []
    status, said = run(tmp_path / "bids", tmp_path / "out", "participant")
    assert status == 0, said
    (path,) = (tmp_path / "out").glob("sub-05/recon/*_metrics.tsv")
    row = pd.read_csv(path, sep="\t").set_index("metric").loc["two_way_identification"]
    assert row["ci_low"] > row["chance"]
    (recon,) = (tmp_path / "out").glob("sub-05/recon/*_recon.tsv")
    assert pd.read_csv(recon, sep="\t")["stimulus"].nunique() == 10


def test_sessions_are_chosen(release, tmp_path, imports):
    status, said = imports(
        *("glmsingle", release / f"{NAME}.hdf5", tmp_path / "bids"),
        *(*options_of(release), "--sessions", "2"),
    )
    assert status == 0, said
    (image,) = (tmp_path / "bids").rglob("*_stat-effect_desc-trial_statmap.nii.gz")
    assert "_ses-02_" in image.name
    betas = nib.load(release / f"{NAME}.nii.gz").get_fdata(dtype=np.float32)
    assert np.array_equal(read(tmp_path / "bids"), betas[..., 40:])


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, {"betasmd": Evil(tmp_path / "ran")}, allow_pickle=True)
    assert pickle.loads(pickle.dumps(Evil(tmp_path / "proof"))) is None
    assert (tmp_path / "proof").exists()
    with pytest.raises(UserError, match="this pickle would run"):
        load_npy(path)
    assert not (tmp_path / "ran").exists()


def test_numpy_of_any_age_is_read(tmp_path):
    path = tmp_path / "old.npy"
    data = {"betasmd": np.arange(6.0).reshape(2, 3), "pcnum": np.float64(3), "a": "b"}
    for old, new in ((b"numpy._core", b"numpy.core"), (b"numpy.core", b"numpy._core")):
        raw = pickle.dumps(np.array(data, dtype=object), protocol=2).replace(old, new)
        header = np.lib.format.header_data_from_array_1_0(np.array(data, dtype=object))
        with path.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(raw)
        found = load_npy(path)
        assert np.array_equal(found["betasmd"], data["betasmd"])
        assert found["pcnum"] == 3


def shortened(release, folder, name, n_bytes):
    path = folder / name
    path.write_bytes((release / name).read_bytes()[:-n_bytes])
    return path


def test_what_is_broken_is_told_in_a_sentence(release, tmp_path, imports):
    def said_of(source, *options, expected=65):
        status, said = imports("glmsingle", source, tmp_path / "bids", *options)
        assert status == expected, said
        assert "Traceback" not in said
        assert not (tmp_path / "bids").exists()
        return said

    good = options_of(release)
    for ending in ("npy", "hdf5"):
        path = shortened(release, tmp_path, f"{NAME}.{ending}", 5000)
        assert f"{path.name}: " in (said := said_of(path, *good))
        assert "cut short" in said
    lines = (release / "trials.tsv").read_text().splitlines()
    (tmp_path / "short.tsv").write_text("\n".join(lines[:-1]) + "\n")
    short = ("--trials", tmp_path / "short.tsv", *good[2:])
    said = said_of(release / f"{NAME}.npy", *short)
    assert "betas of 80 trials, and 79 rows in" in said
    assert "80 volumes, but 79" in said_of(release / f"{NAME}.nii.gz", *short)
    other = options_of(release)[:2]
    said = said_of(release / f"{NAME}.npy", *other, expected=64)
    assert "--reference" in said
    save(tmp_path / "other.nii.gz", np.ones((2, 2, 2)), AFFINE)
    said = said_of(
        release / f"{NAME}.npy", *other, "--reference", tmp_path / "other.nii.gz"
    )
    assert "has betas of (5, 4, 3)" in said
    said = said_of(release / f"{NAME}.npy", *good[2:], expected=64)
    assert "--trials TSV is missing" in said
    (tmp_path / "empty").mkdir()
    said = said_of(tmp_path / "empty", *good, expected=66)
    assert f"there is no {NAME}" in said
    said = said_of(tmp_path / "nowhere", *good, expected=66)
    assert "there is no such file or folder" in said
    np.save(tmp_path / "none.npy", {"R2": np.ones(3)}, allow_pickle=True)
    assert "there is no betasmd or modelmd in it; found R2" in said_of(
        tmp_path / "none.npy", *good
    )
    said = said_of(release / f"{NAME}.nii.gz", *good, "--sessions", "1", expected=64)
    assert "NIfTI is linked whole" in said
    said = said_of(release / f"{NAME}.npy", *good, "--roi", "V1", expected=64)
    assert "--roi changes nothing for glmsingle" in said
    away = ("--participant-label", "../01")
    said = said_of(release / f"{NAME}.npy", *good, *away, expected=64)
    assert "'../01': expected letters and digits" in said

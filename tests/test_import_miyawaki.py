"""Miyawaki 2008 as nilearn leaves it, made BIDS."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiMasker
from PIL import Image
from releases import make_miyawaki, save, validator_errors

from bids_recon.dataset.importers.miyawaki import blocks_of


@pytest.fixture(scope="module")
def miyawaki(tmp_path_factory):
    return make_miyawaki(tmp_path_factory.mktemp("miyawaki") / "miyawaki2008")


@pytest.fixture
def release(miyawaki, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(miyawaki.folder, tmp_path / "miyawaki2008"))


def test_labels_run_down_the_columns():
    # The second of the 100 values is the second row of the first column.
    label = np.zeros(100, dtype=int)
    label[1] = 1
    labels = np.stack([np.full(100, -1), label, label, np.full(100, -1)])
    table, patterns = blocks_of(labels, "figure", "01")
    (pixels,) = patterns.values()
    assert np.argwhere(pixels).tolist() == [[1, 0]]
    # Volumes 1 and 2 show it; volumes 3 and 4 respond, and 4 was not measured.
    (row,) = table.to_dict("records")
    assert (row["onset"], row["duration"]) == (2.0, 4.0)
    assert (row["first_volume"], row["n_volumes"]) == (3, 1)
    assert row["split"] == "test"


def test_from_files_to_a_page_that_beats_chance(miyawaki, tmp_path, imports, run):
    status, said = imports("miyawaki", miyawaki.folder, tmp_path / "bids")
    assert status == 0, said
    assert "random: 6 runs, 132 trials" in said
    assert "figure: 2 runs, 20 trials" in said
    assert validator_errors(tmp_path / "bids") == []
    assert validator_errors(tmp_path / "bids/derivatives/betas") == []
    status, said = run(
        *(tmp_path / "bids", tmp_path / "out", "participant", "--roi", "V1=V1d+V1v")
    )
    assert status == 0, said
    (path,) = (tmp_path / "out").glob("sub-01/recon/*_metrics.tsv")
    row = pd.read_csv(path, sep="\t").set_index("metric").loc["two_way_identification"]
    assert row["ci_low"] > row["chance"]
    (recon,) = (tmp_path / "out").glob("sub-01/recon/*_recon.tsv")
    assert pd.read_csv(recon, sep="\t")["stimulus"].nunique() == 5


def test_numbers_are_those_of_nilearn(miyawaki, tmp_path, imports):
    imports("miyawaki", miyawaki.folder, tmp_path / "bids")
    func = tmp_path / "bids/derivatives/betas/sub-01/func"
    stem = "sub-01_task-random_run-03_space-boldref"
    found = nib.load(func / f"{stem}_stat-effect_desc-trial_statmap.nii.gz")
    trials = pd.read_csv(func / f"{stem}_desc-trial_events.tsv", sep="\t")
    masker = NiftiMasker(
        miyawaki.folder / "mask/mask.nii.gz", detrend=True, standardize="psc"
    )
    series = masker.fit_transform(miyawaki.folder / "func/data_random_run03.nii.gz")
    labels = np.loadtxt(
        miyawaki.folder / "label/data_random_run03_label.csv", delimiter=","
    )
    # nilearn's example: the labels two volumes before, and rest left out.
    X, y = series[2:], labels[:-2]
    X, y = X[y[:, 0] != -1], y[y[:, 0] != -1]
    values = found.get_fdata(dtype=np.float32)[miyawaki.mask].T
    assert len(values) == len(trials) == 22
    np.testing.assert_allclose(
        values, X.reshape(22, 3, -1).mean(axis=1), rtol=1e-4, atol=1e-5
    )
    for row, stimulus in enumerate(trials["stimulus"]):
        picture = np.asarray(Image.open(tmp_path / "bids/stimuli" / stimulus))
        assert np.array_equal(picture, y[3 * row].reshape(10, 10, order="F") * 255)


def rewrite(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


def fewer_volumes(release):
    path = release / "func/data_random_run02.nii.gz"
    save(path, np.asarray(nib.load(path).dataobj)[..., :-3])


BROKEN = {
    "no labels": (
        lambda r: (r / "label/data_figure_run01_label.csv").unlink(),
        66,
        "data_figure_run01_label.csv: there is no such file",
    ),
    "a run missing": (
        lambda r: (r / "func/data_random_run03.nii.gz").unlink(),
        66,
        "data_random_run03.nii.gz missing",
    ),
    "fewer volumes": (
        fewer_volumes,
        65,
        "data_random_run02.nii.gz: 132 volumes, but 135",
    ),
    "99 values": (
        lambda r: rewrite(
            r / "label/data_random_run01_label.csv",
            lambda lines: [*lines[:6], lines[6][: lines[6].rfind(",")], *lines[7:]],
        ),
        65,
        "data_random_run01_label.csv: line 7 has 99 fields",
    ),
    "no mask": (lambda r: (r / "mask/mask.nii.gz").unlink(), 66, "mask.nii.gz"),
    "another folder": (lambda r: shutil.rmtree(r / "func"), 66, "fetch_miyawaki2008"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_in_a_sentence(release, tmp_path, imports, name):
    spoil, expected, words = BROKEN[name]
    spoil(release)
    status, said = imports("miyawaki", release, tmp_path / "bids")
    assert status == expected, said
    assert words in said
    assert "Traceback" not in said

"""Single-trial responses that exist: no BOLD and no events are needed."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.layout import Run
from bids_recon.dataset.trial_tables import read_trial_table
from bids_recon.responses.given import Given


def trials_of(tmp_path, **columns):
    """Read a table beside an image of as many volumes as it has rows."""
    path = tmp_path / "sub-01_task-x_trials.tsv"
    table = pd.DataFrame(columns)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    run = Run({"task": "x"}, tmp_path / "x.nii.gz", path, None, None, {}, True)
    return read_trial_table(run, len(table), None)


@pytest.mark.parametrize("first", [0, 1])
def test_an_index_says_which_volume_a_row_is_of(tmp_path, first):
    index = np.array([2, 0, 3, 1])
    trials = trials_of(tmp_path, beta_index=index + first, label=list("abcd"))
    assert trials["stimulus"].tolist() == list("abcd")
    bold = np.array([[10.0], [11.0], [12.0], [13.0]])
    values = Given().estimate(bold, trials, 2.0)
    assert values[:, 0].tolist() == [12, 10, 13, 11]


def test_without_an_index_rows_are_in_the_order_of_volumes(tmp_path):
    trials = trials_of(tmp_path, label=list("dbca"))
    assert trials["volume"].tolist() == [0, 1, 2, 3]


def test_rows_of_rest_and_without_a_picture_are_no_trials(tmp_path):
    trials = trials_of(
        tmp_path,
        role=["trial", "rest", None, "trial", "imagery"],
        stimulus=["a", "b", "c", None, "e"],
    )
    assert trials["stimulus"].tolist() == ["a", "c", "e"]
    assert trials["role"].tolist() == ["trial", "trial", "imagery"]
    values = Given().estimate(np.arange(5.0)[:, None], trials, 2.0)
    assert values[:, 0].tolist() == [0, 2, 4]


@pytest.fixture
def betas(dataset, finished, tmp_path):
    """A dataset that holds our own responses in place of BOLD and events."""
    folder = dataset / "derivatives" / "betas"
    for path in finished.glob("sub-01/func/*desc-trial_*"):
        target = folder / "sub-01" / "func" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    shutil.copy(finished / "dataset_description.json", folder)
    shutil.rmtree(dataset / "derivatives" / "fmriprep")
    shutil.rmtree(dataset / "sub-01")
    return dataset


OPTIONS = ("participant", "--roi", "visual=V1+V2", "--split", "kfold:3")


def recon_table(output_dir):
    (path,) = output_dir.glob("sub-01/recon/*_desc-eigenimage_recon.tsv")
    return pd.read_csv(path, sep="\t")


def test_our_own_responses_give_what_the_bold_gave(betas, finished, tmp_path, run):
    status, said = run(betas, tmp_path / "out", *OPTIONS)
    assert status == 0, said
    before, after = recon_table(finished), recon_table(tmp_path / "out")
    assert before["stimulus"].tolist() == after["stimulus"].tolist()
    np.testing.assert_allclose(
        before["pixel_correlation"], after["pixel_correlation"], atol=0.02
    )
    assert not list((tmp_path / "out").glob("sub-01/func/*_stat-effect_*"))
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "responses that others estimated" in page


def as_laion(betas):
    """Give the responses the names and the table of LAION-fMRI."""
    func = betas / "derivatives" / "betas" / "sub-01"
    session = func / "ses-01" / "func"
    session.mkdir(parents=True)
    for number in (1, 2):
        old = next(func.glob(f"func/*run-0{number}*statmap.nii.gz"))
        events = pd.read_csv(
            next(func.glob(f"func/*run-0{number}*events.tsv")), sep="\t"
        )
        name = f"sub-01_ses-01_task-images_run-{number}_space-T1w"
        shutil.copy(
            old,
            session / f"{name}_stat-effect_desc-SingletrialBetas_statmap.nii.gz",
        )
        table = pd.DataFrame(
            {
                "session": "01",
                "run": number,
                "beta_index": range(len(events)),
                "label": events["stimulus"],
            }
        )
        # The index tells the volume, wherever the row stands.
        table.iloc[::-1].to_csv(
            session / f"{name}_desc-SingletrialBetas_trials.tsv", sep="\t", index=False
        )
    shutil.rmtree(func / "func")
    return session


def test_laions_form_is_read(betas, finished, tmp_path, run):
    as_laion(betas)
    status, said = run(betas, tmp_path / "out", *OPTIONS)
    assert status == 0, said
    before = recon_table(finished).groupby("stimulus")["pixel_correlation"].mean()
    after = (
        recon_table(tmp_path / "out").groupby("stimulus")["pixel_correlation"].mean()
    )
    # Reversed rows give other folds, so scores agree on the whole, not one by one.
    assert abs(before.mean() - after.mean()) < 0.1
    assert set(before.index) == set(after.index)


def test_rows_and_volumes_must_agree(betas, tmp_path, run):
    session = as_laion(betas)
    path = next(session.glob("*run-1*trials.tsv"))
    lines = path.read_text().strip().split("\n")
    path.write_text("\n".join(lines[:-2]) + "\n")
    status, said = run(betas, tmp_path / "out", *OPTIONS)
    assert status == 65
    assert "10 rows for the 12 volumes" in said
    assert path.name in said


def test_a_wrong_index_is_told(betas, tmp_path, run):
    session = as_laion(betas)
    path = next(session.glob("*run-1*trials.tsv"))
    table = pd.read_csv(path, sep="\t")
    table.assign(beta_index=3).to_csv(path, sep="\t", index=False)
    status, said = run(betas, tmp_path / "out", *OPTIONS)
    assert status == 65
    assert "beta_index must number the volumes" in said


def test_no_table_is_told(betas, tmp_path, run):
    session = as_laion(betas)
    next(session.glob("*run-1*trials.tsv")).unlink()
    status, said = run(betas, tmp_path / "out", *OPTIONS)
    assert status == 66
    assert "one row per volume" in said


def test_voxels_without_a_value_are_left_out(betas, tmp_path, run):
    path = next(betas.glob("derivatives/betas/sub-01/func/*run-01*statmap.nii.gz"))
    region = next(betas.glob("derivatives/rois/**/*label-V1_mask.nii.gz"))
    inside = np.argwhere(nib.load(region).get_fdata() > 0)
    image = nib.load(path)
    data = image.get_fdata(dtype=np.float32)
    data[tuple(inside[0])] = np.nan
    nib.Nifti1Image(data, image.affine).to_filename(path)
    status, said = run(betas, tmp_path / "out", *OPTIONS)
    assert status == 0, said
    used = next((tmp_path / "out").glob("sub-01/func/*label-visual*mask.json"))
    warnings = json.loads(used.read_text())["BidsRecon"]["Warnings"]
    assert warnings == [
        "visual: 1 of 280 voxels have no response in every run; dropped."
    ]

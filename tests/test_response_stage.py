"""The responses of a run that the program leaves, against numpy on the same files."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.confounds import read_confounds
from bids_recon.dataset.layout import Run

RECIPE = """\
name: windowed
description: A window of 4 s, 4.5 s after the onset, without tissue signals
cite: [miyawaki2008]
pictures: {max_size: 8}
responses:
  estimator: {name: window, lag: 4.5, detrend: false}
  confounds: [wm_csf]
decode:
  eigenimage:
    decoder: {name: ridge, alpha: 1.0}
generate: {name: inverse, features: eigenimage}
evaluate: {profiles: [bids-recon]}
"""
START = 0.9
LOST = 3
"""The event that stands before its run, and has no response."""


def mark_unsteady(path, n_volumes=2):
    """Mark the first volumes of a run as fMRIPrep does."""
    table = pd.read_csv(path, sep="\t")
    for volume in range(n_volumes):
        name = f"non_steady_state_outlier{volume:02d}"
        table[name] = (np.arange(len(table)) == volume).astype(int)
    table.to_csv(path, sep="\t", index=False)
    return table


@pytest.fixture
def acquired(dataset):
    """Runs corrected to the middle of a volume, of which the first is not steady."""
    for path in dataset.glob("derivatives/fmriprep/**/*preproc_bold.json"):
        path.write_text(
            json.dumps({**json.loads(path.read_text()), "StartTime": START})
        )
    for path in dataset.glob("derivatives/fmriprep/**/*timeseries.tsv"):
        mark_unsteady(path)
    for path in dataset.glob("sub-01/func/*events.tsv"):
        events = pd.read_csv(path, sep="\t")
        events.loc[LOST, "onset"] = -30.0
        events.to_csv(path, sep="\t", index=False)
    return dataset


def expected_responses(dataset, number):
    """Average what confounds, the unsteady volumes and a constant leave of a run."""
    name = f"sub-01_task-digits_run-0{number}"
    func = dataset / "derivatives" / "fmriprep" / "sub-01" / "func"
    image = nib.load(func / f"{name}_space-T1w_desc-preproc_bold.nii.gz")
    mask = nib.load(func / f"{name}_space-T1w_desc-brain_mask.nii.gz").get_fdata() > 0
    bold = image.get_fdata()[mask].T
    table = pd.read_csv(func / f"{name}_desc-confounds_timeseries.tsv", sep="\t")
    unsteady = [f"non_steady_state_outlier{volume:02d}" for volume in range(2)]
    model = table[["csf", "white_matter", *unsteady]].assign(one=1).to_numpy(float)
    left = bold - model @ np.linalg.lstsq(model, bold, rcond=None)[0]
    signal = 100 * left / bold.mean(axis=0)
    times = START + 2.0 * np.arange(len(bold))
    events = pd.read_csv(dataset / f"sub-01/func/{name}_events.tsv", sep="\t")
    events = events.drop(index=LOST)
    begins = events["onset"].to_numpy() + 4.5
    inside = [(times >= begin) & (times < begin + 4) for begin in begins]
    return events, np.array([signal[rows].mean(axis=0) for rows in inside]), mask


def test_responses_are_those_that_numpy_gives(acquired, tmp_path, run):
    (tmp_path / "windowed.yml").write_text(RECIPE)
    status, said = run(
        *(acquired, tmp_path / "out", "participant", "--stages", "responses"),
        *("--recipe", tmp_path / "windowed.yml"),
    )
    assert status == 0, said
    assert "1 trials end the run or cannot be told from the others" in said
    for number in (1, 2):
        events, expected, mask = expected_responses(acquired, number)
        func = tmp_path / "out" / "sub-01" / "func"
        (statmap,) = func.glob(f"*run-0{number}*_statmap.nii.gz")
        (table,) = func.glob(f"*run-0{number}*_events.tsv")
        written = pd.read_csv(table, sep="\t")
        assert written["onset"].tolist() == events["onset"].tolist()
        assert [name.removeprefix("digits/") for name in written["stimulus"]] == [
            name.removeprefix("digits/") for name in events["stim_file"]
        ]
        values = nib.load(statmap).get_fdata()[mask].T
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)


def test_volumes_that_are_not_steady_get_a_regressor_each(dataset):
    (bold,) = dataset.glob("derivatives/fmriprep/**/*run-01*preproc_bold.nii.gz")
    (path,) = dataset.glob("derivatives/fmriprep/**/*run-01*timeseries.tsv")
    table = mark_unsteady(path)
    run = Run({"task": "digits"}, bold, None, None, path, {})
    values, note = read_confounds(run, ("wm_csf",), len(table))
    assert note is None
    assert values.shape == (len(table), 4)
    np.testing.assert_array_equal(values[:, 2:], np.eye(len(table))[:, :2])
    tissue = table[["csf", "white_matter"]].to_numpy()
    ours = values[:, :2] - values[:, :2].mean(axis=0)
    np.testing.assert_allclose(
        np.corrcoef(ours.T)[0, 1], np.corrcoef(tissue.T)[0, 1], atol=0.05
    )

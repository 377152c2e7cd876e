"""What --mem-mb and --offline do to a run."""

import logging
import os
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import pytest

from bids_recon.dataset.layout import Dataset
from bids_recon.engine import Processes
from bids_recon.errors import Status, UserError
from bids_recon.plan.checks import processes_within_memory
from bids_recon.plan.estimate import LIBRARIES_MB, estimate, largest_run_mb
from bids_recon.plan.make_plan import find, make_plan
from bids_recon.plan.make_plans import _result
from bids_recon.plan.methods import whole_recipe
from bids_recon.settings import Settings


@pytest.fixture
def plan(small_dataset, tmp_path):
    settings = Settings(small_dataset, tmp_path / "out", level="participant")
    return make_plan(find(Dataset(settings), "01"), (whole_recipe("eigenimage"),))


def test_the_largest_run_is_held_twice_with_its_responses(plan, small_dataset):
    path = next(small_dataset.glob("derivatives/fmriprep/**/*run-01*brain_mask.nii.gz"))
    n_voxels = int((nib.load(path).get_fdata() > 0).sum())
    bold = next(small_dataset.glob("derivatives/fmriprep/**/*run-01*bold.nii.gz"))
    n_volumes, n_trials = nib.load(bold).shape[3], 12
    expected = 4 * n_voxels * (2 * n_volumes + 3 * n_trials) / 2**20
    assert largest_run_mb(plan) == LIBRARIES_MB + int(expected)


@pytest.mark.parametrize(
    ("share", "n_procs", "expected"),
    [(1.0, 8, 1), (2.99, 8, 2), (3.0, 8, 3), (3.5, 2, 2), (None, 8, 8)],
)
def test_as_many_processes_as_fit(plan, caplog, share, n_procs, expected):
    # Decoding takes more here than a run of BOLD.
    need = estimate(plan).memory_mb
    assert need > largest_run_mb(plan)
    mem_mb = share and int(share * need)
    settings = replace(plan.settings, mem_mb=mem_mb, n_procs=n_procs)
    with caplog.at_level(logging.WARNING, "bids_recon"):
        assert processes_within_memory(settings, [plan]) == expected
    told = f"{expected} run at once instead of {n_procs}" in caplog.text
    assert told == (expected < n_procs)
    assert "takes what it needs" not in caplog.text


@pytest.mark.parametrize(("share", "expected"), [(2, [1, 2]), (1, [])])
def test_no_more_processes_work_than_fit(
    plan, small_dataset, tmp_path, run, monkeypatch, share, expected
):
    n_workers = []
    carry_out_all = Processes.run

    def counted(self, *arguments):
        outcomes = carry_out_all(self, *arguments)
        n_workers.append(len(self._workers))
        return outcomes

    monkeypatch.setattr(Processes, "run", counted)
    words = ("--stages", "responses", "rois", "decode", "--n-procs", "3", "--mem-mb")
    mem_mb = share * estimate(plan).memory_mb
    status, said = run(small_dataset, tmp_path / "run", "participant", *words, mem_mb)
    assert status == 0, said
    assert f"{share} run at once instead of 3" in said
    # One plans the only participant; where one fits, this process does everything.
    assert n_workers == expected


def test_too_little_for_one_process_is_told(plan, caplog):
    need = estimate(plan).memory_mb
    settings = replace(plan.settings, mem_mb=need - 1)
    with caplog.at_level(logging.WARNING, "bids_recon"):
        assert processes_within_memory(settings, [plan]) == 1
    assert f"--mem-mb {need - 1}: a process needs about {need} MB" in caplog.text


def test_offline_is_what_libraries_are_told(tmp_path):
    code = (
        "import sys; from bids_recon.cli import main\n"
        "main(sys.argv[1:])\n"
        "from huggingface_hub.constants import HF_HUB_OFFLINE\n"
        "from templateflow.conf import TF_AUTOUPDATE\n"
        "print(HF_HUB_OFFLINE, TF_AUTOUPDATE)"
    )
    words = [tmp_path / "nowhere", tmp_path / "out", "participant", "--offline"]
    hidden = ("HF_HUB_OFFLINE", "TEMPLATEFLOW_AUTOUPDATE", "TRANSFORMERS_OFFLINE")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**env, "TEMPLATEFLOW_HOME": str(tmp_path / "templateflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_what_cannot_be_read_in_planning_is_not_told_as_an_output(tmp_path):
    with pytest.raises(UserError, match="is-not-there: cannot be read") as caught:
        _result((tmp_path / "is-not-there").read_bytes)
    assert caught.value.status == Status.NO_INPUT

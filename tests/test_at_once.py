"""Several runs on one OUTPUT_DIR end like one after the other."""

import shutil
import subprocess

import pytest
from test_workflow import GROUP, files_of

SKIP = ("logs", "figures", *GROUP)


@pytest.fixture(params=["one", "several"])
def alone(request):
    """Words before a command that give it process numbers of its own, or none."""
    if request.param == "one":
        return []
    words = ["unshare", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"]).returncode:
        pytest.skip("processes cannot be given numbers of their own here")
    return words


def all_of(*commands):
    running = [
        subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for words in commands
    ]
    return [(process.communicate()[1], process.returncode) for process in running]


def test_the_same_run_twice_at_once(
    small_dataset, finished, tmp_path, command, options, alone
):
    out = tmp_path / "derivatives"
    words = [*alone, *command, small_dataset, out, "participant", *options]
    for said, status in all_of(words, words, words):
        assert status == 0, said
    assert files_of(out, skip=SKIP) == files_of(finished, skip=SKIP)


def test_runs_of_other_recipes_at_once_leave_each_its_outputs(
    small_dataset, finished, tmp_path, command, options, alone
):
    out = tmp_path / "derivatives"
    words = [*alone, *command, small_dataset, out, "participant"]
    common = ["--roi", "visual=V1+V2", "--split", "kfold:3", "--recipe"]
    ends = all_of(
        [*words, *common, "eigenimage"], [*words, *common, "miyawaki2008-omp"]
    )
    for said, status in ends:
        assert status == 0, said
    assert sum("waits until it ends" in said for said, _ in ends) == 1
    assert files_of(out / "sub-01/recon") == files_of(finished / "sub-01/recon")

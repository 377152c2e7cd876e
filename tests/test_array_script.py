"""The script for an array of SLURM, run by bash as SLURM would."""

import os
import subprocess

import pytest

from bids_recon import cli
from bids_recon.settings import Settings

ODD = "a 'user's\" $HOME; touch gone %A"


@pytest.mark.parametrize(
    "words",
    [
        ["--recipe", "eigenimage", "bayes", "--roi", "a=V1+V2", "V1", "-vv"],
        [
            "--trials",
            "-x == 1",
            "--seed",
            "3",
            "--offline",
            "--stages",
            "rois",
            "decode",
        ],
        ["--participant-label", "01", "02", "-w", "/a b", "--device", "cpu"],
    ],
)
def test_settings_become_words_that_are_read_alike(words):
    words = [f"--trials={words[1]}", *words[2:]] if words[0] == "--trials" else words
    settings = cli.make_settings(["/in", "/out", "participant", *words])
    again = cli.make_settings(["/in", "/out", "participant", *settings.as_words()])
    assert isinstance(again, Settings)
    assert again == settings


def test_a_task_and_the_group_run_from_any_path(
    small_dataset, tmp_path, command, finished
):
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / "dataset").symlink_to(small_dataset)
    options = ["--roi", "visual=V1+V2", "--split", "kfold:3"]
    full = [*command, "dataset", "out", "participant", *options]
    done = subprocess.run(
        [*full, "--array-script", "slurm"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "out").exists()
    assert "#SBATCH --array=1-1\n" in done.stdout
    script = tmp_path / "run.sh"
    script.write_text(done.stdout)
    for task in ("1", "0"):
        surroundings = os.environ | {"SLURM_ARRAY_TASK_ID": task}
        ran = subprocess.run(
            ["bash", script],
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    name = "sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_recon.tsv"
    assert (folder / "out" / name).read_bytes() == (finished / name).read_bytes()
    assert (folder / "out" / "group.html").is_file()
    rows = (folder / "bids-recon-slurm" / "tasks.tsv").read_text().splitlines()
    assert [row.split("\t")[:2] for row in rows] == [
        ["participant_id", "exit_status"],
        ["sub-01", "0"],
        ["group", "0"],
    ]
    assert not list(folder.glob("gone*"))


def test_two_ways_to_a_cluster_are_one_too_many(small_dataset, tmp_path, run):
    words = [small_dataset, tmp_path / "out", "participant", "--cluster", "slurm"]
    status, said = run(*words, "--array-script", "slurm")
    assert (status, "Take one." in said) == (64, True)
    status, said = run(*words[:2], "group", "--array-script", "slurm")
    assert (status, "level participant" in said) == (64, True)

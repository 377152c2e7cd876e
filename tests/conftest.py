"""Datasets and runs that many tests share."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many threads as cores in every worker would wait for each other; this must be
    # said before the libraries are loaded.
    os.environ["OMP_NUM_THREADS"] = "1"

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import write_toys

from bids_recon import cli, import_command
from bids_recon.simulate.dataset import Experiment, simulate_dataset


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that need it skip where it is not given."""
    folder = os.environ.get("BIDS_RECON_SHARED")
    if not folder:
        pytest.skip("BIDS_RECON_SHARED does not name the folder of real data")
    path = Path(folder).resolve()
    assert (path / "datasets").is_dir(), f"{path} holds no datasets"
    return path


@pytest.fixture(scope="session")
def toy_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random networks of the real classes, where the real weights would be."""
    folder = tmp_path_factory.mktemp("weights")
    write_toys(folder)
    return folder


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One participant, 2 runs, 24 digits with little noise; never written to."""
    folder = tmp_path_factory.mktemp("small") / "dataset"
    simulate_dataset(
        folder,
        Experiment(n_participants=1, n_runs=2, n_pictures=24, noise=0.2, seed=3),
    )
    return folder


@pytest.fixture
def dataset(small_dataset: Path, tmp_path: Path) -> Path:
    """A copy of ``small_dataset`` that a test may break."""
    return Path(shutil.copytree(small_dataset, tmp_path / "dataset"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run ``bids-recon`` in this process; return its status and what it said."""

    def call(*arguments: object) -> tuple[int, str]:
        status = cli.main([str(argument) for argument in arguments])
        return status, capsys.readouterr().err

    return call


@pytest.fixture
def imports(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run ``bids-recon-import`` in this process; its status and what it said."""

    def call(*arguments: object) -> tuple[int, str]:
        status = import_command.main([str(argument) for argument in arguments])
        return status, capsys.readouterr().err

    return call


@pytest.fixture(scope="session")
def command() -> list[str]:
    """``bids-recon`` as a process of its own."""
    return [sys.executable, "-m", "bids_recon"]


@pytest.fixture(scope="session")
def options() -> list[str]:
    """What ``finished`` was asked for."""
    recipes = ["--recipe", "eigenimage", "miyawaki2008-omp"]
    return [*recipes, "--roi", "visual=V1+V2", "--split", "kfold:3"]


@pytest.fixture(scope="session")
def finished(small_dataset: Path, command: list[str], options: list[str]) -> Path:
    """The outputs of both recipes on ``small_dataset``; never written to."""
    output_dir = small_dataset.parent / "derivatives"
    for level in (("participant", *options), ("group",)):
        done = subprocess.run(
            [*command, small_dataset, output_dir, *level],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return output_dir

"""Four runs at once on one OUTPUT_DIR, each with process numbers of its own.

    make at-once-test       (as root)

Containers count their processes from one, so that each run is number 1 of its own. Two
runs do both participants and two do one each; after every round, what is there is
compared, byte for byte, with what one run writes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slurm import results

from bids_recon.simulate.dataset import Experiment, simulate_dataset

ROUNDS = 20
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")
OPTIONS = ("--roi", "visual=V1+V2", "--split", "kfold:3", "--omp-nthreads", "1")
WHO = ([], [], ["--participant-label", "01"], ["--participant-label", "02"])


def command(dataset: Path, out: Path, *more: str) -> list[str]:
    """Return the words of a run."""
    words = (sys.executable, "-m", "bids_recon", dataset, out, "participant", *OPTIONS)
    return [*map(str, words), *more]


def one_round(dataset: Path, out: Path, expected: dict[str, bytes]) -> None:
    """Start four runs, and end where what they leave is not what one run leaves."""
    running = [
        subprocess.Popen(
            [*NAMESPACE, *command(dataset, out, *who)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in WHO
    ]
    for process in running:
        said = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"status {process.returncode}\n{said}")
    found = results(out)
    other = {name for name in expected | found if expected.get(name) != found.get(name)}
    if other:
        raise SystemExit(f"other than one run's: {sorted(other)}")
    left = list(out.rglob(".bids-recon-part-*"))
    if left:
        raise SystemExit(f"left: {left}")


def main() -> None:
    """Do all rounds."""
    os.environ["OMP_NUM_THREADS"] = "1"
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        experiment = Experiment(
            n_participants=2, n_runs=2, n_pictures=24, noise=0.2, seed=3
        )
        simulate_dataset(place / "dataset", experiment)
        alone = command(place / "dataset", place / "alone")
        subprocess.run(alone, check=True, stderr=subprocess.DEVNULL)
        expected = results(place / "alone")
        started = time.monotonic()
        for number in range(rounds):
            one_round(place / "dataset", place / f"round-{number}", expected)
        took = time.monotonic() - started
        sys.stdout.write(
            f"{rounds} rounds of {len(WHO)} runs at once: {len(expected)} files, the "
            f"same bytes in each; {took:.0f} s\n"
        )


if __name__ == "__main__":
    main()

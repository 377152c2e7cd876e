"""Two processes beside one, over four participants, from start to pages.

Four participants who see 400 photographs each, simulated; from one set of regions, and
from four. Each process has one thread. Memory is that of the largest process.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bids_recon.simulate.dataset import Experiment, simulate_dataset

N_PARTICIPANTS, N_RUNS, N_PICTURES = 4, 8, 400
OPTIONS = ("--split", "kfold:5", "--omp-nthreads", "1")
REGIONS = (("visual=V1+V2+V3",), ("visual=V1+V2+V3", "V1", "V2", "V3"))


def seconds(dataset: Path, out: Path, regions: tuple[str, ...], n_procs: int) -> float:
    """Return how long a run takes by the clock, from start to pages."""
    words = (sys.executable, "-m", "bids_recon", dataset, out, "participant", *OPTIONS)
    words += ("--roi", *regions)
    started = time.perf_counter()
    subprocess.run(
        [*map(str, words), "--n-procs", str(n_procs)],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        experiment = Experiment("photographs", N_PARTICIPANTS, N_RUNS, N_PICTURES)
        simulate_dataset(place / "dataset", experiment)
        for regions in REGIONS:
            one, two = (
                seconds(place / "dataset", place / f"{len(regions)}-{n}", regions, n)
                for n in (1, 2)
            )
            print(
                f"{len(regions)} sets of regions: one process {one:.1f} s, two "
                f"{two:.1f} s, {one / two:.2f} times as fast",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    load = os.getloadavg()[0]
    print(f"largest process: {peak:.2f} GB; load {load:.1f}")


if __name__ == "__main__":
    main()

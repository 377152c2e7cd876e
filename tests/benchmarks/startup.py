"""Start-up: ``--version`` and ``--help`` beside a bare Python that imports argparse."""

import subprocess
import sys
import time

REPEATS = 7


def seconds(*command: str) -> float:
    """Return the shortest of several runs."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    bare = seconds(sys.executable, "-c", "import argparse")
    for option in ("--version", "--help"):
        ours = seconds(sys.executable, "-m", "bids_recon", option)
        print(f"bids-recon {option}: {ours:.3f} s, {ours / bare:.1f} x bare Python")


if __name__ == "__main__":
    main()

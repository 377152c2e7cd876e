"""Try the parsers with ever new bytes for some minutes: ``python run.py MINUTES``."""

import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent


def main() -> int:
    end, rounds = time.monotonic() + 60 * float(sys.argv[1]), 0
    while time.monotonic() < end:
        rounds += 1
        words = ["-q", "--hypothesis-profile", "long", "--hypothesis-seed", str(rounds)]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", TESTS, *words, "-x", "-n", "2"],
            check=False,
            timeout=max(60.0, end - time.monotonic() + 600),
        )
        if done.returncode:
            return done.returncode
    sys.stdout.write(f"{rounds} rounds, nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

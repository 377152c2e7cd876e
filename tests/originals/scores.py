"""Print the scores of two published protocols: the originals' beside ours.

python tests/originals/scores.py
"""

import tempfile
from pathlib import Path

import numpy as np
import yaml
from material import N_PICTURES, N_SAMPLES, SEEN_SIDE, write_pictures, write_weights

from bids_recon.dataset.stimuli import read_picture
from bids_recon.evaluation.judge import Judge, PictureFiles
from bids_recon.evaluation.profiles import read_profile
from bids_recon.evaluation.scores import Reconstructed, score

ORIGINAL = yaml.safe_load((Path(__file__).parent / "scores.yml").read_text())
"""What the originals' scripts gave, by profile and metric; see the README."""


def ours(folder: Path, name: str) -> dict[str, float]:
    """Return the metrics of a profile on the pictures and weights of a folder."""
    size = (SEEN_SIDE, SEEN_SIDE)
    paths = [folder / "seen" / f"{number}.png" for number in range(N_PICTURES)]
    recon = Reconstructed(
        seen=np.stack([read_picture(path, size) for path in paths]),
        pictures=PictureFiles(
            [
                folder / "made" / f"{number}_{sample}.png"
                for number in range(N_PICTURES)
                for sample in range(N_SAMPLES)
            ]
        ),
        own=np.arange(N_PICTURES),
        fold=np.full(N_PICTURES, "all"),
        instead={},
    )
    judge = Judge(folder / "weights")
    table, _, _, _ = score(recon, read_profile(name), 0, judge)
    return dict(zip(table["metric"], table["value"], strict=True))


def main() -> None:
    """Write pictures and weights to a folder for the while, and print two tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        write_weights(folder / "weights")
        for profile, original in ORIGINAL.items():
            print(f"{profile:24}{'original':>10}{'ours':>10}")
            found = ours(folder, profile)
            for metric, value in original.items():
                print(f"{metric:24}{value:10.6f}{found[metric]:10.6f}")


if __name__ == "__main__":
    main()

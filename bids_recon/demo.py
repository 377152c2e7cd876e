"""``bids-recon-demo``: a simulated dataset, reconstructed from start to page."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bids_recon import cli
from bids_recon.command import Parser, run_command

RECIPES = {
    "digits": ("eigenimage", "miyawaki2008-omp"),
    "photographs": ("eigenimage", "tiny-latent"),
}
N_PICTURES = {"digits": 100, "photographs": 300}


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate a dataset below OUT, run both levels on it, and say where pages are."""
    return run_command("bids-recon-demo", _run, arguments)


def _run(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="bids-recon-demo",
        description="Simulate a small BIDS dataset with a known answer and reconstruct "
        "its pictures with two recipes.",
    )
    parser.add_argument(
        "--pictures",
        choices=tuple(RECIPES),
        default="digits",
        help="digits (default), or photographs in colour, for which the weights taef2 "
        "are needed",
    )
    parser.add_argument(
        "--weights-dir",
        metavar="DIR",
        help="pretrained weights, as bids-recon-weights fetches them",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="an empty folder")
    parser.add_argument(
        "--noise", type=float, default=1.0, help="of a volume (default: 1)"
    )
    options = parser.parse_args(arguments)
    bids_dir, output_dir = options.out / "dataset", options.out / "derivatives"
    sys.stderr.write(f"Simulating two participants in {bids_dir}\n")
    from bids_recon.simulate.dataset import Experiment, simulate_dataset

    experiment = Experiment(
        options.pictures, n_pictures=N_PICTURES[options.pictures], noise=options.noise
    )
    simulate_dataset(bids_dir, experiment)
    common = [str(bids_dir), str(output_dir)]
    status = cli.main(
        [
            *(*common, "participant", "--n-procs", "2", "--omp-nthreads", "1"),
            *("--recipe", *RECIPES[options.pictures], "--roi", "visual=V1+V2+V3"),
            *(("--weights-dir", options.weights_dir) if options.weights_dir else ()),
        ]
    )
    status = status or cli.main([*common, "group"])
    if status == 0:
        pages = sorted(output_dir.glob("*.html"))
        sys.stdout.write("".join(f"{page.resolve()}\n" for page in pages))
    return status

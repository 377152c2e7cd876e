"""Fetch what recipes and atlases need, for an image or for a node without network.

    python fetch.py --to DIR --recipes tiny-latent takagi2023
    python fetch.py --to DIR --atlases MNI152NLin2009cAsym:Schaefer2018

Weights go to ``DIR/weights``, TemplateFlow's files to ``DIR/templateflow``. Then run
with ``--weights-dir DIR/weights`` and ``TEMPLATEFLOW_HOME=DIR/templateflow``.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from bids_recon.command import run_command


def fetch_weights(recipes: Sequence[str], folder: Path) -> None:
    """Fetch the weights of recipes, each once."""
    from bids_recon.plan.methods import weights_of, whole_recipe
    from bids_recon.weights import fetch, weights_called

    names = {name for recipe in recipes for name in weights_of(whole_recipe(recipe))}
    for weights in map(weights_called, sorted(names)):
        sys.stdout.write(f"{weights.described}\n{fetch(weights, folder)}\n")


def fetch_atlases(atlases: Sequence[str], folder: Path) -> None:
    """Fetch atlases of TemplateFlow, given as ``TEMPLATE:ATLAS``."""
    os.environ["TEMPLATEFLOW_HOME"] = str(folder)
    from templateflow import api

    for text in atlases:
        template, _, atlas = text.partition(":")
        for path in api.get(template, atlas=atlas, suffix="dseg"):
            sys.stdout.write(f"{path}\n")


def run(arguments: Sequence[str]) -> int:
    """Fetch what the command line names."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--to", type=Path, required=True, metavar="DIR")
    parser.add_argument("--recipes", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--atlases", nargs="*", default=[], metavar="TEMPLATE:ATLAS")
    options = parser.parse_args(arguments)
    for name in ("weights", "templateflow"):
        (options.to / name).mkdir(parents=True, exist_ok=True)
    # An argument of a build is one text of several names.
    fetch_weights(" ".join(options.recipes).split(), options.to / "weights")
    fetch_atlases(" ".join(options.atlases).split(), options.to / "templateflow")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command("fetch.py", run, None))

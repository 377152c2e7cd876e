"""Write the Boutiques descriptor, from the parser of the command line.

    python containers/boutiques.py

``bids-recon.json`` is what it writes; a test keeps the two equal.
"""

import json
import sys
from argparse import Action
from pathlib import Path
from typing import Any

from bids_recon import __version__
from bids_recon.cli import make_parser

PATH = Path(__file__).with_name("bids-recon.json")

NUMBERS = ("n_procs", "omp_nthreads", "mem_mb", "seed", "train_fraction")

FILES = (
    *("bids_filter_file", "bids_database_dir", "stimuli", "stimulus_map"),
    *("prior_pictures", "captions", "weights_dir", "config"),
)
"""Options that name something that must be there, or a folder to be kept."""

LEFT_OUT = ("help", "version", "list")
"""They answer in place of a run."""


def key_of(name: str) -> str:
    """Return what stands for a value in the command line."""
    return f"[{name.upper()}]"


def describe(action: Action) -> dict[str, Any]:
    """Return the input of one option."""
    name = action.dest
    described: dict[str, Any] = {
        "id": name,
        "name": name.replace("_", " "),
        "description": str(action.help).replace(
            "%(choices)s", ", ".join(choices(action))
        ),
        "type": "String",
        "optional": True,
        "value-key": key_of(name),
        "command-line-flag": next(o for o in action.option_strings if o[:2] == "--"),
    }
    if action.nargs == 0:
        described["type"] = "Flag"
    elif name in NUMBERS:
        described |= {"type": "Number", "integer": name != "train_fraction"}
    elif name in FILES:
        described["type"] = "File"
    if action.nargs in ("+", "*"):
        described["list"] = True
    if action.choices:
        described["value-choices"] = choices(action)
    return described


def choices(action: Action) -> list[str]:
    """Return what an option may be, if that is a list."""
    return [str(choice) for choice in action.choices or ()]


def descriptor() -> dict[str, Any]:
    """Return the descriptor as data."""
    actions = [a for a in make_parser()._actions if a.dest not in LEFT_OUT]
    options = [action for action in actions if action.option_strings]
    keys = " ".join(key_of(action.dest) for action in options)
    return {
        "name": "bids-recon",
        "tool-version": __version__,
        "schema-version": "0.5",
        "description": "BIDS-App: reconstruct the pictures a person saw from fMRI",
        "command-line": "mkdir -p [OUTPUT_DIR]; bids-recon [BIDS_DIR] [OUTPUT_DIR] "
        f"[LEVEL] {keys}",
        "container-image": {
            "type": "docker",
            "image": f"bids-recon:{__version__}",
            "container-opts": ["--read-only", "--network=none"],
        },
        "inputs": [
            {
                "id": "bids_dir",
                "name": "BIDS_DIR",
                "description": "the dataset",
                "type": "File",
                "optional": False,
                "value-key": "[BIDS_DIR]",
            },
            {
                "id": "output_dir",
                "name": "OUTPUT_DIR",
                "description": "where outputs go",
                "type": "String",
                "optional": False,
                "value-key": "[OUTPUT_DIR]",
            },
            {
                "id": "level",
                "name": "level",
                "description": "reconstruct, or collect all participants of OUTPUT_DIR",
                "type": "String",
                "optional": False,
                "value-key": "[LEVEL]",
                "value-choices": ["participant", "group"],
            },
            *[describe(action) for action in options],
        ],
        "output-files": [
            {
                "id": "outputs",
                "name": "OUTPUT_DIR",
                "description": "BIDS derivatives: reconstructions, scores, pages",
                "optional": False,
                "path-template": "[OUTPUT_DIR]",
            }
        ],
        "error-codes": [
            {"code": 1, "description": "a participant failed, the others are done"},
            {"code": 16, "description": "not a BIDS dataset"},
            {"code": 18, "description": "the filters select nothing"},
            {"code": 64, "description": "the command line or a recipe is wrong"},
            {"code": 65, "description": "bad data"},
            {"code": 66, "description": "an input is missing"},
            {"code": 69, "description": "the cluster is not there"},
            {"code": 73, "description": "an output cannot be written"},
        ],
        "suggested-resources": {"cpu-cores": 2, "ram": 8, "walltime-estimate": 3600},
        "tags": {"domain": ["neuroinformatics", "bids", "bids-app", "fmri"]},
    }


def text() -> str:
    """Return the descriptor as it stands in the file."""
    return json.dumps(descriptor(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{PATH}\n")

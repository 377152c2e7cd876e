"""``bids-recon-import``: make a BIDS dataset of a release that is none."""

import logging
import sys
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from bids_recon.command import Parser, run_command
from bids_recon.errors import Status, UserError
from bids_recon.files import absolute_path

FORMS = {
    "nsd": "Natural Scenes Dataset: its folder, or s3://natural-scenes-dataset",
    "things": "THINGS-fMRI: the folder with betas_csv or betas_vol, and brainmasks",
    "bdata": "Kamitani Lab's BData (HDF5): a file, or a folder of them",
    "miyawaki": "Miyawaki 2008 as nilearn fetches it: the folder miyawaki2008",
    "glmsingle": "GLMsingle's outputs (NumPy, HDF5, MATLAB 7.3 or NIfTI)",
}

USED = {
    "nsd": ("participants", "sessions", "regions", "stimuli", "betas", "copy"),
    "things": ("participants", "sessions", "regions", "stimuli", "betas", "copy"),
    "bdata": ("participants", "regions", "stimuli", "reference"),
    "miyawaki": ("copy",),
    "glmsingle": (
        *("participants", "sessions", "stimuli", "trials", "reference"),
        *("betas", "copy"),
    ),
}
"""What each form makes use of, beside its places."""

NAMES = {"participants": "participant-label", "regions": "roi"}
"""What options are called where it is not as here."""


def make_parser() -> Parser:
    """Return the parser of ``bids-recon-import``."""
    parser = Parser(
        prog="bids-recon-import",
        description=(
            "Make a BIDS dataset, with single-trial responses, regions and pictures, "
            "of a release that is not BIDS. The same command goes on where it was."
        ),
        epilog="forms:\n"
        + "\n".join(f"  {name:10}{what}" for name, what in FORMS.items())
        + "\n\nDocumentation: docs/import.md.",
        formatter_class=RawDescriptionHelpFormatter,
        argument_default=SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("form", choices=tuple(FORMS), help="what the release is")
    parser.add_argument("source", metavar="SOURCE", help="a folder, file or address")
    parser.add_argument(
        "bids_dir", type=absolute_path, metavar="BIDS_DIR", help="the dataset to make"
    )
    parser.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        dest="participants",
        metavar="LABEL",
        help="those wanted; all by default. glmsingle: the one there is (01)",
    )
    parser.add_argument(
        "--sessions", nargs="+", metavar="LABEL", help="those wanted; all by default"
    )
    parser.add_argument(
        "--roi",
        nargs="+",
        dest="regions",
        metavar="LABEL",
        help="keep the voxels of these regions only",
    )
    parser.add_argument(
        "--stimuli",
        type=absolute_path,
        metavar="DIR",
        help="the pictures, where the release has none; they are linked",
    )
    parser.add_argument(
        "--trials",
        type=absolute_path,
        metavar="TSV",
        help="glmsingle: a row for each response, with a column stimulus",
    )
    parser.add_argument(
        "--reference",
        type=absolute_path,
        metavar="NII",
        help="glmsingle, bdata: an image on the grid of the responses",
    )
    parser.add_argument(
        "--betas",
        metavar="NAME",
        help="which of several estimates; nsd: betas_fithrf_GLMdenoise_RR; things: "
        "vol or csv; glmsingle: TYPED_FITHRF_GLMDENOISE_RR",
    )
    parser.add_argument(
        "--copy", action="store_true", help="copy files in place of linking them"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be imported or fetched, and end",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``bids-recon-import`` and return its exit status."""
    return run_command("bids-recon-import", _run, arguments)


def _run(arguments: Sequence[str]) -> int:
    options = vars(make_parser().parse_args(arguments))
    from bids_recon.dataset.importers import IMPORTERS
    from bids_recon.dataset.importers.request import Request

    form = options.pop("form")
    _check_used(form, options)
    module, name = IMPORTERS[form].split(":")
    plural = ("participants", "sessions", "regions")
    options |= {key: tuple(options[key]) for key in plural if key in options}
    logger = logging.getLogger("bids_recon")
    handler = logging.StreamHandler(sys.stderr)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        getattr(import_module(module), name)(Request(**options))
    except OSError as error:
        raise UserError(
            f"{error.filename or options['source']}: cannot be read or written "
            f"({error.strerror or error}). Check its permissions.",
            Status.CANNOT_WRITE,
        ) from error
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    return 0


def _check_used(form: str, options: dict[str, Any]) -> None:
    """Refuse options that would change nothing."""
    always = ("source", "bids_dir", "dry_run")
    idle = sorted(set(options) - {*USED[form], *always})
    if idle:
        used = ", ".join(f"--{NAMES.get(name, name)}" for name in USED[form])
        raise UserError(
            f"--{NAMES.get(idle[0], idle[0])} changes nothing for {form}, which takes "
            f"{used} and --dry-run.",
            Status.USAGE,
        )

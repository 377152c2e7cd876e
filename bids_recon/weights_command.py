"""``bids-recon-weights``: list, fetch and check pretrained weights."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bids_recon.command import Parser, run_command
from bids_recon.errors import Status, UserError
from bids_recon.files import absolute_path


def make_parser() -> Parser:
    """Return the parser of ``bids-recon-weights``."""
    parser = Parser(
        prog="bids-recon-weights",
        description="List, fetch and check pretrained weights.",
    )
    parser.add_argument("action", choices=("list", "fetch", "check"))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="default for check: all"
    )
    parser.add_argument(
        "--to",
        "--weights-dir",
        dest="folder",
        type=absolute_path,
        metavar="DIR",
        help="the folder of weights, which bids-recon gets as --weights-dir",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``bids-recon-weights`` and return its exit status."""
    return run_command("bids-recon-weights", _run, arguments)


def _run(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(arguments)
    actions = {"list": _list, "fetch": _fetch, "check": _check}
    return actions[options.action](options.names, options.folder)


def _list(names: list[str], folder: Path | None) -> int:
    from bids_recon.weights import find, known_weights, weights_called

    for name in names or known_weights():
        weights = weights_called(name)
        here = find(weights, folder) or "not here"
        sys.stdout.write(
            f"{weights.name}\t{weights.size or '?'} MB\t{weights.licence}\t"
            f"{weights.source}\tfor {weights.needed_by}\t{here}\n"
        )
    return 0


def _fetch(names: list[str], folder: Path | None) -> int:
    from bids_recon.weights import fetch, weights_called

    if not names or folder is None:
        raise UserError(
            "fetch needs names and a folder: bids-recon-weights fetch alexnet --to DIR",
            Status.USAGE,
        )
    for weights in [weights_called(name) for name in names]:
        sys.stderr.write(f"{weights.name}: {weights.size} MB, {weights.licence}\n")
        sys.stdout.write(f"{fetch(weights, folder)}\n")
    return 0


def _check(names: list[str], folder: Path | None) -> int:
    from bids_recon.weights import check, known_weights, weights_called

    status = 0
    for name in names or known_weights():
        try:
            path, compared = check(weights_called(name), folder)
        except UserError as error:
            sys.stderr.write(f"{error.message}\n")
            status = int(error.status)
            continue
        what = "as it should be" if compared else "here, but no checksum is known"
        sys.stdout.write(f"{name}\t{what if path else 'not here'}\t{path or ''}\n")
    return status

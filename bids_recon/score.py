"""``bids-recon-score``: score two folders of pictures, from any tool."""

import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path

from bids_recon.command import Parser, run_command
from bids_recon.errors import Status, UserError, first_few
from bids_recon.files import absolute_path


def make_parser() -> Parser:
    """Return the parser of ``bids-recon-score``."""
    parser = Parser(
        prog="bids-recon-score",
        description=(
            "Score reconstructions against the pictures that were seen. Both folders "
            "hold pictures of the same names; extensions may differ."
        ),
        argument_default=SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("seen_dir", type=absolute_path, metavar="SEEN_DIR")
    parser.add_argument("recon_dir", type=absolute_path, metavar="RECON_DIR")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="which metrics, and how (bids-recon; with --beside, those of its table)",
    )
    parser.add_argument(
        "--beside",
        type=absolute_path,
        metavar="TSV",
        help="a table of reconstructions of bids-recon, "
        "OUTPUT_DIR/sub-*/recon/*_recon.tsv: score the same test images as it does, "
        "and write the scores beside it, where the group level finds them",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="what the other tool is called, with --beside"
    )
    parser.add_argument(
        "--weights-dir",
        type=absolute_path,
        metavar="DIR",
        help="pretrained weights, as bids-recon-weights fetches them",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of chance (0)"
    )
    parser.add_argument(
        "--out", type=absolute_path, metavar="TSV", help="write the table here, too"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``bids-recon-score`` and return its exit status."""
    return run_command("bids-recon-score", _run, arguments)


def _run(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(arguments)
    if ("beside" in options) != ("name" in options):
        raise UserError(
            "--beside and --name go together: where scores are to stand, and what the "
            "other tool is called.",
            Status.USAGE,
        )
    text, notes = (_score_beside if "beside" in options else _score)(options)
    sys.stdout.write(text)
    sys.stderr.write("".join(f"note: {note}\n" for note in notes))
    if "out" in options:
        from bids_recon.files import write_text

        write_text(options.out, text)
    return 0


def pairs_of(seen_dir: Path, recon_dir: Path) -> list[tuple[Path, Path]]:
    """Return the pictures of both folders that share their names, in order.

    Raises
    ------
    UserError
        If a folder has no pictures, or a picture of one has no partner in the other.
    """
    from bids_recon.dataset.stimuli import EXTENSIONS

    sides = []
    for folder in (seen_dir, recon_dir):
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder.", Status.NO_INPUT)
        pictures: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in EXTENSIONS:
                continue
            if path.stem in pictures:
                raise UserError(
                    f"{folder}: {pictures[path.stem].name} and {path.name} have the "
                    "same name but for the extension. Keep one of them."
                )
            pictures[path.stem] = path
        if not pictures:
            raise UserError(f"{folder}: there is no picture in it.", Status.NO_INPUT)
        sides.append(pictures)
    seen, made = sides
    for have, lack, folder in ((seen, made, recon_dir), (made, seen, seen_dir)):
        missing = sorted(set(have) - set(lack))
        if missing:
            raise UserError(
                f"{folder}: {len(missing)} of {len(have)} pictures of the other folder "
                f"are not in it: {first_few(missing)}. Give a picture and "
                "its reconstruction the same name."
            )
    return [(seen[name], made[name]) for name in sorted(seen)]


def _score(options: object) -> tuple[str, list[str]]:
    import numpy as np

    from bids_recon.dataset.stimuli import common_size, read_picture
    from bids_recon.dataset.tables import table_text
    from bids_recon.evaluation.judge import Judge
    from bids_recon.evaluation.profiles import read_profile
    from bids_recon.evaluation.scores import Reconstructed, score

    profile = read_profile(getattr(options, "profile", "bids-recon"))
    pairs = pairs_of(options.seen_dir, options.recon_dir)
    sides = []
    for paths in zip(*pairs, strict=True):
        size = common_size(paths, profile.max_size)
        sides.append(np.stack([read_picture(path, size) for path in paths]))
    seen, made = sides
    recon = Reconstructed(
        seen=seen,
        pictures=made,
        own=np.arange(len(pairs)),
        fold=np.full(len(pairs), "all"),
        # What decoders were trained on is not known here.
        instead={},
    )
    judge = Judge(getattr(options, "weights_dir", None))
    scored = score(recon, profile, options.seed, judge)
    sizes = [f"{side.shape[2]} x {side.shape[3]}" for side in sides]
    about = f"{len(pairs)} pictures, seen {sizes[0]}, reconstructed {sizes[1]}."
    return table_text(scored.summary), [*scored.notes, about]


def _score_beside(options: object) -> tuple[str, list[str]]:
    from bids_recon.dataset.tables import table_text
    from bids_recon.evaluation.judge import Judge
    from bids_recon.stages.other_tool import read_beside, score_beside

    name = options.name.strip()
    if not name or not name.isprintable():
        raise UserError(
            f"--name {options.name!r}: expected a name that can be printed.",
            Status.USAGE,
        )
    beside = read_beside(options.beside)
    scored = score_beside(
        options.seen_dir,
        options.recon_dir,
        beside,
        name,
        [options.profile] if "profile" in options else [],
        Judge(getattr(options, "weights_dir", None)),
        options.seed,
    )
    about = (
        f"The scores stand in {beside.path('metrics', name)}, beside "
        f"{beside.table.name}. bids-recon BIDS_DIR {beside.output_dir} group compares "
        "them."
    )
    return table_text(scored.summary), [*scored.notes, about]

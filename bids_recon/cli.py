"""The BIDS-App command line: options to ``Settings``, errors to exit statuses.

Nothing heavy is imported before the options are read, so that ``--help`` and
``--version`` answer at once.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from bids_recon import __version__
from bids_recon.command import Parser, run_command
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.files import absolute_path
from bids_recon.surroundings import (
    has_temporary_place,
    temporary_files_in,
    temporary_folder,
)

LEVELS = ("participant", "group")
DEVICES = ("auto", "cpu", "cuda", "mps")

LOADED_AT_FIRST = ("bids_recon.workflow", "nilearn.glm.first_level")
"""What local processes need for their jobs, and takes long to load."""

DESCRIPTION = """\
Reconstruct the pictures a person saw from fMRI: reads preprocessed derivatives
(fMRIPrep, single-trial responses), trains decoders on training trials only, and writes
reconstructions, scores and reports as BIDS derivatives."""

EPILOG = """\
exit status: 0 all done; 1 some participants failed, the others are done; 16 not a BIDS
dataset; 18 the filters select nothing; 64 usage; 65 bad data; 66 no input; 69 no
cluster; 73 cannot write; 130, 143 stopped. Documentation: docs/usage.md."""


def make_parser(listing: bool = False) -> argparse.ArgumentParser:
    """Return the parser of ``bids-recon``; for a listing, no place need be named."""
    parser = Parser(
        prog="bids-recon",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    more: dict[str, Any] = {"nargs": "?", "default": None} if listing else {}
    parser.add_argument(
        "bids_dir", type=absolute_path, metavar="BIDS_DIR", help="the dataset", **more
    )
    parser.add_argument(
        "output_dir",
        type=absolute_path,
        metavar="OUTPUT_DIR",
        help="where outputs go",
        **more,
    )
    parser.add_argument(
        "level",
        **more,
        choices=LEVELS,
        metavar="{participant,group}",
        help="reconstruct, or collect all participants of OUTPUT_DIR",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--list",
        action="store_true",
        help="say which recipes there are, and which regions BIDS_DIR has",
    )
    reading = parser.add_argument_group("what is read")
    _add_selection(reading)
    _add_pictures(reading)
    doing = parser.add_argument_group("what is done")
    _add_method(doing)
    _add_scope(doing)
    _add_machine(parser.add_argument_group("how it runs"))
    return parser


def _add_selection(group: Any) -> None:
    group.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        metavar="LABEL",
        help="participants, with or without sub- (default: all)",
    )
    group.add_argument(
        "--session-label", nargs="+", metavar="LABEL", help="sessions (default: all)"
    )
    group.add_argument(
        "-t", "--task-id", nargs="+", metavar="TASK", help="tasks (default: all)"
    )
    group.add_argument("--run-id", nargs="+", metavar="RUN", help="runs (default: all)")
    group.add_argument(
        "--space", metavar="SPACE", help="the space to read, where there are several"
    )
    group.add_argument(
        "--bids-filter-file",
        type=absolute_path,
        metavar="JSON",
        help="BIDS entities for bold, events, mask, roi or betas, as fMRIPrep has it",
    )
    group.add_argument(
        "-d",
        "--derivatives",
        nargs="+",
        action="extend",
        metavar="NAME=PATH",
        help="derivatives to read (default: all of BIDS_DIR/derivatives)",
    )
    group.add_argument(
        "--bids-database-dir",
        type=absolute_path,
        metavar="DIR",
        help="keep pybids' index here between runs",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="go on where dataset_description.json is missing or incomplete",
    )


def _add_pictures(group: Any) -> None:
    group.add_argument(
        "--stimuli",
        type=absolute_path,
        metavar="DIR",
        help="the pictures that were shown (default: BIDS_DIR/stimuli)",
    )
    group.add_argument(
        "--stimulus-column", metavar="NAME", help="the column that names the picture"
    )
    group.add_argument(
        "--stimulus-map",
        type=absolute_path,
        metavar="TSV",
        help="columns stimulus and file: which picture a name stands for",
    )
    group.add_argument(
        "--prior-pictures",
        type=absolute_path,
        metavar="DIR",
        help="pictures of the same kind that were never shown",
    )
    group.add_argument(
        "--captions",
        type=absolute_path,
        metavar="FILE",
        help="captions of the pictures: a table with the columns stimulus and caption, "
        "or COCO's annotations (default: a column caption, sidecars of the pictures, "
        "or captions.tsv beside them)",
    )
    group.add_argument(
        "--trials",
        metavar="EXPRESSION",
        help="which rows of the events are trials, such as 'event_type == 1'",
    )


def _add_method(group: Any) -> None:
    group.add_argument(
        "--recipe",
        nargs="*",
        action="extend",
        metavar="NAME|FILE",
        help="methods: eigenimage (default), bayes, miyawaki2008, tiny-latent and "
        "more, or a file of your own; alone, says which there are",
    )
    group.add_argument(
        "--roi",
        nargs="*",
        action="extend",
        metavar="[NAME=]LABEL[+LABEL...]",
        help="regions, joined under a name; ATLAS:REGION takes a TemplateFlow atlas "
        "(default: the brain mask)",
    )
    group.add_argument(
        "--split",
        metavar="RULE",
        help="kfold:K over pictures, leave-one-picture-out, run, session, task, "
        "clusters:K, column:NAME, paper, file:PATH or train=SES/test=SES (default: "
        "column:split if there is one, else the paper's split if there is one, else "
        "kfold:10)",
    )
    group.add_argument(
        "--connectivity",
        nargs="+",
        metavar="MEASURE[:SOURCE[:NODES]]",
        help="write how alike regions are in training data: pearson, shrunk, partial, "
        "covariance or tangent, of trials, bold or background, between regions or "
        "voxels",
    )
    group.add_argument(
        "--model-from",
        type=absolute_path,
        metavar="OUTPUT_DIR",
        help="apply decoders that an earlier run trained (with --split all, or a test "
        "set of its own) to these trials; nothing is learned",
    )
    group.add_argument(
        "--test-repeats",
        choices=("single", "combined"),
        help="test trials of one picture: each by itself, or combined, for all recipes "
        "(default: as each recipe says)",
    )
    group.add_argument(
        "--picture-sets",
        metavar="column:NAME",
        help="the column of the events that says which set a picture belongs to, for "
        "scores within each set (default: the test sets of the paper's split)",
    )
    group.add_argument(
        "--train-fraction",
        nargs="+",
        type=_fraction,
        metavar="SHARE",
        help="learn from these shares of the training pictures, each contained in the "
        "next, such as 0.25 0.5 1, and draw how scores grow (1)",
    )
    group.add_argument("--seed", type=int, metavar="N", help="of all randomness (0)")


def _add_scope(group: Any) -> None:
    group.add_argument(
        "--stages",
        nargs="+",
        metavar="STAGE",
        help="only these: responses rois decode generate evaluate report",
    )
    group.add_argument(
        "--reports-only", action="store_true", help="only make the pages anew"
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would run, on which runs, trials, pictures and voxels",
    )


def _add_machine(group: Any) -> None:
    group.add_argument(
        "--device", choices=DEVICES, help="for networks: %(choices)s (default: auto)"
    )
    group.add_argument(
        "--n-procs",
        type=_positive,
        metavar="N",
        help="processes at once (1), or workers (one for each participant)",
    )
    group.add_argument(
        "--omp-nthreads", type=_positive, metavar="N", help="threads per process"
    )
    group.add_argument(
        "--mem-mb", type=_positive, metavar="MB", help="memory to stay within"
    )
    group.add_argument(
        "--cluster",
        metavar="ADDRESS|slurm|kubernetes",
        help="have the workers of a cluster do the work: those of a scheduler of Dask "
        "at an address, or such as are started for this run",
    )
    group.add_argument(
        "--array-script",
        choices=("slurm",),
        help="write a script that does the same with a task for each participant; "
        "nothing else is done",
    )
    group.add_argument(
        "-w",
        "--work-dir",
        type=absolute_path,
        metavar="DIR",
        help="intermediate results (default: OUTPUT_DIR/work)",
    )
    group.add_argument(
        "--weights-dir",
        type=absolute_path,
        metavar="DIR",
        help="pretrained weights, as bids-recon-weights fetches them",
    )
    group.add_argument(
        "--offline",
        action="store_true",
        help="tell libraries, too, that there is no network (bids-recon uses none)",
    )
    group.add_argument(
        "--config",
        type=absolute_path,
        metavar="FILE",
        help="a YAML file of these options, such as a settings.yml of an earlier run; "
        "what the command line says goes before it",
    )
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        help="show what libraries say, too",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text}")
    return value


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected above 0 and up to 1, not {text}")
    return value


def make_settings(arguments: Sequence[str]) -> Any:
    """Read the command line, and the file of ``--config`` below it.

    Raises
    ------
    UserError
        If an option is unknown or has a wrong value.
    """
    given = vars(make_parser().parse_args(arguments))
    from bids_recon.settings import STAGES, Settings, read_config

    config = given.pop("config", None)
    values = {**(read_config(config) if config else {}), **given}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    for stage in values.get("stages", ()):
        if stage not in STAGES:
            raise UserError(
                f"--stages: there is no stage {stage!r}. {did_you_mean(stage, STAGES)}",
                Status.USAGE,
            )
    settings = Settings(**values)
    _ = settings.roi_sets
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``bids-recon`` and return its exit status."""
    return run_command("bids-recon", _run, arguments)


def _asks_what_there_is(arguments: Sequence[str]) -> bool:
    """Tell whether ``--list`` stands there, or ``--recipe`` or ``--roi`` alone."""
    pairs = zip(arguments, [*arguments[1:], "--"], strict=True)
    return "--list" in arguments or any(
        word in ("--recipe", "--roi") and following.startswith("-")
        for word, following in pairs
    )


def _list(arguments: Sequence[str]) -> int:
    """Write what a run could be asked for."""
    given = vars(make_parser(listing=True).parse_args(arguments))
    from bids_recon.plan.what_there_is import what_there_is

    sys.stdout.write(what_there_is(given))
    return 0


def _run(arguments: Sequence[str]) -> int:
    if _asks_what_there_is(arguments):
        return _list(arguments)
    settings = make_settings(arguments)
    from bids_recon.terminal import show_log

    show_log(settings.verbose)
    if settings.offline:
        os.environ |= {"HF_HUB_OFFLINE": "1", "TEMPLATEFLOW_AUTOUPDATE": "off"}
    with _temporary_place(settings), _processes(settings) as processes:
        from bids_recon.workflow import run_group, run_participant

        if settings.level == "group":
            return int(run_group(settings))
        return int(run_participant(settings, processes))


def _processes(settings: Any) -> Any:
    """Return the local processes that do the work, where this one does not.

    They load their libraries while this process loads its own.
    """
    n_procs = settings.n_procs or 1
    # A cluster, or this process alone.
    elsewhere = settings.cluster or settings.array_script or settings.dry_run
    if n_procs == 1 or elsewhere or settings.level == "group":
        return nullcontext()
    from bids_recon.engine import Processes

    return Processes(n_procs, LOADED_AT_FIRST)


@contextmanager
def _temporary_place(settings: Any) -> Iterator[None]:
    """Have temporary files in a folder of the run where there is no other place.

    Libraries want one as soon as they are imported.
    """
    if has_temporary_place():
        yield
    elif settings.dry_run:
        with temporary_folder():
            yield
    else:
        from bids_recon.dataset.output_dir import check_folders, make_output_dir

        check_folders(settings)
        make_output_dir(settings.output_dir)
        with temporary_files_in(settings.work_dir or settings.output_dir):
            yield

"""The script with which SLURM runs a task for each participant, and then the group."""

import math
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bids_recon import __version__
from bids_recon.plan.estimate import Estimate, estimate
from bids_recon.plan.plan import Plan
from bids_recon.settings import Settings

MARGIN = 3
"""How many times the time that was estimated is asked for."""

LONGEST = 24
"""Hours that are asked for where networks take what nobody can tell."""

THREADS = 2
"""For each process, where ``--omp-nthreads`` does not say it."""

TEMPLATE = Path(__file__).with_suffix(".sh")

SCRATCH = """\
    # On the node's own disk, and gone with the task. Name a --work-dir that all nodes
    # share if tasks may be cut short.
    scratch=$(mktemp -d -- "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/bids-recon.XXXXXX") ||
        exit 73
    trap 'rm -rf -- "$scratch"' EXIT
"""


def array_script(settings: Settings, plans: Sequence[Plan]) -> str:
    """Return a script for bash, in which nothing of a path or an option is code.

    Parameters
    ----------
    settings : Settings
        What was asked for.
    plans : sequence of Plan
        Those of all participants that are to be done.
    """
    estimates = [estimate(plan) for plan in plans]
    n_procs = settings.n_procs or 1
    n_threads = settings.omp_nthreads or THREADS
    largest = Estimate(
        max(e.seconds for e in estimates),
        max(e.memory_mb for e in estimates),
        max(e.disk_mb for e in estimates),
        any(e.networks for e in estimates),
    )
    hours = max(1, math.ceil(MARGIN * largest.seconds / 3600))
    gpu = settings.device == "cuda"
    scratch = settings.work_dir is None
    values = {
        "version": __version__,
        "n": len(plans),
        "estimate": largest,
        "cpus": n_procs * n_threads,
        "memory": memory_mb(largest, settings, n_procs),
        "hours": LONGEST if largest.networks else hours,
        "gpu": "#SBATCH --gres=gpu:1\n" if gpu else "",
        "no_gpu": "--gres=none " if gpu else "",
        "program": shlex.join(program()),
        "dataset": shlex.quote(str(settings.bids_dir)),
        "output": shlex.quote(str(settings.output_dir)),
        "options": shlex.join(task_options(settings, n_threads)),
        "labels": shlex.join(plan.subject for plan in plans),
        "records": shlex.quote(str(Path.cwd() / "bids-recon-slurm")),
        "here": shlex.quote(str(Path.cwd())),
        "work": SCRATCH if scratch else "",
        "work_option": ' --work-dir="$scratch"' if scratch else "",
    }
    # All at once, so that a value that looks like a place stays a value.
    text = TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"@\{(\w+)\}", lambda place: str(values[place[1]]), text)


def memory_mb(largest: Estimate, settings: Settings, n_procs: int) -> int:
    """Return how much memory a task is given, in MB."""
    return settings.mem_mb or n_procs * (500 + 3 * largest.memory_mb // 2)


def task_options(settings: Settings, n_threads: int) -> list[str]:
    """Return the words that all tasks share, besides where they read and write."""
    shared = replace(
        settings,
        participant_label=(),
        array_script=None,
        dry_run=False,
        omp_nthreads=n_threads,
    )
    return shared.as_words()


def program() -> list[str]:
    """Return the words with which this program is started."""
    name = Path(sys.argv[0])
    if name.name == "bids-recon":
        return [str(name.absolute())]
    return [sys.executable, "-m", "bids_recon"]

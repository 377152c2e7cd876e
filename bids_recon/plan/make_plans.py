"""Plan all participants, in several processes where there are any."""

import errno
from collections.abc import Callable
from functools import partial
from typing import Any

from bids_recon.dataset.layout import Dataset
from bids_recon.engine import Job, Outcome, Processes, Result, default_threads, execute
from bids_recon.errors import Status, UserError
from bids_recon.plan.estimate import LIBRARIES_MB
from bids_recon.plan.make_plan import find, make_plan
from bids_recon.recipe import Recipe

NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the system says of files that are written; planning mostly reads."""


def planned_in(
    processes: Processes | None,
    dataset: Dataset,
    subjects: list[str],
    recipes: tuple[Recipe, ...],
) -> dict[str, Outcome]:
    """Plan each participant; one that cannot be planned does not stop the others.

    Parameters
    ----------
    processes : Processes or None
        Where participants are planned; ``None`` for this process.
    dataset : Dataset
        Where their files are looked up.
    subjects : list of str
        Their labels.
    recipes : tuple of Recipe
        What is done for each.

    Returns
    -------
    dict of str to Outcome
        By the label; the value is the plan.
    """
    settings = dataset.settings
    n_procs = processes.n if processes else 1
    if settings.mem_mb is not None:
        n_procs = min(n_procs, settings.mem_mb // LIBRARIES_MB)
    if processes:
        processes.keep(n_procs if n_procs > 1 else 0)
    place = processes if n_procs > 1 else None
    n_threads = settings.omp_nthreads or default_threads(max(1, n_procs))
    # The index stays in this process; what it says of a participant can be sent.
    looked_up = {label: partial(find, dataset, label) for label in subjects}
    found = _outcomes(looked_up, n_threads, None)
    read = {
        label: partial(make_plan, outcome.value, recipes)
        for label, outcome in found.items()
        if not outcome.failed
    }
    return found | _outcomes(read, n_threads, place)


def _outcomes(
    works: dict[str, Callable[[], Any]], n_threads: int, place: Processes | None
) -> dict[str, Outcome]:
    """Return what came of the work for each participant."""
    jobs = {
        label: Job(f"sub-{label} plan", "plan", partial(_result, work))
        for label, work in works.items()
    }
    outcomes = execute(list(jobs.values()), n_threads, _silent, _silent, place)
    return {label: outcomes[job.name] for label, job in jobs.items()}


def _result(work: Callable[[], Any]) -> Result:
    try:
        return Result(True, value=work())
    except OSError as error:
        if error.errno in NO_PLACE:
            raise
        raise UserError(
            f"{error.filename or 'A file'}: cannot be read ({error.strerror}).",
            Status.NO_INPUT,
        ) from error


def _silent(_: object) -> None:
    """Say nothing of a job."""

"""Where the jobs of a run are executed."""

from collections.abc import Callable

from bids_recon.engine.clusters import Cluster
from bids_recon.engine.jobs import Job, Outcome, carry_out
from bids_recon.engine.processes import Processes


def execute(
    jobs: list[Job],
    n_threads: int,
    ended: Callable[[Outcome], None],
    begun: Callable[[Job], None],
    place: Cluster | Processes | None = None,
) -> dict[str, Outcome]:
    """Run all jobs, each after those that it needs.

    Parameters
    ----------
    jobs : list of Job
        In an order in which they could run one after another.
    n_threads : int
        How many threads a job's linear algebra may use.
    ended : callable
        Called with each outcome as it comes.
    begun : callable
        Called with each job as it begins.
    place : Cluster or Processes, optional
        Where jobs are executed; in this process if nothing is said.

    Returns
    -------
    dict of str to Outcome
        By the name of the job.
    """
    if isinstance(place, Processes):
        return place.run(jobs, n_threads, ended, begun)
    if place is not None:
        from bids_recon.engine.on_dask import on_cluster

        return on_cluster(jobs, place, ended, begun)
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        begun(job)
        outcomes[job.name] = carry_out(job, n_threads, outcomes)
        ended(outcomes[job.name])
    return outcomes

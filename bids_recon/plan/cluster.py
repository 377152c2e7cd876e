"""The cluster that a run was asked to use, and what its workers must see."""

from collections.abc import Sequence

from bids_recon.engine.clusters import Cluster
from bids_recon.plan.plan import Plan
from bids_recon.settings import Settings


def cluster_of(settings: Settings, plans: Sequence[Plan]) -> Cluster | None:
    """Return the cluster that was asked for, and what its workers must see."""
    if settings.cluster is None:
        return None
    inputs = [settings.bids_dir, settings.stimuli, settings.weights_dir]
    inputs += [path for plan in plans for path in plan.links.values()]
    work = settings.work
    work.mkdir(parents=True, exist_ok=True)
    return Cluster(
        settings.cluster,
        settings.n_procs or max(1, len(plans)),
        settings.omp_nthreads,
        settings.mem_mb,
        tuple(dict.fromkeys(path for path in inputs if path and path.exists())),
        tuple(dict.fromkeys((settings.output_dir, work))),
        settings.output_dir / "logs" / settings.run_uuid,
    )

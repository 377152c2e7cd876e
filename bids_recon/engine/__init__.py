"""Where the jobs of a run are executed: here, in local processes, or on a cluster.

A job names the jobs it needs. It gets their outcomes and gives its own; it never
raises. What follows a failed job is not run, and all else goes on.
"""

from bids_recon.engine.clusters import Cluster
from bids_recon.engine.execute import execute
from bids_recon.engine.jobs import Job, Outcome, Result, default_threads, defect
from bids_recon.engine.processes import Processes

__all__ = [
    "Cluster",
    "Job",
    "Outcome",
    "Processes",
    "Result",
    "default_threads",
    "defect",
    "execute",
]

"""Time courses of nodes: of training trials, or of BOLD without what is tested."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from bids_recon.dataset.checksums import checksum
from bids_recon.dataset.confounds import read_confounds
from bids_recon.dataset.images import read_volumes
from bids_recon.dataset.locks import locked
from bids_recon.datatypes import Trials
from bids_recon.errors import UserError
from bids_recon.files import is_as_noted, note_checksum, write_whole
from bids_recon.plan.plan import Plan, RunPlan
from bids_recon.recipe import ResponseSettings
from bids_recon.responses.design import DesignSettings, design_matrices, residual
from bids_recon.rois.connectivity import MIN_SAMPLES
from bids_recon.stages.responses import Variant

TAIL = 32.0
"""Seconds after a trial in which BOLD still responds to it."""

KEYS = ("session", "task", "run")


@dataclass(frozen=True)
class RunSeries:
    """BOLD of the nodes in one run, and what it is cleaned of.

    Parameters
    ----------
    run : RunPlan
        The run.
    values : array of shape (n_volumes, n_nodes)
        Means over the voxels of each node.
    nuisance : array of shape (n_volumes, n_nuisance)
        Confounds, drifts and a constant.
    evoked : array of shape (n_volumes, n_trials)
        What each trial evokes.
    """

    run: RunPlan
    values: np.ndarray
    nuisance: np.ndarray
    evoked: np.ndarray

    def cleaned(self, training: Trials, background: bool) -> np.ndarray:
        """Return what is left of the volumes that show nothing but training trials.

        Parameters
        ----------
        training : Trials
            Of this run.
        background : bool
            Whether what trials evoke is regressed out.

        Returns
        -------
        array of shape (n_kept, n_nodes)
            None where too few volumes are left.
        """
        run = self.run
        own = run.own
        known = np.isin(own["onset"].round(3), training["onset"].round(3))
        times = run.start_time + run.repetition_time * np.arange(len(self.values))
        kept = np.ones(len(times), dtype=bool)
        ends = own["onset"] + own["duration"] + TAIL
        for onset, end in zip(own["onset"][~known], ends[~known], strict=True):
            kept &= (times < onset) | (times >= end)
        nuisance = self.nuisance
        if background:
            nuisance = np.hstack([nuisance, self.evoked[:, known]])
        nuisance = nuisance[kept]
        n_free = int(kept.sum()) - np.linalg.matrix_rank(nuisance) if kept.any() else 0
        if n_free < MIN_SAMPLES:
            return self.values[:0]
        return residual(self.values[kept].astype(np.float64), nuisance)


def bold_series(
    plan: Plan, variant: Variant, columns: np.ndarray, node: np.ndarray
) -> list[RunSeries]:
    """Return the BOLD of nodes, run by run; what was read once is kept.

    Parameters
    ----------
    plan : Plan
        Which runs.
    variant : Variant
        Says with which confounds.
    columns : array of shape (x, y, z), bool
        The voxels that nodes are made of.
    node : array of shape (n_voxels,)
        The node of each of them, from 0.

    Raises
    ------
    UserError
        If there is no BOLD, but responses that others estimated.
    """
    if plan.runs[0].run.given:
        raise UserError(
            f"sub-{plan.subject}: connectivity of BOLD needs BOLD, and there are "
            "single-trial responses only. Take connectivity of trials (source: trials)."
        )
    return [_run_series(plan, run, variant, columns, node) for run in plan.runs]


def _run_series(
    plan: Plan, run: RunPlan, variant: Variant, columns: np.ndarray, node: np.ndarray
) -> RunSeries:
    digest = sha256(checksum(run.run.bold).encode())
    for part in (columns, node):
        digest.update(np.ascontiguousarray(part).tobytes())
    path = plan.work / "connectivity" / f"{digest.hexdigest()[:20]}.npy"
    with locked([path.with_suffix(".lock")]):
        if not is_as_noted(path):
            values = node_means(read_volumes(run.run.bold, columns), node)
            write_whole(path, lambda part: np.save(part, values))
            note_checksum(path)
    wanted = variant.confounds or ResponseSettings().confounds
    confounds, _ = read_confounds(run.run, wanted, run.n_volumes)
    evoked, nuisance = design_matrices(
        run.trials,
        run.n_volumes,
        run.repetition_time,
        confounds,
        run.start_time,
        DesignSettings(),
    )
    return RunSeries(run, np.load(path, mmap_mode="r"), nuisance, evoked)


def node_means(values: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Return the means (n, n_nodes) over the voxels of each node.

    Parameters
    ----------
    values : array of shape (n, n_voxels)
        Volumes or trials.
    node : array of shape (n_voxels,)
        The node of each voxel, from 0; -1 for none.
    """
    n_nodes = int(node.max()) + 1
    if n_nodes == len(node) and np.array_equal(node, np.arange(n_nodes)):
        return np.asarray(values, dtype=np.float32)
    member = (node == np.arange(n_nodes)[:, None]).astype(np.float64)
    weights = member / np.maximum(member.sum(axis=1, keepdims=True), 1)
    return (np.asarray(values, dtype=np.float64) @ weights.T).astype(np.float32)


def cleaned_series(
    series: list[RunSeries], training: Trials, background: bool
) -> list[np.ndarray]:
    """Return what training data there is in BOLD, run by run.

    Parameters
    ----------
    series : list of RunSeries
        All runs.
    training : Trials
        The training trials of a fold.
    background : bool
        Whether what trials evoke is regressed out.

    Raises
    ------
    UserError
        If no volume is left that shows nothing of other trials.
    """
    keys = training[list(KEYS)].astype(str)
    found = []
    for run in series:
        first = run.run.own.iloc[0]
        own = (keys == [str(first[key]) for key in KEYS]).all(axis=1)
        part = run.cleaned(training[own.to_numpy()], background)
        if len(part):
            found.append(part)
    if not found:
        raise UserError(
            "Connectivity of BOLD is learned from volumes that show nothing of test "
            "trials, and too few are left: test trials are in all runs. Hold out whole "
            "runs (--split run), or take connectivity of trials (source: trials)."
        )
    return found


def trial_series(values: np.ndarray, trials: Trials) -> list[np.ndarray]:
    """Return training responses (n_trials, n_nodes), run by run."""
    if "n_repeats" in trials and (trials["n_repeats"] > 1).any():
        # Averages over runs are of no run.
        return [np.asarray(values)]
    keys = trials[list(KEYS)].astype(str).agg("/".join, axis=1).to_numpy()
    return [np.asarray(values[keys == key]) for key in np.unique(keys)]

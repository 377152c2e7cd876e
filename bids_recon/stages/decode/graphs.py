"""The graph of a fold: nodes, and edges learned on its training trials."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_recon.datatypes import Trials
from bids_recon.errors import Note
from bids_recon.rois.connectivity import connectivity
from bids_recon.rois.graphs import check_nodes, make_graph, n_parts
from bids_recon.stages.connectivity.nodes import Nodes
from bids_recon.stages.connectivity.series import (
    RunSeries,
    cleaned_series,
    node_means,
    trial_series,
)

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class GraphPlan:
    """How the graph of a decoded feature space is made.

    Parameters
    ----------
    how : rois.graphs.Graph
        Which connectivity and which edges.
    nodes : Nodes or None
        The node of each voxel that the recipe reads; ``None`` where voxels are nodes.
    series : list of RunSeries or None
        BOLD of the nodes, where connectivity is of it.
    """

    how: Any
    nodes: Nodes | None
    series: list[RunSeries] | None

    def graph(
        self, trials: Trials, X: np.ndarray, chosen: np.ndarray, xyz: np.ndarray
    ) -> "Data":
        """Return the graph of some training trials.

        Parameters
        ----------
        trials : Trials
            Which.
        X : array of shape (n_trials, n_chosen)
            Their responses.
        chosen : array of shape (n_chosen,)
            Which voxels these are of.
        xyz : array of shape (n_chosen, 3), mm
            Where they lie.
        """
        if self.nodes is None:
            members = {
                f"voxel {place}": np.array([place]) for place in range(len(chosen))
            }
        else:
            members = self.nodes.members(chosen)
        names = list(members)
        check_nodes(names)
        measured = self._measured(trials, X, chosen, members)
        self._say(measured, names)
        return make_graph(measured, self.how, names, list(members.values()), xyz)

    def _measured(
        self,
        trials: Trials,
        X: np.ndarray,
        chosen: np.ndarray,
        members: dict[str, np.ndarray],
    ) -> np.ndarray:
        if self.series is None:
            node = np.full(len(chosen), -1)
            for number, own in enumerate(members.values()):
                node[own] = number
            runs = trial_series(node_means(X, node), trials)
        else:
            background = self.how.source == "background"
            runs = cleaned_series(self.series, trials, background)
            kept = (
                chosen
                if self.nodes is None
                else [self.nodes.names.index(name) for name in members]
            )
            runs = [run[:, kept] for run in runs]
        return connectivity(runs, self.how.connectivity)

    def _say(self, measured: np.ndarray, names: list[str]) -> None:
        """Tell what a reader should know of the graph."""
        still = [
            name
            for name, row in zip(names, np.abs(measured), strict=True)
            if (np.delete(row, names.index(name)) == 0).all()
        ]
        if still:
            warnings.warn(
                Note(
                    f"{still[0]}{' and others' if still[1:] else ''}: responses do not "
                    "vary over training trials, so that no edge leads there."
                ),
                stacklevel=2,
            )
        weights = self.how.weights(measured)
        parts = n_parts(weights)
        if weights.any() and parts > 1:
            warnings.warn(
                Note(
                    f"The graph falls into {parts} parts, between which nothing passes."
                ),
                stacklevel=2,
            )

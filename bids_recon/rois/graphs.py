"""Connectivity as a graph of regions, parcels or voxels, and its controls."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.csgraph import connected_components

from bids_recon.errors import Status, UserError
from bids_recon.rois.connectivity import MEASURES

if TYPE_CHECKING:
    from torch_geometric.data import Data

NODES = ("regions", "voxels")
SOURCES = ("trials", "bold", "background")

MOST_VOXELS = 20_000
"""Nodes, at most; the connectivity of more takes above 3 GB."""


@dataclass(frozen=True)
class Graph:
    """What the nodes are, and by which connectivity they are joined.

    Parameters
    ----------
    nodes : {'regions', 'voxels'}
        What a node is: a region or parcel, or a voxel.
    connectivity : {'pearson', 'shrunk', 'partial', 'covariance'}
        The measure.
    source : {'trials', 'bold', 'background'}
        From responses to training trials, from BOLD, or from BOLD after what the trials
        evoke was regressed out.
    signed : bool
        Whether weights are the measure itself, as published, in place of its absolute
        value.
    seed : int
        Of what is drawn.
    """

    nodes: str = "regions"
    connectivity: str = "pearson"
    source: str = "trials"
    signed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("nodes", NODES),
            ("connectivity", tuple(MEASURES)),
            ("source", SOURCES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}"
                )
        if self.seed < 0:
            raise ValueError(f"seed is at least 0, not {self.seed}")

    def weights(self, measured: np.ndarray) -> np.ndarray:
        """Return the weight of each edge, 0 where there is none, (n_nodes, n_nodes).

        Row to column; the diagonal is 0.
        """
        return self._kept(strengths(measured)) * self._of(measured)

    def _of(self, measured: np.ndarray) -> np.ndarray:
        return measured if self.signed else np.abs(measured)

    def _kept(self, strength: np.ndarray) -> np.ndarray:
        """Return which edges there are, bool."""
        raise NotImplementedError


def strengths(measured: np.ndarray) -> np.ndarray:
    """Return absolute values, and 0 on the diagonal."""
    strength = np.abs(np.asarray(measured, dtype=np.float64))
    np.fill_diagonal(strength, 0.0)
    return strength


@dataclass(frozen=True)
class Nearest(Graph):
    """Each node is joined to the k nodes that it is most alike to, both ways.

    Parameters
    ----------
    k : int
        How many; never more than there are others.
    """

    k: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"k is at least 1, not {self.k}")

    def _kept(self, strength: np.ndarray) -> np.ndarray:
        n_nodes = len(strength)
        k = min(self.k, n_nodes - 1)
        # A node is none of its own neighbours, however weak the others are.
        ranked = np.where(np.eye(n_nodes, dtype=bool), -1.0, strength)
        best = np.argsort(-ranked, axis=1, kind="stable")[:, :k]
        kept = np.zeros(strength.shape, dtype=bool)
        np.put_along_axis(kept, best, True, axis=1)
        return (kept | kept.T) & (strength > 0)


@dataclass(frozen=True)
class Threshold(Graph):
    """Nodes are joined where the absolute measure exceeds a threshold.

    Parameters
    ----------
    above : float
        The threshold.
    """

    above: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.above < 0:
            raise ValueError(f"above is at least 0, not {self.above}")

    def _kept(self, strength: np.ndarray) -> np.ndarray:
        return strength > self.above


@dataclass(frozen=True)
class Directed(Threshold):
    """The same from each region to later ones only, as published.

    Regions stand in the order of ``--roi``, or of the recipe. Since the last region
    sends to none, the edges to it weigh nothing in a Chebyshev convolution.

    References
    ----------
    The CS292F project of 2023, cited as hou2023.
    """

    def _kept(self, strength: np.ndarray) -> np.ndarray:
        return np.triu(super()._kept(strength), 1)


N_DRAWS = 20
"""As often a control is drawn, until it is another graph than that measured."""


@dataclass(frozen=True)
class Full(Graph):
    """All nodes are joined, with the measure for weights."""

    def _kept(self, strength: np.ndarray) -> np.ndarray:
        return strength > 0


@dataclass(frozen=True)
class NoEdges(Graph):
    """A control: no edges."""

    def _kept(self, strength: np.ndarray) -> np.ndarray:
        return np.zeros(strength.shape, dtype=bool)


@dataclass(frozen=True)
class Complete(Graph):
    """A control: all nodes are joined, with the same weight."""

    def weights(self, measured: np.ndarray) -> np.ndarray:
        """Return 1 off the diagonal."""
        return 1.0 - np.eye(len(measured))


@dataclass(frozen=True)
class Random(Nearest):
    """A control: as many edges as ``nearest`` has, with its weights, anywhere."""

    def weights(self, measured: np.ndarray) -> np.ndarray:
        """Return the weights of ``nearest`` between other nodes."""
        weights = super().weights(measured)
        _need_another(weights)
        rng = np.random.default_rng(self.seed)
        rows, columns = np.triu_indices(len(weights), 1)
        for _ in range(N_DRAWS):
            own = rng.permutation(weights[rows, columns])
            if ((own != 0) != (weights[rows, columns] != 0)).any():
                break
        result = np.zeros_like(weights)
        result[rows, columns] = result[columns, rows] = own
        return result


@dataclass(frozen=True)
class Rewired(Nearest):
    """A control: the edges of ``nearest`` exchange their ends, which keeps degrees.

    References
    ----------
    Maslov & Sneppen (2002), Science 296, 910-913.
    """

    def weights(self, measured: np.ndarray) -> np.ndarray:
        """Return the weights of ``nearest`` between other nodes.

        Raises
        ------
        UserError
            If there is no other graph with these degrees.
        """
        import networkx as nx

        weights = super().weights(measured)
        _need_another(weights)
        rows, columns = np.nonzero(np.triu(weights, 1))
        measured_edges = list(zip(rows.tolist(), columns.tolist(), strict=True))
        graph = nx.Graph(measured_edges)
        n_swaps = 5 * len(rows)
        for draw in range(N_DRAWS):
            # Swaps that were made before it gave up are good ones.
            with suppress(nx.NetworkXException):
                seed = (self.seed + draw) % 2**32
                nx.double_edge_swap(graph, n_swaps, 100 * n_swaps, seed=seed)
            if {tuple(sorted(edge)) for edge in graph.edges} != set(measured_edges):
                break
        else:
            raise _no_other("with these degrees")
        result = np.zeros_like(weights)
        own = np.random.default_rng(self.seed).permutation(weights[rows, columns])
        for (a, b), weight in zip(sorted(map(sorted, graph.edges)), own, strict=True):
            result[a, b] = result[b, a] = weight
        return result


def _need_another(weights: np.ndarray) -> None:
    """Refuse a graph that is the only one of its nodes and edges."""
    n_edges = np.count_nonzero(np.triu(weights, 1))
    if n_edges in (0, len(weights) * (len(weights) - 1) // 2):
        raise _no_other(f"of {len(weights)} nodes and {n_edges} edges")


def _no_other(what: str) -> UserError:
    return UserError(
        f"This control needs another graph, and there is none {what}. Give more "
        "regions or a smaller k, or compare with no-edges.",
        Status.USAGE,
    )


def make_graph(
    measured: np.ndarray,
    how: Graph,
    names: Sequence[str],
    members: Sequence[np.ndarray],
    xyz: np.ndarray,
) -> "Data":
    """Return a graph for torch-geometric.

    Parameters
    ----------
    measured : array of shape (n_nodes, n_nodes)
        Connectivity, from training data.
    how : Graph
        Which edges there are.
    names : sequence of str
        Of the nodes.
    members : sequence of arrays
        Positions of the voxels of each node.
    xyz : array of shape (n_voxels, 3), mm
        Where voxels lie.

    Returns
    -------
    Data
        ``edge_index`` (2, n_edges), ``edge_weight`` (n_edges,), ``pos`` (n_nodes, 3) in
        mm, the means over voxels; ``voxels``, the positions of the voxels of all nodes
        one after another, of which ``sizes`` (n_nodes,) belong to each; ``names``;
        ``measured`` (n_nodes, n_nodes).

    Raises
    ------
    UserError
        If there is one node only, or the weights of a node's edges sum to 0 or less.
    """
    import torch
    from torch_geometric.data import Data

    check_nodes(names)
    weights = how.weights(measured)
    _check_degrees(weights, names)
    source, target = np.nonzero(weights)
    return Data(
        edge_index=torch.from_numpy(np.stack([source, target]).astype(np.int64)),
        edge_weight=torch.from_numpy(weights[source, target].astype(np.float32)),
        pos=torch.from_numpy(
            np.stack([xyz[own].mean(axis=0) for own in members]).astype(np.float32)
        ),
        voxels=torch.from_numpy(np.concatenate(members).astype(np.int64)),
        sizes=torch.tensor([len(own) for own in members]),
        names=list(names),
        measured=torch.from_numpy(np.asarray(measured, dtype=np.float32)),
        num_nodes=len(names),
    )


def check_nodes(names: Sequence[str]) -> None:
    """Refuse a graph of one node.

    Raises
    ------
    UserError
        If there are fewer than two.
    """
    if len(names) < 2:
        raise UserError(
            f"A graph needs two nodes at least, and there is {len(names)} "
            f"({', '.join(names) or 'none'}). Name several regions, as in --roi "
            "V1=V1d+V1v or --roi visual=V1+V2+V3, or say graph: {nodes: voxels} in the "
            "recipe.",
            Status.USAGE,
        )
    if len(names) > MOST_VOXELS:
        raise UserError(
            f"A graph of {len(names):,} nodes is too large; at most {MOST_VOXELS:,} "
            "are allowed. Use regions for nodes, or fewer voxels.",
            Status.USAGE,
        )


def _check_degrees(weights: np.ndarray, names: Sequence[str]) -> None:
    """Refuse what a Laplacian cannot be made of: its degrees have a square root."""
    linked = (weights != 0).any(axis=1)
    low = np.flatnonzero(linked & (weights.sum(axis=1) <= 0))
    if len(low):
        raise UserError(
            f"The weights of the edges of {names[low[0]]} sum to "
            f"{weights[low[0]].sum():.3g}, since some are negative; a graph "
            "convolution needs sums above 0. Leave signed out of graph in the recipe, "
            "so that absolute values are taken.",
            Status.USAGE,
        )


def n_parts(weights: np.ndarray) -> int:
    """Return how many parts a graph has between which nothing passes."""
    return int(connected_components(weights != 0, directed=False)[0])

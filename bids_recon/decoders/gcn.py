"""A graph network over functional connectivity."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from bids_recon.datatypes import Targets
from bids_recon.decoders.network import NetworkDecoder, positive

if TYPE_CHECKING:
    import torch
    from torch_geometric.data import Data


@dataclass
class GCN(NetworkDecoder):
    """Chebyshev convolutions over the graph that a recipe asks for.

    Parameters
    ----------
    width : int
        Features of a node.
    hidden : int
        Features of the layer before the last.
    channels : int
        Of the residual convolutions.
    orders : (int, int)
        Terms of the polynomials of both convolutions.
    shared : bool
        Whether the voxels of all nodes are read with the same weights, as published;
        by default each node has an input layer of its own. With shared weights, a
        directed edge tells nodes apart, whatever it is between.

    References
    ----------
    The CS292F project of 2023; Defferrard et al. (2016), NeurIPS.
    """

    width: int = 512
    hidden: int = 1024
    channels: int = 16
    orders: tuple[int, int] = (4, 3)
    shared: bool = False

    name: ClassVar[str] = "gcn"
    uses_graph: ClassVar[bool] = True
    """``fit`` gets a graph, made from its own training trials."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.orders = tuple(self.orders)
        positive(self, "width", "hidden", "channels", "orders")

    def fit(
        self,
        X: np.ndarray,
        Y: np.ndarray | Targets,
        groups: np.ndarray,
        graph: "Data",
    ) -> Self:
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape) on a graph."""
        self.edge_index_ = graph.edge_index.numpy()
        self.edge_weight_ = graph.edge_weight.numpy()
        self.voxels_ = graph.voxels.numpy()
        self.sizes_ = graph.sizes.numpy()
        self.measured_ = graph.measured.numpy()
        return super().fit(X, Y, groups)

    def _network(self) -> "torch.nn.Module":
        import torch

        from bids_recon.networks.graph import GraphNetwork

        return GraphNetwork(
            sizes=self.sizes_.tolist(),
            voxels=torch.from_numpy(np.array(self.voxels_)),
            edge_index=torch.from_numpy(np.array(self.edge_index_)),
            edge_weight=torch.from_numpy(np.array(self.edge_weight_)),
            n_targets=len(self.y_mean_),
            width=self.width,
            hidden=self.hidden,
            channels=self.channels,
            orders=self.orders,
            shared=self.shared,
        )

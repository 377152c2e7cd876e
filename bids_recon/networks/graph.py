"""A graph network: Chebyshev convolutions over regions, then a head for targets."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch_geometric.nn import ChebConv


class NodeInputs(nn.Module):
    """What each node is made of: a linear map of its own voxels.

    Parameters
    ----------
    sizes : sequence of int
        How many voxels each node has.
    width : int
        Features of a node.
    """

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(sizes), max(sizes), width))
        self.bias = nn.Parameter(torch.zeros(len(sizes), width))
        self.norm = nn.LayerNorm(width)
        with torch.no_grad():
            for node, size in enumerate(sizes):
                # As torch begins a linear layer; what pads a node stays 0.
                bound = size**-0.5
                self.weight[node, :size].uniform_(-bound, bound)
                self.bias[node].uniform_(-bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, n_nodes, n_most) to (batch, n_nodes, width)."""
        values = torch.einsum("bnv,nvw->bnw", x, self.weight) + self.bias
        return functional.relu(self.norm(values))


class ResidualBlock(nn.Module):
    """Convolutions along a line, added to what they began with.

    Parameters
    ----------
    channels : int
        Before and after.
    kernel : int
        An odd number of places.
    n_layers : int
        Convolutions.
    """

    def __init__(self, channels: int, kernel: int, n_layers: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
            for _ in range(n_layers)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, n) to the same."""
        values = x
        for layer in self.layers[:-1]:
            values = functional.relu(layer(values))
        return functional.relu(self.layers[-1](values) + x)


class GraphNetwork(nn.Module):
    """Responses on a graph to targets.

    Two Chebyshev convolutions, the second with batch normalisation and a residual; the
    mean over nodes; residual convolutions along its features; two linear layers.

    Parameters
    ----------
    sizes : sequence of int
        How many voxels each node has.
    voxels : tensor of shape (sum(sizes),)
        Positions of the voxels of all nodes, one after another.
    edge_index : tensor of shape (2, n_edges)
        From node to node.
    edge_weight : tensor of shape (n_edges,)
        Above 0.
    n_targets : int
        What is predicted.
    width, hidden, channels : int
        Features of a node, of the layer before the last, and of the convolutions.
    orders : (int, int)
        Terms of the Chebyshev polynomials.
    shared : bool
        Whether the first convolution reads the voxels of all nodes with the same
        weights, padded to the largest node, as published.

    References
    ----------
    Defferrard et al. (2016), NeurIPS: the convolution. The CS292F project of 2023: the
    rest.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        voxels: torch.Tensor,
        edge_index: torch.Tensor,
        edge_weight: torch.Tensor,
        n_targets: int,
        width: int,
        hidden: int,
        channels: int,
        orders: tuple[int, int],
        shared: bool,
    ) -> None:
        super().__init__()
        most, total = max(sizes), int(sum(sizes))
        # Position `total` is a column of noughts, with which nodes are padded.
        padded = torch.full((len(sizes), most), total)
        places = torch.arange(total)
        for node, part in enumerate(places.split(list(sizes))):
            padded[node, : len(part)] = part
        for name, tensor in (
            ("voxels", voxels),
            ("padded", padded),
            ("edge_index", edge_index),
            ("edge_weight", edge_weight),
        ):
            self.register_buffer(name, tensor, persistent=False)
        self.inputs = None if shared else NodeInputs(sizes, width)
        self.first = ChebConv(most if shared else width, width, orders[0])
        self.second = ChebConv(width, width, orders[1])
        self.norm = nn.BatchNorm1d(width)
        self.widen = nn.Conv1d(1, channels, 3, padding=1)
        self.blocks = nn.Sequential(
            ResidualBlock(channels, 3), ResidualBlock(channels, 3)
        )
        self.narrow = nn.Conv1d(channels, 1, 3, padding=1)
        self.head = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, n_targets)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses (batch, n_voxels) to targets (batch, n_targets)."""
        own = functional.pad(x[:, self.voxels], (0, 1))
        nodes = own[:, self.padded]
        if self.inputs is not None:
            nodes = self.inputs(nodes)
        edges = self.edge_index, self.edge_weight
        nodes = functional.relu(self.first(nodes, *edges))
        further = self.second(nodes, *edges)
        further = self.norm(further.flatten(0, 1)).view_as(further)
        nodes = functional.leaky_relu(further + nodes)
        line = functional.relu(self.widen(nodes.mean(dim=1, keepdim=True)))
        return self.head(self.narrow(self.blocks(line))[:, 0])

"""Voxels attend to functional clusters, and queries read these."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch_geometric.nn import TransformerConv


class ClusterAttention(nn.Module):
    """Responses to targets through clusters of voxels.

    The token of a voxel is its response times an embedding of its own. Each cluster
    attends to the tokens of its voxels, on a graph with an edge from each voxel to its
    cluster. Learned queries attend to each other and to the clusters, block by block,
    and a linear layer makes targets of them.

    Parameters
    ----------
    cluster : tensor of shape (n_voxels,)
        The cluster of each voxel, from 0.
    shape : sequence of int
        Of the targets of a trial. Where it is (n_tokens, n_features), there is a query
        for each token.
    n_queries : int
        How many there are for targets of another shape.
    width, heads, n_blocks : int
        Size of a token, heads of attention, blocks.
    dropout : float
        In the blocks.

    References
    ----------
    Brain-IT (ICLR 2026): the core of its decoder.
    """

    def __init__(
        self,
        cluster: torch.Tensor,
        shape: Sequence[int],
        n_queries: int,
        width: int,
        heads: int,
        n_blocks: int,
        dropout: float,
    ) -> None:
        super().__init__()
        n_clusters = int(cluster.max()) + 1
        n_values = int(torch.Size(shape).numel())
        self.by_token = len(shape) == 2
        n_queries = shape[0] if self.by_token else n_queries
        self.register_buffer("cluster", cluster, persistent=False)
        self.voxels = nn.Parameter(torch.randn(len(cluster), width))
        self.clusters = nn.Parameter(torch.randn(n_clusters, width) * width**-0.5)
        self.queries = nn.Parameter(torch.randn(n_queries, width) * width**-0.5)
        self.gather = TransformerConv((width, width), width // heads, heads)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout, batch_first=True, norm_first=True
            )
            for _ in range(n_blocks)
        )
        self.head = (
            nn.Linear(width, n_values // n_queries)
            if self.by_token
            else nn.Linear(n_queries * width, n_values)
        )

    def edges(self, n_trials: int) -> torch.Tensor:
        """Return the edges from voxels to clusters of several trials, (2, n)."""
        device = self.cluster.device
        trial = torch.arange(n_trials, device=device)[:, None]
        voxel = torch.arange(len(self.cluster), device=device)
        source = trial * len(self.cluster) + voxel
        target = trial * len(self.clusters) + self.cluster
        return torch.stack([source.flatten(), target.flatten()])

    def gathered(
        self, x: torch.Tensor, with_attention: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return clusters (batch, n_clusters, width), and who they attend to.

        Attention is (batch, n_voxels): the mean over heads, which sums to one over the
        voxels of a cluster.
        """
        tokens = (x[..., None] * self.voxels).flatten(0, 1)
        own = self.clusters.repeat(len(x), 1)
        edges = self.edges(len(x))
        attention = None
        if with_attention:
            made, (_, found) = self.gather(
                (tokens, own), edges, return_attention_weights=True
            )
            attention = found.mean(dim=1).view(len(x), -1)
        else:
            made = self.gather((tokens, own), edges)
        made = self.norm(functional.relu(made))
        return made.view(len(x), len(self.clusters), -1), attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map responses (batch, n_voxels) to targets (batch, n_targets)."""
        clusters, _ = self.gathered(x)
        queries = self.queries.expand(len(x), -1, -1)
        for block in self.blocks:
            queries = block(queries, clusters)
        if self.by_token:
            return self.head(queries).flatten(1)
        return self.head(queries.flatten(1))

"""Functional clusters of voxels, which learned queries read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd

from bids_recon.datatypes import Targets
from bids_recon.decoders.network import NetworkDecoder, positive

if TYPE_CHECKING:
    import torch

ALIKE = ("responses", "weights")

N_COMPONENTS = 50
"""Voxels are clustered by their scores on so many components."""

MOST_TARGETS = 512
"""Evenly spaced targets whose ridge weights voxels are clustered by."""

PENALTY = 0.1
"""Of that ridge, as a share of the mean square of responses times voxels."""


@dataclass
class ClusterAttentionDecoder(NetworkDecoder):
    """Voxels attend to their cluster, learned queries read the clusters.

    Parameters
    ----------
    n_clusters : int
        Of voxels; never more than there are voxels.
    clusters_of : {'responses', 'weights'}
        What voxels of a cluster share: their responses to training trials, or their
        weights in a ridge regression on these.
    n_queries : int
        For targets that are no table of tokens; of these each has a query.
    width, heads, n_blocks : int
        Size of a token, a multiple of the heads of attention; blocks.
    dropout : float
        In the blocks.

    References
    ----------
    Brain-IT (ICLR 2026): a token is the response times a learned embedding, clusters
    gather voxels by graph attention, queries read clusters, a linear layer gives the
    target. There, embeddings and clusters come from an encoding network over
    participants.
    """

    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    n_clusters: int = 128
    clusters_of: str = "responses"
    n_queries: int = 16
    width: int = 128
    heads: int = 4
    n_blocks: int = 2
    dropout: float = 0.1

    name: ClassVar[str] = "cluster-attention"

    mapped: ClassVar[tuple[str, ...]] = ("attention", "gradient")
    """The maps that it makes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "n_clusters", "n_queries", "width", "heads", "n_blocks")
        if self.width % self.heads:
            raise ValueError(
                f"width is a multiple of heads, not {self.width} of {self.heads}"
            )
        if self.clusters_of not in ALIKE:
            raise ValueError(f"clusters_of is one of {ALIKE}, not {self.clusters_of!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is from 0 to below 1, not {self.dropout}")

    def _prepare(self, X: np.ndarray, Y: Targets, train: np.ndarray) -> None:
        """Find the cluster of each voxel from training trials."""
        profiles = (np.asarray(X[train]) - self.x_mean_) / self.x_scale_
        if self.clusters_of == "weights":
            profiles = _ridge_weights(profiles, Y[train])
        self.cluster_ = clusters(profiles.T, self.n_clusters, self.seed)

    def _network(self) -> "torch.nn.Module":
        import torch

        from bids_recon.networks.clusters import ClusterAttention

        return ClusterAttention(
            cluster=torch.from_numpy(np.array(self.cluster_)),
            shape=[int(side) for side in self.shape_],
            n_queries=self.n_queries,
            width=self.width,
            heads=self.heads,
            n_blocks=self.n_blocks,
            dropout=self.dropout,
        )

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return gradients, and how much clusters attend to each voxel, (n_voxels,).

        ``attention`` is the mean over trials and heads, times the number of voxels of
        the cluster: 1 where all of them count alike.
        """
        import torch

        found, network = super().maps(X), self._trained()
        some = X[:: max(1, -(-len(X) // 256))]
        total = np.zeros(X.shape[1])
        for start in range(0, len(some), self.batch_size):
            x = self._scaled(some[start : start + self.batch_size])
            with torch.inference_mode():
                _, attention = network.gathered(x, with_attention=True)
            total += attention.double().sum(dim=0).cpu().numpy()
        sizes = np.bincount(self.cluster_)[self.cluster_]
        return {"attention": sizes * total / len(some), **found}


def clusters(profiles: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return which voxels are alike, (n_voxels,), from 0.

    Parameters
    ----------
    profiles : array of shape (n_voxels, n)
        What is compared, by its direction and not its size.
    n_clusters : int
        How many clusters there are at most.
    seed : int
        Where k-means begins.
    """
    profiles = np.asarray(profiles, dtype=np.float64)
    norms = np.linalg.norm(profiles, axis=1, keepdims=True)
    profiles = np.divide(
        profiles, norms, out=np.zeros_like(profiles), where=norms > 1e-12
    )
    n_components = min(N_COMPONENTS, *profiles.shape)
    left, singular, _ = randomized_svd(profiles, n_components, random_state=seed)
    scores = left * singular
    n_clusters = min(n_clusters, len(np.unique(scores.round(9), axis=0)))
    found = KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(scores)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _ridge_weights(X: np.ndarray, Y: Targets) -> np.ndarray:
    """Return weights (n_targets, n_voxels) of a ridge on scaled responses."""
    y = Y.thinned(MOST_TARGETS).astype(np.float64)
    y -= y.mean(axis=0)
    X = X.astype(np.float64)
    gram = X @ X.T
    penalty = PENALTY * max(np.trace(gram) / len(gram), 1e-12)
    dual = np.linalg.solve(gram + penalty * np.eye(len(gram)), y)
    return (X.T @ dual).T

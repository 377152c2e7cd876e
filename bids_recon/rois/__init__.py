"""Which voxels, and how regions go together."""

from types import MappingProxyType

SELECTIONS = MappingProxyType(
    {
        "f_value": "bids_recon.rois.selection:FValue",
        "reliability": "bids_recon.rois.selection:Reliability",
    }
)

GRAPHS = MappingProxyType(
    {
        "complete": "bids_recon.rois.graphs:Complete",
        "directed": "bids_recon.rois.graphs:Directed",
        "full": "bids_recon.rois.graphs:Full",
        "nearest": "bids_recon.rois.graphs:Nearest",
        "no-edges": "bids_recon.rois.graphs:NoEdges",
        "random": "bids_recon.rois.graphs:Random",
        "rewired": "bids_recon.rois.graphs:Rewired",
        "threshold": "bids_recon.rois.graphs:Threshold",
    }
)
"""Which nodes of a graph are joined."""

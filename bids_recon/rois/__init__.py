"""Which voxels, and how regions go together."""

from types import MappingProxyType

SELECTIONS = MappingProxyType(
    {
        "f_value": "bids_recon.rois.selection:FValue",
        "reliability": "bids_recon.rois.selection:Reliability",
    }
)

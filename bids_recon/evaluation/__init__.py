"""How good reconstructions are, and by how much that beats chance."""

from types import MappingProxyType

METRICS = MappingProxyType(
    {
        "pixel_correlation": "bids_recon.evaluation.metrics:pixel_correlation",
        "ssim": "bids_recon.evaluation.metrics:ssim",
        "mse": "bids_recon.evaluation.metrics:mse",
        "patch_accuracy": "bids_recon.evaluation.metrics:patch_accuracy",
        "f1": "bids_recon.evaluation.metrics:f1",
        "mcc": "bids_recon.evaluation.metrics:mcc",
    }
)

BINARY_METRICS = ("patch_accuracy", "f1", "mcc")
"""Computed only where every picture shown is black and white."""

IDENTIFICATION = ("two_way_identification", "top1_identification")
"""From the pixel correlation of every reconstruction with every candidate."""

LOWER_IS_BETTER = ("mse",)

PROFILES = MappingProxyType({"bids-recon": (*METRICS, *IDENTIFICATION)})
"""Which metrics a profile holds."""

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

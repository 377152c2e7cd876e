"""Pictures to target features."""

from types import MappingProxyType

FEATURES = MappingProxyType(
    {
        "pixels": "bids_recon.features.pixels:Pixels",
        "eigenimage": "bids_recon.features.eigenimage:Eigenimage",
        "local_contrast": "bids_recon.features.local_contrast:LocalContrast",
    }
)

"""Decoded features to pictures."""

from types import MappingProxyType

GENERATORS = MappingProxyType(
    {
        "icnn": "bids_recon.generators.feature_inversion:FeatureInversion",
        "inverse": "bids_recon.generators.inverse:Inverse",
        "local_combination": (
            "bids_recon.generators.local_combination:LocalCombination"
        ),
        "stable-diffusion": "bids_recon.generators.stable_diffusion:StableDiffusion",
        "versatile-diffusion": (
            "bids_recon.generators.versatile_diffusion:VersatileDiffusion"
        ),
    }
)

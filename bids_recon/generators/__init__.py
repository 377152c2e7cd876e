"""Decoded features to pictures."""

from types import MappingProxyType

GENERATORS = MappingProxyType(
    {
        "eigenimage": "bids_recon.generators.eigenimage:EigenimageGenerator",
        "local_combination": (
            "bids_recon.generators.local_combination:LocalCombination"
        ),
    }
)

"""Pictures to target features."""

from types import MappingProxyType

FEATURES = MappingProxyType(
    {
        "pixels": "bids_recon.features.pixels:Pixels",
        "eigenimage": "bids_recon.features.eigenimage:Eigenimage",
        "edges": "bids_recon.features.edges:Edges",
        "local_contrast": "bids_recon.features.local_contrast:LocalContrast",
        "latent": "bids_recon.features.latent:Latent",
        "clip-vision": "bids_recon.features.clip:ClipVision",
        "clip-text": "bids_recon.features.clip:ClipText",
        "vdvae": "bids_recon.features.vdvae:Vdvae",
        "network": "bids_recon.features.network:Network",
    }
)

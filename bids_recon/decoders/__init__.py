"""Responses to features."""

from types import MappingProxyType

DECODERS = MappingProxyType(
    {
        "cluster-attention": (
            "bids_recon.decoders.cluster_attention:ClusterAttentionDecoder"
        ),
        "cnn": "bids_recon.decoders.cnn:CNN",
        "encoding_inversion": (
            "bids_recon.decoders.encoding_inversion:EncodingInversion"
        ),
        "gan": "bids_recon.decoders.gan:GAN",
        "gcn": "bids_recon.decoders.gcn:GCN",
        "ridge": "bids_recon.decoders.ridge:Ridge",
        "sgd": "bids_recon.decoders.sgd:SGD",
        "sparse": "bids_recon.decoders.sparse:Sparse",
        "sparse_logistic": "bids_recon.decoders.sparse_logistic:SparseLogistic",
        "unit-ridge": "bids_recon.decoders.unit_ridge:UnitRidge",
        "univariate": "bids_recon.decoders.univariate:Univariate",
        "vae": "bids_recon.decoders.vae:VAE",
    }
)

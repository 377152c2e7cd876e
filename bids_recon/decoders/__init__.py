"""Responses to features."""

from types import MappingProxyType

DECODERS = MappingProxyType(
    {
        "encoding_inversion": (
            "bids_recon.decoders.encoding_inversion:EncodingInversion"
        ),
        "ridge": "bids_recon.decoders.ridge:Ridge",
        "sgd": "bids_recon.decoders.sgd:SGD",
        "sparse": "bids_recon.decoders.sparse:Sparse",
        "sparse_logistic": "bids_recon.decoders.sparse_logistic:SparseLogistic",
        "univariate": "bids_recon.decoders.univariate:Univariate",
    }
)

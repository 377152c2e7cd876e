"""Networks that judge or make pictures; no data, no file names of datasets."""

from types import MappingProxyType

ENCODERS = MappingProxyType(
    {
        "alexnet": "bids_recon.networks.known_encoders:alexnet",
        "caffenet": "bids_recon.networks.caffenet:caffenet",
        "vgg19": "bids_recon.networks.known_encoders:vgg19",
        "vgg19-caffe": "bids_recon.networks.known_encoders:vgg19_caffe",
        "vgg19-caffe-leaky": "bids_recon.networks.known_encoders:vgg19_caffe_leaky",
        "resnet50": "bids_recon.networks.known_encoders:resnet50",
        "squeezenet": "bids_recon.networks.keras_squeezenet:squeezenet_keras",
        "inception-v3": "bids_recon.networks.known_encoders:inception_v3",
        "efficientnet-b1-v1": "bids_recon.networks.known_encoders:efficientnet_b1",
        "efficientnet-b1-v2": "bids_recon.networks.known_encoders:efficientnet_b1",
        "efficientnet-v2-s": "bids_recon.networks.known_encoders:efficientnet_v2_s",
        "squeezenet1-1": "bids_recon.networks.known_encoders:squeezenet1_1",
        "swav-resnet50": "bids_recon.networks.known_encoders:swav_resnet50",
        "clip-vit-l-14": "bids_recon.networks.known_encoders:clip_vision",
        "dinov2-base": "bids_recon.networks.known_encoders:dinov2",
    }
)
"""Builders by the name of their weights: path -> ``Encoder``."""

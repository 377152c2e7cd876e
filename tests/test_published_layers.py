"""What each profile looks at, against what its authors' code names."""

import pytest

from bids_recon.evaluation.profiles import profile_names, read_profile

PUBLISHED = {
    # ozcelikfu/brain-diffuser, scripts/eval_extract_features.py: feature maps after
    # the second and fifth convolution (and ReLU, in place), the pooled ones of
    # Inception v3, EfficientNet-B1 and SwAV, CLIP's embedding of pictures.
    "brain-diffuser-2023": {
        "alexnet2_two_way": ("alexnet", "features.4"),
        "alexnet5_two_way": ("alexnet", "features.11"),
        "inception_two_way": ("inception-v3", "avgpool"),
        "clip_two_way": ("clip-vit-l-14", "projected"),
        "efficientnet_distance": ("efficientnet-b1-v1", "avgpool"),
        "swav_distance": ("swav-resnet50", "avgpool"),
    },
    # MedARC-AI/fMRI-reconstruction-NSD, src/Reconstruction_Metrics.py: the same, with
    # the newer weights of EfficientNet-B1.
    "mindeye": {
        "alexnet2_two_way": ("alexnet", "features.4"),
        "alexnet5_two_way": ("alexnet", "features.11"),
        "inception_two_way": ("inception-v3", "avgpool"),
        "clip_two_way": ("clip-vit-l-14", "projected"),
        "efficientnet_distance": ("efficientnet-b1-v2", "avgpool"),
        "swav_distance": ("swav-resnet50", "avgpool"),
    },
    # yu-takagi/StableDiffusionReconstruction, codes/utils/img2feat_decoded.py:
    # features[5], features[12] and classifier[5] of AlexNet, hidden states 6 and 12 of
    # CLIP's vision model beside its embedding.
    "takagi": {
        "inception_two_way": ("inception-v3", "avgpool"),
        "alexnet5_two_way": ("alexnet", "features.5"),
        "alexnet12_two_way": ("alexnet", "features.12"),
        "alexnet18_two_way": ("alexnet", "classifier.5"),
        "clip_two_way": ("clip-vit-l-14", "projected"),
        "clip6_two_way": ("clip-vit-l-14", "hidden.6"),
        "clip12_two_way": ("clip-vit-l-14", "hidden.12"),
    },
    # subawocit/CS292F_Project; LPIPS has layers of its own.
    "cs292f": {
        "lpips": ("alexnet", None),
        "efficientnet_distance": ("efficientnet-v2-s", "avgpool"),
    },
    # docs/metrics.md.
    "bids-recon": {
        "alexnet2_two_way": ("alexnet", "features.4"),
        "alexnet5_two_way": ("alexnet", "features.11"),
        "inception_two_way": ("inception-v3", "avgpool"),
        "clip_two_way": ("clip-vit-l-14", "projected"),
        "dinov2_two_way": ("dinov2-base", "cls"),
        "swav_distance": ("swav-resnet50", "avgpool"),
    },
    # Pixels alone.
    "deeprecon": {},
    "miyawaki": {},
    "shen2019": {},
}


@pytest.mark.parametrize("name", profile_names())
def test_layers_are_the_published_ones(name):
    found = {
        spec.name: (spec.network, spec.layer)
        for spec in read_profile(name).metrics
        if spec.network
    }
    assert found == PUBLISHED[name]

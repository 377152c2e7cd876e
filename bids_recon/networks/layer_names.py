"""The field's names of layers, and the modules of torchvision that give them."""

VGG19_LAYERS = {
    f"conv{block}_{number}": f"features.{first + 2 * (number - 1)}"
    for block, first, n_layers in (
        (1, 0, 2),
        (2, 5, 2),
        (3, 10, 4),
        (4, 19, 4),
        (5, 28, 4),
    )
    for number in range(1, n_layers + 1)
} | {f"fc{6 + n}": f"classifier.{3 * n}" for n in range(3)}

ALEXNET_LAYERS = {
    f"conv{n + 1}": f"features.{index}" for n, index in enumerate((0, 3, 6, 8, 10))
} | {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}

SQUEEZENET_LAYERS = {"conv1": "features.0"} | {
    f"fire{n + 2}": f"features.{index}"
    for n, index in enumerate((3, 4, 6, 7, 9, 10, 11, 12))
}

RESNET50_LAYERS = {
    f"block{stage}_{number + 1}": f"layer{stage}.{number}"
    for stage, n_blocks in ((1, 3), (2, 4), (3, 6), (4, 3))
    for number in range(n_blocks)
} | {"conv1": "conv1", "avgpool": "avgpool", "fc": "fc"}

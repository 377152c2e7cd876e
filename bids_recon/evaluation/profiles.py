"""Metric profiles: which metrics by which protocol, as data in ``profiles/*.yml``."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from bids_recon.errors import Status, UserError, did_you_mean

KINDS = (
    *("pixel_correlation", "ssim", "mse", "patch_accuracy", "f1", "mcc"),
    *("two_way", "top1", "distance", "lpips"),
)
"""What a metric may be; the last four may look through a network."""

BINARY_KINDS = ("patch_accuracy", "f1", "mcc")
"""Computed only where every picture shown is black and white."""

LOWER_IS_BETTER = ("mse", "distance", "lpips")


@dataclass(frozen=True)
class Step:
    """One change of size on the way to a metric.

    Parameters
    ----------
    engine : {'seen', 'pil', 'tensor'}
        To the size of the picture seen; Pillow on 8-bit pictures, always antialiased;
        or torch on floats.
    size : int, pixels
        The side of the square, for ``pil`` and ``tensor``.
    filter : {'bicubic', 'bilinear'}
        Of Pillow; torch's is bilinear.
    antialias : bool
        Of torch.
    """

    engine: str
    size: int = 0
    filter: str = "bicubic"
    antialias: bool = False


@dataclass(frozen=True)
class MetricSpec:
    """One metric of a profile.

    Parameters
    ----------
    name : str
        Its name in outputs.
    kind : str
        One of ``KINDS``.
    prepare : tuple of Step
        What is done to pictures first.
    network, layer : str or None
        The weights and layer it looks through; ``None`` for pixels.
    direction : {'reconstruction', 'original'}
        Whether a reconstruction is compared with other pictures, or a picture with
        other reconstructions.
    regime : {'uniform', 'gaussian', 'columns'}
        Of SSIM.
    grey : {'mean', 'luma'}
        How SSIM makes pictures grey.
    scale : float
        What a network's input is multiplied by.
    min_size : int, pixels
        Left out for pictures that are smaller.
    """

    name: str
    kind: str
    prepare: tuple[Step, ...] = ()
    network: str | None = None
    layer: str | None = None
    direction: str = "reconstruction"
    regime: str = "uniform"
    grey: str = "mean"
    scale: float = 1.0
    min_size: int = 0

    @property
    def lower_is_better(self) -> bool:
        """Which way it points."""
        return self.kind in LOWER_IS_BETTER


@dataclass(frozen=True)
class Profile:
    """A protocol.

    Parameters
    ----------
    name, version : str, int
        What stands next to each number.
    describes, source : str
        What it is and where it was read.
    max_size : int, pixels
        The longer side at which folders of pictures are read for it.
    samples : {'first', 'mean'}
        What the protocol does with several samples of a picture.
    metrics : tuple of MetricSpec
        In the order of the outputs.
    """

    name: str
    version: int
    describes: str
    source: str
    max_size: int
    samples: str
    metrics: tuple[MetricSpec, ...]


def profile_names() -> list[str]:
    """Return the names of all profiles."""
    folder = files("bids_recon.evaluation").joinpath("profiles")
    return sorted(
        entry.name.removesuffix(".yml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yml")
    )


def read_profile(name: str) -> Profile:
    """Read a profile by its name.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name not in profile_names():
        raise UserError(
            f"There is no profile {name!r}. {did_you_mean(name, profile_names())}",
            Status.USAGE,
        )
    resource = files("bids_recon.evaluation").joinpath("profiles", f"{name}.yml")
    data: dict[str, Any] = yaml.safe_load(resource.read_text())
    common = data.pop("prepare", ())
    metrics = tuple(
        _metric(metric, options, common)
        for metric, options in data.pop("metrics").items()
    )
    return Profile(**data, metrics=metrics)


def _metric(name: str, options: Mapping[str, Any], common: Any) -> MetricSpec:
    steps = tuple(Step(**step) for step in options.get("prepare", common))
    rest = {key: value for key, value in options.items() if key != "prepare"}
    return MetricSpec(name=name, prepare=steps, **rest)

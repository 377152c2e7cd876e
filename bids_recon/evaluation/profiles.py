"""Metric profiles: which metrics by which protocol, as data in ``profiles/*.yml``."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Literal, Self, TypeAlias, get_args

from pydantic import Field, model_validator

from bids_recon.documents import parse_yaml
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.schema import Table, Text, checked

Kind: TypeAlias = Literal[
    "pixel_correlation",
    "ssim",
    "mse",
    "patch_accuracy",
    "f1",
    "mcc",
    "two_way",
    "top1",
    "distance",
    "lpips",
]

KINDS = get_args(Kind)
"""What a metric may be; the last four may look through a network."""

OF_NETWORKS = ("distance", "lpips")
"""Computed through a network only."""

LARGEST = 4096
"""Pixels on a side."""

BINARY_KINDS = ("patch_accuracy", "f1", "mcc")
"""Computed only where every picture shown is black and white."""

LOWER_IS_BETTER = ("mse", "distance", "lpips")


class Step(Table):
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

    engine: Literal["seen", "pil", "tensor"]
    size: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    filter: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.engine != "seen" and self.size < 1:
            raise ValueError(
                f"the size of {self.engine} is at least 1, not {self.size}"
            )
        return self


class MetricSpec(Table):
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
    similarity : {'correlation', 'ssim'}
        By what one is identified: the correlation of features, or SSIM of pictures.
    scale : float
        What a network's input is multiplied by.
    min_size : int, pixels
        Left out for pictures that are smaller.
    """

    name: str
    kind: Kind
    prepare: tuple[Step, ...] = ()
    network: Text | None = None
    layer: Text | None = None
    direction: Literal["reconstruction", "original"] = "reconstruction"
    regime: Literal["uniform", "gaussian", "columns"] = "uniform"
    grey: Literal["mean", "luma"] = "mean"
    similarity: Literal["correlation", "ssim"] = "correlation"
    scale: Annotated[float, Field(gt=0)] = 1.0
    min_size: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind in OF_NETWORKS and self.network is None:
            raise ValueError(f"{self.kind} needs a network")
        if self.network and self.kind != "lpips" and self.layer is None:
            raise ValueError(f"the network {self.network!r} needs a layer")
        if self.network and self.similarity == "ssim":
            raise ValueError("ssim is of pictures, and looks through no network")
        return self

    @property
    def lower_is_better(self) -> bool:
        """Which way it points."""
        return self.kind in LOWER_IS_BETTER


class Protocol(Table):
    """What a profile says beside its metrics.

    Parameters
    ----------
    name, version : str, int
        What stands next to each number.
    describes, source : str
        What it is and where it was read.
    max_size : int, pixels
        The longer side at which pictures that were seen are read for it, and folders
        of reconstructions.
    samples : {'first', 'mean'}
        Whether only the first picture made of a trial counts, or the mean of what is
        found for each: of similarities before identification, and of scores.
    by_set : bool
        Whether each set of pictures is scored by itself, where there are several.
    """

    name: Text
    version: Annotated[int, Field(ge=1)]
    describes: Text
    source: Text
    max_size: Annotated[int, Field(ge=1, le=LARGEST)]
    samples: Literal["first", "mean"]
    by_set: bool = False


class ProfileFile(Protocol):
    """A protocol as it stands in a file, with its metrics by name."""

    metrics: Annotated[dict[Text, MetricSpec], Field(min_length=1)]


class Profile(Protocol):
    """A protocol, with its metrics in the order of the outputs."""

    metrics: tuple[MetricSpec, ...]

    @property
    def at_size_seen(self) -> bool:
        """Whether pictures are compared at the size at which they are shown here.

        Other protocols have sizes of their own, and take pictures as they are.
        """
        steps = [step for spec in self.metrics for step in spec.prepare]
        return any(step.engine == "seen" for step in steps)


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
    return profile_of(resource.read_text(encoding="utf-8"), f"profile {name}")


def profile_of(text: str, where: str) -> Profile:
    """Return the profile that a YAML text holds.

    Parameters
    ----------
    text : str
        The form of ``profiles/*.yml``: a metric without ``prepare`` has the profile's.
    where : str
        What it is called in messages.

    Raises
    ------
    UserError
        With all that is wrong with it.
    """
    data = parse_yaml(text, where)
    common = data.pop("prepare", [])
    metrics = data.get("metrics")
    if isinstance(metrics, Mapping):
        data["metrics"] = {
            name: {"prepare": common, **options, "name": name}
            if isinstance(options, Mapping)
            else options
            for name, options in metrics.items()
        }
    given = checked(ProfileFile, data, where)
    return Profile(**{**dict(given), "metrics": tuple(given.metrics.values())})

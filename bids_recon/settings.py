"""What a run was asked for: the command line as data."""

from dataclasses import asdict, dataclass, fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_type_hints

import yaml
from pydantic import BeforeValidator, Field, create_model

from bids_recon.documents import read_yaml
from bids_recon.errors import Status, UserError
from bids_recon.files import absolute_path
from bids_recon.schema import Labels, Table, Text, Texts, as_list, checked

Stage: TypeAlias = Literal[
    "responses", "rois", "decode", "generate", "evaluate", "report"
]
STAGES = get_args(Stage)
DEFAULT_RECIPE = "eigenimage"

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]

Count: TypeAlias = Annotated[int, Field(ge=1)]
"""A whole number from 1."""


def _path(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError("expected a path, found text that is none")
    return absolute_path(value)


Fraction: TypeAlias = Annotated[float, Field(gt=0, le=1)]
"""A share above 0, up to all."""

PathText: TypeAlias = Annotated[Path, BeforeValidator(_path)]
"""A path, made absolute as on the command line."""


@dataclass(frozen=True)
class RoiSet:
    """Regions of interest joined under one name: ``[NAME=]LABEL[+LABEL...]``."""

    name: str
    labels: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "RoiSet":
        """Read the form of the command line.

        Raises
        ------
        UserError
            If the text is not of that form.
        """
        name, equals, labels = text.partition("=")
        labels = labels if equals else text
        parts = tuple(part for part in labels.split("+") if part)
        if not equals and ":" not in text:
            # V1 is V1=V1; what a name cannot hold is left out of it.
            name = "".join(c for c in labels if c.isascii() and c.isalnum())
        if not (name.isascii() and name.isalnum() and parts):
            raise UserError(
                f"--roi {text!r} is not of the form LABEL or NAME=LABEL[+LABEL...], "
                "with a NAME of letters and digits. For instance: --roi V1=V1d+V1v",
                Status.USAGE,
            )
        return cls(name, parts)


@dataclass(frozen=True)
class Settings:
    """Everything that a run was asked for; one field per option."""

    bids_dir: Path
    output_dir: Path
    level: str
    participant_label: Labels = ()
    session_label: Labels = ()
    task_id: Labels = ()
    run_id: Labels = ()
    space: Text | None = None
    bids_filter_file: PathText | None = None
    derivatives: Texts = ()
    bids_database_dir: PathText | None = None
    skip_bids_validation: bool = False
    recipe: Texts = (DEFAULT_RECIPE,)
    roi: Texts = ()
    split: Text | None = None
    connectivity: Texts = ()
    model_from: PathText | None = None
    test_repeats: Literal["single", "combined"] | None = None
    picture_sets: Text | None = None
    train_fraction: Annotated[tuple[Fraction, ...], BeforeValidator(as_list)] = (1.0,)
    stimuli: PathText | None = None
    stimulus_column: Text | None = None
    stimulus_map: PathText | None = None
    captions: PathText | None = None
    prior_pictures: PathText | None = None
    trials: Text | None = None
    device: Device = "auto"
    n_procs: Count | None = None
    omp_nthreads: Count | None = None
    mem_mb: Count | None = None
    cluster: Text | None = None
    array_script: Literal["slurm"] | None = None
    seed: int = 0
    work_dir: PathText | None = None
    weights_dir: PathText | None = None
    offline: bool = False
    stages: Annotated[tuple[Stage, ...], BeforeValidator(as_list)] = STAGES
    reports_only: bool = False
    dry_run: bool = False
    verbose: Annotated[int, Field(ge=0)] = 0

    @property
    def work(self) -> Path:
        """Where intermediate results are kept."""
        return self.work_dir or self.output_dir / "work"

    @property
    def roi_sets(self) -> tuple[RoiSet, ...]:
        """The sets of regions given by ``--roi``."""
        return tuple(RoiSet.parse(text) for text in self.roi)

    def as_data(self) -> dict[str, Any]:
        """Return plain values, as they stand in ``settings.yml``."""
        return {
            name: str(value)
            if isinstance(value, Path)
            else list(value)
            if isinstance(value, tuple)
            else value
            for name, value in asdict(self).items()
        }

    def as_words(self) -> list[str]:
        """Return the words of a command line that asks for this, without the places."""
        words = []
        for entry in fields(self):
            option = f"--{entry.name.replace('_', '-')}"
            value = getattr(self, entry.name)
            if entry.name not in SETTING_NAMES or value == entry.default:
                continue
            if entry.name in REPEATED:
                words += [f"{option}={one}" for one in value]
            elif isinstance(value, tuple):
                words += [option, *map(str, value)]
            elif isinstance(value, bool):
                words.append(option)
            elif entry.name == "verbose":
                words += [option] * value
            else:
                words.append(f"{option}={value}")
        return words

    @property
    def run_uuid(self) -> str:
        """A name for this run that is the same when the same is asked again."""
        text = yaml.safe_dump(self.as_data(), sort_keys=True)
        digest = sha256(text.encode()).hexdigest()
        return "-".join((digest[:8], digest[8:12], digest[12:16]))


REPEATED = ("derivatives", "recipe", "roi")
"""Options that may be given again, each adding to what was given before."""

SETTING_NAMES = tuple(
    entry.name
    for entry in fields(Settings)
    if entry.name not in ("bids_dir", "output_dir", "level")
)


@cache
def _config_file() -> type[Table]:
    """Return the schema of a settings file: the options, any of which may be null."""
    hints = get_type_hints(Settings, include_extras=True)
    return create_model(
        "ConfigFile",
        __base__=Table,
        **{name: (hints[name] | None, None) for name in SETTING_NAMES},
    )


def read_config(path: Path) -> dict[str, Any]:
    """Read settings from a YAML file whose keys are option names.

    Raises
    ------
    UserError
        If the file is missing or is not YAML, or with all that is wrong with it.
    """
    data: dict[str, Any] = {}
    for key, value in read_yaml(path, "settings file").items():
        name = key.replace("-", "_")
        if name in data:
            raise UserError(
                f"{path}: {name.replace('_', '-')!r} and {name!r} are one setting. "
                "Keep one of them.",
                Status.USAGE,
            )
        if name not in ("bids_dir", "output_dir", "level"):
            data[name] = value
    given = checked(_config_file(), data, str(path))
    # A setting of null, or an empty list, is as good as none.
    return {name: value for name, value in given if value not in (None, ())}

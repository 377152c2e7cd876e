"""What a run was asked for: the command line as data."""

from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from bids_recon.errors import Status, UserError, did_you_mean

STAGES = ("responses", "rois", "decode", "generate", "evaluate", "report")
DEFAULT_RECIPE = "eigenimage"


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
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    task_id: tuple[str, ...] = ()
    run_id: tuple[str, ...] = ()
    space: str | None = None
    bids_filter_file: Path | None = None
    derivatives: tuple[str, ...] = ()
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    recipe: tuple[str, ...] = (DEFAULT_RECIPE,)
    roi: tuple[str, ...] = ()
    split: str | None = None
    stimuli: Path | None = None
    stimulus_column: str | None = None
    stimulus_map: Path | None = None
    captions: Path | None = None
    prior_pictures: Path | None = None
    trials: str | None = None
    device: str = "auto"
    n_procs: int = 1
    omp_nthreads: int | None = None
    mem_mb: int | None = None
    seed: int = 0
    work_dir: Path | None = None
    weights_dir: Path | None = None
    offline: bool = False
    stages: tuple[str, ...] = STAGES
    reports_only: bool = False
    dry_run: bool = False
    verbose: int = 0

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

    @property
    def run_uuid(self) -> str:
        """A name for this run that is the same when the same is asked again."""
        text = yaml.safe_dump(self.as_data(), sort_keys=True)
        digest = sha256(text.encode()).hexdigest()
        return "-".join((digest[:8], digest[8:12], digest[12:16]))


SETTING_NAMES = tuple(
    entry.name
    for entry in fields(Settings)
    if entry.name not in ("bids_dir", "output_dir", "level")
)


def read_config(path: Path) -> dict[str, Any]:
    """Read settings from a YAML file whose keys are option names.

    Raises
    ------
    UserError
        If the file is missing, is not YAML or has a key that is no option.
    """
    data = read_yaml(path, "settings file")
    known = {name.replace("_", "-") for name in SETTING_NAMES}
    config = {}
    for key, value in data.items():
        name = str(key).replace("_", "-")
        if name in ("bids-dir", "output-dir", "level"):
            continue
        if name not in known:
            raise UserError(
                f"{path}: there is no setting {key!r}. {did_you_mean(name, known)}",
                Status.USAGE,
            )
        config[name.replace("-", "_")] = value
    return config


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping.

    Raises
    ------
    UserError
        If it cannot be read, is no YAML or holds something else.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(
            f"{path}: the {kind} cannot be read ({error.strerror}).", Status.NO_INPUT
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}", Status.USAGE) from error
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: expected a mapping of keys to values, found "
            f"{type(data).__name__}.",
            Status.USAGE,
        )
    return data

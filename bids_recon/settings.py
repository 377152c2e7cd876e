"""What a run was asked for: the command line as data, and recipes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from bids_recon.errors import Status, UserError, did_you_mean

STAGES = ("responses", "rois", "decode", "generate", "evaluate", "report")
DEFAULT_RECIPE = "eigenimage"


@dataclass(frozen=True)
class RoiSet:
    """Regions of interest joined under one name: ``NAME=LABEL[+LABEL...]``."""

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
        parts = tuple(part for part in labels.split("+") if part)
        if not (name.isalnum() and equals and parts):
            raise UserError(
                f"--roi {text!r} is not of the form NAME=LABEL[+LABEL...], with a NAME "
                "of letters and digits. For instance: --roi V1=V1d+V1v",
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
    trials: str | None = None
    device: str = "auto"
    n_procs: int = 1
    omp_nthreads: int | None = None
    mem_mb: int | None = None
    seed: int = 0
    work_dir: Path | None = None
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
    data = _read_yaml(path, "settings file")
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


@dataclass(frozen=True)
class Method:
    """A method by its name, with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: str | Mapping[str, Any], where: str) -> "Method":
        """Read ``ridge`` or ``{name: ridge, alpha: 1}``."""
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            return cls(value["name"], {k: v for k, v in value.items() if k != "name"})
        raise UserError(
            f"{where}: expected a name, or a mapping with a name, and found {value!r}.",
            Status.USAGE,
        )

    def as_data(self) -> dict[str, Any]:
        """Return plain values, as they stand in a recipe."""
        return {"name": self.name, **self.options}


@dataclass(frozen=True)
class DecodeStep:
    """One feature space, the voxels it is read from and the decoder that does it."""

    features: Method
    decoder: Method
    rois: tuple[str, ...] = ()
    voxels: Method | None = None


@dataclass(frozen=True)
class ResponseSettings:
    """How a BOLD run becomes responses, and how these are scaled."""

    estimator: Method = Method("lss")
    confounds: tuple[str, ...] = ("motion", "wm_csf")
    standardize: str | None = "run"
    average_train: bool = False
    average_test: bool = False
    immediate_repeats: bool = False


@dataclass(frozen=True)
class Recipe:
    """A complete method: trials, features from voxels by decoders, a generator."""

    name: str
    description: str
    cite: tuple[str, ...]
    picture_size: int
    responses: ResponseSettings
    decode: Mapping[str, DecodeStep]
    generate: Method
    profiles: tuple[str, ...]
    source: Mapping[str, Any]

    @property
    def rois(self) -> tuple[str, ...]:
        """The regions that the recipe itself asks for, in order of appearance."""
        names = [roi for step in self.decode.values() for roi in step.rois]
        return tuple(dict.fromkeys(names))


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the program."""
    return sorted(
        entry.name.removesuffix(".yml")
        for entry in files("bids_recon").joinpath("recipes").iterdir()
        if entry.name.endswith(".yml")
    )


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by its name, or from a file of the same form.

    A file that says ``extends: NAME`` holds only what differs from that recipe.

    Raises
    ------
    UserError
        If there is no such recipe, or it has a key that recipes do not have.
    """
    data, where = _recipe_data(name_or_path)
    return _recipe(data, where)


def _recipe_data(name_or_path: str) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if name_or_path in recipe_names():
        resource = files("bids_recon").joinpath("recipes", f"{name_or_path}.yml")
        return yaml.safe_load(resource.read_text()), f"recipe {name_or_path}"
    if path.suffix not in (".yml", ".yaml"):
        raise UserError(
            f"There is no recipe called {name_or_path!r}. "
            f"{did_you_mean(name_or_path, recipe_names())} "
            "A recipe of your own is given by the path of its .yml file.",
            Status.USAGE,
        )
    data = _read_yaml(path, "recipe")
    if "extends" in data:
        base, _ = _recipe_data(str(data.pop("extends")))
        if data.get("name") in (None, base["name"]):
            raise UserError(
                f"{path}: a recipe that extends {base['name']!r} needs a name of its "
                "own, because its outputs are named after it.",
                Status.USAGE,
            )
        data = _merge(base, data)
    return data, str(path)


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _read_yaml(path: Path, kind: str) -> dict[str, Any]:
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


def _check_keys(data: Any, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise UserError(
            f"{where}: expected a mapping with {', '.join(known)}; found {data!r}.",
            Status.USAGE,
        )
    for key in data:
        if key not in known:
            raise UserError(
                f"{where}: there is no setting {key!r}. "
                f"{did_you_mean(str(key), known)}",
                Status.USAGE,
            )
    return dict(data)


def _recipe(data: Mapping[str, Any], where: str) -> Recipe:
    known = [
        "name",
        "description",
        "cite",
        "pictures",
        "responses",
        "decode",
        "generate",
        "evaluate",
    ]
    data = _check_keys(data, tuple(known), where)
    for key in ("name", "decode", "generate"):
        if not data.get(key):
            raise UserError(f"{where}: the recipe has no {key!r}.", Status.USAGE)
    pictures = _check_keys(
        data.get("pictures", {}), ("max_size",), f"{where}, pictures"
    )
    evaluate = _check_keys(
        data.get("evaluate", {}), ("profiles",), f"{where}, evaluate"
    )
    if not isinstance(data["decode"], Mapping):
        raise UserError(
            f"{where}, decode: expected a mapping of feature spaces.", Status.USAGE
        )
    return Recipe(
        name=str(data["name"]),
        description=" ".join(str(data.get("description", "")).split()),
        cite=tuple(data.get("cite", ())),
        picture_size=int(pictures.get("max_size", 64)),
        responses=_response_settings(data.get("responses", {}), where),
        decode={
            name: _decode_step(name, step, f"{where}, decode {name}")
            for name, step in data["decode"].items()
        },
        generate=Method.parse(data["generate"], f"{where}, generate"),
        profiles=tuple(evaluate.get("profiles", ("bids-recon",))),
        source=dict(data),
    )


def _response_settings(data: Any, where: str) -> ResponseSettings:
    where = f"{where}, responses"
    known = [
        "estimator",
        "confounds",
        "standardize",
        "average_repeats",
        "immediate_repeats",
    ]
    data = _check_keys(data, tuple(known), where)
    average = _check_keys(
        data.get("average_repeats", {}), ("train", "test"), f"{where}, average_repeats"
    )
    standardize = data.get("standardize", "run")
    if standardize not in ("run", "session", None):
        raise UserError(
            f"{where}: standardize is run, session or null; found {standardize!r}.",
            Status.USAGE,
        )
    return ResponseSettings(
        estimator=Method.parse(data.get("estimator", "lss"), f"{where}, estimator"),
        confounds=tuple(data.get("confounds", ("motion", "wm_csf")) or ()),
        standardize=standardize,
        average_train=bool(average.get("train", False)),
        average_test=bool(average.get("test", False)),
        immediate_repeats=bool(data.get("immediate_repeats", False)),
    )


def _decode_step(name: str, data: Any, where: str) -> DecodeStep:
    data = _check_keys(data, ("features", "decoder", "rois", "voxels"), where)
    features = data.get("features", {})
    if isinstance(features, Mapping) and "name" not in features:
        features = {"name": name, **features}
    rois = data.get("rois", ())
    if isinstance(rois, str):
        rois = (rois,)
    return DecodeStep(
        features=Method.parse(features, f"{where}, features"),
        decoder=Method.parse(data.get("decoder", "ridge"), f"{where}, decoder"),
        rois=tuple(rois),
        voxels=Method.parse(data["voxels"], f"{where}, voxels")
        if data.get("voxels")
        else None,
    )

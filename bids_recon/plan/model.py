"""Decoders that an earlier run trained, to be applied to other trials."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bids_recon import __version__
from bids_recon.dataset.checksums import checksum
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import describe_grid, open_image, same_grid
from bids_recon.dataset.sidecar import sidecar_path
from bids_recon.errors import Status, UserError, first_few
from bids_recon.files import read_text
from bids_recon.plan.methods import generator_class, weights_of, weights_stamps
from bids_recon.plan.plan import Analysis, Model, Plan
from bids_recon.settings import Settings

LEARNED_BY = ("responses", "pictures", "decode", "generate")
"""Parts of a recipe on which what is learned depends."""


def check_settings(settings: Settings) -> None:
    """Refuse what has no meaning where nothing is learned, or nothing was.

    Raises
    ------
    UserError
        If ``--model-from`` stands beside such an option, or is no folder.
    """
    if settings.model_from is None:
        return
    for option, given in (
        ("--split", settings.split),
        ("--connectivity", settings.connectivity),
        ("--prior-pictures", settings.prior_pictures),
        ("--train-fraction", settings.train_fraction != (1.0,)),
    ):
        if given:
            raise UserError(
                f"{option} says what is learned, or from what; with --model-from, "
                "nothing is. Leave one of the two out.",
                Status.USAGE,
            )
    if settings.model_from == settings.output_dir:
        raise UserError(
            f"--model-from {settings.model_from} is OUTPUT_DIR itself. Give what the "
            "decoders make of other trials an OUTPUT_DIR of its own.",
            Status.USAGE,
        )
    if not settings.model_from.is_dir():
        raise UserError(
            f"--model-from {settings.model_from}: there is no such folder. Name the "
            "OUTPUT_DIR of the run that trained the decoders.",
            Status.NO_INPUT,
        )


def with_models(plan: Plan) -> Plan:
    """Find the decoders of every analysis, and check that they fit.

    Raises
    ------
    UserError
        If there are none, or they are of another grid, region or recipe.
    """
    models, notes = {}, list(plan.notes)
    for analysis in plan.analyses:
        model, told = find_model(plan, analysis)
        models[analysis.key] = model
        notes += [note for note in told if note not in notes]
    return replace(plan, models=models, notes=tuple(notes))


def find_model(plan: Plan, analysis: Analysis) -> tuple[Model, list[str]]:
    """Return the decoders of an analysis, and notes on them."""
    folder = plan.settings.model_from
    path = _decoder_file(plan, analysis)
    data = _read(path)
    _check_recipe(path, data, analysis)
    fold = _only_fold(path, data)
    decoder = path.with_suffix(".safetensors")
    _check_decoder(decoder, fold, analysis)
    masks = _masks(plan, analysis, path, data)
    needed = weights_of(analysis.recipe, learns=False)
    stamps = weights_stamps(needed, plan.settings)
    trained = data["BidsRecon"]["Settings"]["weights"]
    if {name: trained[name] for name in needed if name in trained} != stamps:
        raise UserError(
            f"{path}: these decoders were trained on features of other pretrained "
            "weights than those that are here. Use the same, or train them again."
        )
    generator = None
    if hasattr(generator_class(analysis.recipe), "fit"):
        generator = Path(str(decoder).replace("_decoder.", "_generator."))
        if not generator.is_file():
            raise UserError(
                f"{generator}: what the generator learned is not there. Train again, "
                "with the stage generate.",
                Status.NO_INPUT,
            )
    model = Model(
        output_dir=folder,
        decoder=decoder,
        generator=generator,
        fold=fold,
        picture_size=tuple(data["PictureSize"]),
        masks=masks,
        known=frozenset(data["TrainingPictures"][fold]),
    )
    version = data["BidsRecon"]["Version"]
    notes = []
    if version != __version__:
        notes.append(
            f"The decoders of {folder} were trained by bids-recon {version}; this is "
            f"{__version__}."
        )
    return model, notes


def _decoder_file(plan: Plan, analysis: Analysis) -> Path:
    """Return the sidecar of the decoders; of several tasks, that of the plan's."""
    folder = plan.settings.model_from
    own = folder / f"sub-{plan.subject}" / "recon"
    ending = f"_label-{analysis.label}_desc-{analysis.desc}_decoder.json"
    found = sorted(own.glob(f"*{ending}"))
    if not found:
        there = sorted(
            path.name.removesuffix("_decoder.json").partition("_label-")[2]
            for path in own.glob("*_decoder.json")
        )
        known = f"There are: {first_few(there)}." if there else "There are none at all."
        raise UserError(
            f"sub-{plan.subject}: {folder} holds no decoders of the recipe "
            f"{analysis.recipe.name} on the regions {analysis.label}. {known} Name the "
            "same --recipe and --roi as in training.",
            Status.NO_INPUT,
        )
    if len(found) == 1:
        return found[0]
    usual = output_path(
        folder,
        "decoder",
        extension=".json",
        subject=plan.subject,
        task=plan.task,
        label=analysis.label,
        desc=analysis.desc,
    )
    if usual in found:
        return usual
    raise UserError(
        f"sub-{plan.subject}: {folder} holds decoders of several tasks "
        f"({first_few([path.name for path in found])}), and none of the task that is "
        "read. Keep the ones to apply in a folder of their own.",
        Status.USAGE,
    )


LEARNED = {
    "Recipe": dict,
    "Folds": list,
    "PictureSize": list,
    "TrainingPictures": dict,
    "Masks": dict,
}
"""What the sidecar of decoders must say, to apply them."""


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(path))
        for name, kind in LEARNED.items():
            if not isinstance(data[name], kind):
                raise TypeError(f"{name} is no {kind.__name__}")
        _ = data["BidsRecon"]["Version"]
        if not isinstance(data["BidsRecon"]["Settings"]["weights"], dict):
            raise TypeError("weights is no dict")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: this is no sidecar of decoders that can be applied ({error!r}). "
            "Train them again."
        ) from error
    return data


def _check_recipe(path: Path, data: Mapping[str, Any], analysis: Analysis) -> None:
    """Refuse decoders of a recipe that says something else."""
    before = json.loads(json.dumps(data["Recipe"]))
    now = json.loads(json.dumps(analysis.recipe.source))
    for part in LEARNED_BY:
        one, other = before.get(part), now.get(part)
        for recipe in (one, other):
            if part == "responses" and isinstance(recipe, dict):
                # Whether repeats of a test picture are averaged is not learned.
                recipe.get("average_repeats", {}).pop("test", None)
        if one != other:
            raise UserError(
                f"{path}: these decoders were trained by another version of the recipe "
                f"{analysis.recipe.name}: {_where(one, other, part)}. Apply them with "
                "the recipe they were trained by, or train them again.",
                Status.USAGE,
            )


def _where(one: Any, other: Any, path: str) -> str:
    """Say where two parts of recipes differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            if one.get(key) != other.get(key):
                return _where(one.get(key), other.get(key), f"{path}: {key}")
    return f"{path} was {one!r} and is {other!r}"


def _only_fold(path: Path, data: Mapping[str, Any]) -> str:
    if len(data["Folds"]) != 1:
        raise UserError(
            f"{path}: these are decoders of {len(data['Folds'])} folds, none of which "
            "was trained on all trials. Train once with --split all, into an "
            "OUTPUT_DIR of its own, and apply those.",
            Status.USAGE,
        )
    return data["Folds"][0]


def _check_decoder(path: Path, fold: str, analysis: Analysis) -> None:
    """Refuse a file that does not hold what predictions need."""
    try:
        with safe_open(path, "np") as stream:
            names = set(stream.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: decoders cannot be read from it ({error}). Train them again.",
            Status.NO_INPUT,
        ) from error
    for name, step in analysis.recipe.decode.items():
        own = {key for key in names if key.startswith(f"{fold}/{name}/")}
        if f"{fold}/{name}/voxels_used" not in own:
            raise UserError(f"{path}: holds no decoder of {name}. Train it again.")
        ridge = step.decoder.name == "ridge"
        if ridge and not own & {f"{fold}/{name}/coef", f"{fold}/{name}/X"}:
            raise UserError(
                f"{path}: the ridge of {name} was saved without what it predicts from. "
                "Train with --split all, or with coefficients: true in the recipe.",
                Status.USAGE,
            )


def _masks(
    plan: Plan, analysis: Analysis, path: Path, data: Mapping[str, Any]
) -> dict[str, Path]:
    """Return the masks that decoders read, on the grid of the BOLD."""
    bold = plan.runs[0].run.bold
    image, masks = open_image(bold), {}
    for roi in analysis.roi_sets:
        known = data["Masks"].get(roi.name)
        if not isinstance(known, dict):
            raise UserError(
                f"{path}: these decoders read other regions "
                f"({first_few([*data['Masks']])}), and not {roi.name}.",
                Status.USAGE,
            )
        folder = plan.settings.model_from
        mask = (folder / str(known["File"])).resolve()
        if not mask.is_relative_to(folder.resolve()):
            raise UserError(f"{path}: names a mask outside of {folder}.")
        found = open_image(mask)
        labels = _labels(mask)
        if labels is not None and labels != list(roi.labels):
            raise UserError(
                f"{path}: the region {roi.name} of these decoders is "
                f"{'+'.join(labels) or 'the brain'}, and not "
                f"{'+'.join(roi.labels) or 'the brain'}. Name it as in training.",
                Status.USAGE,
            )
        space = _space(mask)
        if not same_grid(found, image) or space != plan.space:
            raise UserError(
                f"{bold}: its grid ({plan.space}, {describe_grid(image)}) is not that "
                f"of the decoders in {folder} ({space}, {describe_grid(found)}). Bring "
                "the BOLD to their grid, or train on this one."
            )
        if checksum(mask) != known["SHA256"]:
            raise UserError(
                f"{mask}: this mask was changed after decoders were trained on its "
                "voxels. Restore it, or train them again."
            )
        masks[roi.name] = mask
    return masks


def _labels(mask: Path) -> list[str] | None:
    try:
        data = json.loads(sidecar_path(mask).read_text(encoding="utf-8"))
        return data["BidsRecon"]["Settings"]["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _space(mask: Path) -> str:
    _, found, rest = mask.name.partition("_space-")
    return rest.partition("_")[0] if found else "native"

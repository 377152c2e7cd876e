"""Stage 3: responses of test trials become features, fold by fold.

Everything is learned on the training trials of a fold: scale, voxels, feature space,
decoder. Where a generator learns too, training trials are decoded out of fold for it.
"""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksum, checksums
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.tables import table_text
from bids_recon.datatypes import FeatureSpace
from bids_recon.engine import Result
from bids_recon.evaluation.folds import Fold
from bids_recon.evaluation.splits import trains_on_all
from bids_recon.files import save_arrays, write_text, write_whole
from bids_recon.machine import Machine
from bids_recon.plan.methods import (
    generator_class,
    machine_of,
    weights_of,
    weights_stamps,
)
from bids_recon.plan.plan import Analysis, Plan, split_settings
from bids_recon.recipe import Recipe
from bids_recon.stages.connectivity.nodes import nodes_path, rois_of_graphs
from bids_recon.stages.decode.again import decode_again, space_again, state_below
from bids_recon.stages.decode.baselines import COLUMNS, SCORES
from bids_recon.stages.decode.fold import FoldDecoder, FoldResult, StepPaths
from bids_recon.stages.decode.fold_data import (
    Material,
    fold_data,
    load_material,
    trials_and_split,
)
from bids_recon.stages.decode.maps import map_paths, mean_maps, write_maps
from bids_recon.stages.decode.posterior import posterior_path
from bids_recon.stages.decode.room import Room
from bids_recon.stages.responses import Variant, response_files
from bids_recon.stages.rois import roi_path


def decoded_path(
    plan: Plan, analysis: Analysis, fold: Fold, step: str, side: str
) -> Path:
    """Return where decoded features of a fold are kept; ``side`` is test or train."""
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.file_name}_{step}_{side}.npy"


def training_path(plan: Plan, analysis: Analysis, fold: Fold, step: str) -> Path:
    """Return where the training of a network is kept while it lasts."""
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.file_name}_{step}_training.safetensors"


def step_paths(plan: Plan, analysis: Analysis, fold: Fold, step: str) -> StepPaths:
    """Return where the files of a feature space in a fold lie."""
    return StepPaths(
        test=decoded_path(plan, analysis, fold, step, "test"),
        train=decoded_path(plan, analysis, fold, step, "train"),
        training=training_path(plan, analysis, fold, step),
        posterior=posterior_path(plan, analysis, fold, step),
    )


def decoding_path(plan: Plan, analysis: Analysis) -> Path:
    """Return where the scores of decoded features lie."""
    return output_path(
        plan.settings.output_dir,
        "decoding",
        subject=plan.subject,
        task=plan.task,
        label=analysis.label,
        desc=analysis.desc,
    )


def masks_of(plan: Plan, analysis: Analysis) -> dict[str, dict[str, str]]:
    """Return the masks that decoders read, by the names of their regions."""
    return {
        roi.name: {
            "File": roi_path(plan, roi)
            .relative_to(plan.settings.output_dir)
            .as_posix(),
            "SHA256": checksum(roi_path(plan, roi)),
        }
        for roi in analysis.roi_sets
    }


def training_stimuli(plan: Plan, material: Material) -> dict[str, list[str]]:
    """Return what tells the pictures each fold learned from: SHA-256 of their pixels.

    Those of the prior are among them. The first 16 digits are enough.
    """
    digests = plan.pixel_checksums(list(plan.pictures.values()))
    prior = {own[:16] for own in plan.pixel_checksums(plan.prior)}
    return {
        fold.name: sorted(
            {digests[row][:16] for row in np.unique(material.picture[fold.train])}
            | prior
        )
        for fold in material.split.folds
    }


def decoder_path(plan: Plan, analysis: Analysis) -> Path:
    """Return where an analysis' decoders lie."""
    return output_path(
        plan.settings.output_dir,
        "decoder",
        subject=plan.subject,
        task=plan.task,
        label=analysis.label,
        desc=analysis.desc,
    )


def learned_space(
    plan: Plan, analysis: Analysis, fold: Fold, name: str, machine: Machine
) -> FeatureSpace:
    """Return a feature space as it was fitted to the training pictures of a fold."""
    model = plan.models.get(analysis.key)
    path = model.decoder if model else decoder_path(plan, analysis)
    state = state_below(path, f"{fold.name}/{name}/space.")
    return space_again(analysis.recipe.decode[name], state, machine)


def decode_stage(plan: Plan, analysis: Analysis) -> Result:
    """Decode all folds of an analysis, if that was not done yet."""
    if plan.applies:
        return _apply(plan, analysis)
    record = _record(plan, analysis)
    _, split = trials_and_split(plan, analysis.recipe)
    learns = generator_learns(analysis.recipe)
    sides = ("test", "train") if learns else ("test",)
    outputs = {
        f"{fold.name}_{name}_{side}": decoded_path(plan, analysis, fold, name, side)
        for fold in split.folds
        for name in analysis.recipe.decode
        for side in sides
        if side == "train" or len(fold.test)
    }
    if any(len(fold.test) for fold in split.folds):
        outputs["scores"] = decoding_path(plan, analysis)
    outputs |= map_paths(plan, analysis)
    path = decoder_path(plan, analysis)
    sidecar = Sidecar(path.with_suffix(".json"), {"decoder": path, **outputs})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    machine = machine_of(plan.settings)
    with _room(plan, machine) as room:
        material = load_material(plan, analysis, room)
        found = [
            _fold(plan, analysis, material, fold, machine)
            for fold in material.split.folds
        ]
    states, learned, scores, maps = {}, {}, [], []
    for own in found:
        states |= own.states
        learned |= own.learned
        scores += own.scores
        maps.append(own.maps)
    states = {name: contiguous(value) for name, value in states.items()}
    write_whole(path, lambda part: save_arrays(states, part))
    if scores:
        text = table_text(pd.concat(scores, ignore_index=True))
        write_text(decoding_path(plan, analysis), text)
    write_maps(plan, analysis, mean_maps(maps), record)
    describe = {
        "Description": (
            "Decoders of each fold, as arrays named fold/feature space/array; "
            "voxels_used are positions among the voxels of the used masks together."
        ),
        "Recipe": analysis.recipe.source,
        "Split": material.split.rule,
        "Folds": [fold.name for fold in material.split.folds],
        "PictureSize": list(material.gallery.pictures.shape[2:]),
        "Seed": plan.settings.seed,
        "TrainingPictures": training_stimuli(plan, material),
        "Masks": masks_of(plan, analysis),
        "SplitDescription": material.split.sentence,
        "Learned": learned,
    }
    sidecar.write(record, describe, [], machine.used)
    for fold in material.split.folds:
        for name in analysis.recipe.decode:
            training_path(plan, analysis, fold, name).unlink(missing_ok=True)
    return Result(True, reason)


def _room(plan: Plan, machine: Machine) -> AbstractContextManager[Room]:
    """Return room for the responses of a participant."""
    return Room.within(plan.work / "responses", machine.mem_mb)


def _fold(
    plan: Plan, analysis: Analysis, material: Material, fold: Fold, machine: Machine
) -> FoldResult:
    """Decode a fold, whose name stands before those of what was learned."""
    recipe = analysis.recipe
    with _room(plan, machine) as room:
        data = fold_data(material, fold, recipe, room)
        learns, again = generator_learns(recipe), trains_on_all(material.split.rule)
        own = FoldDecoder(recipe, material, data, machine, learns, again)
        paths = {step: step_paths(plan, analysis, fold, step) for step in recipe.decode}
        found = own.decode(fold.name, paths)
        known = found.states | data.scales
    found.states = {f"{fold.name}/{name}": value for name, value in known.items()}
    return found


def _apply(plan: Plan, analysis: Analysis) -> Result:
    """Decode all trials by decoders that were trained before, if not done yet."""
    recipe, model = analysis.recipe, plan.models[analysis.key]
    variant = Variant.of(plan, recipe)
    _, split = trials_and_split(plan, recipe)
    (fold,) = split.folds
    local = [model.decoder]
    for run in plan.runs:
        files = response_files(plan, run, variant)
        local += [files.values, files.trials, files.mask]
    record = Record(
        stage="decode",
        settings={
            "model_from": str(model.output_dir),
            "responses": recipe.source.get("responses", {}),
            "decode": recipe.source["decode"],
        },
        inputs={**plan.checksums([*plan.pictures.values()]), **checksums(local)},
        seed=plan.settings.seed,
    )
    paths = {step: step_paths(plan, analysis, fold, step) for step in recipe.decode}
    outputs = {f"{step}_test": own.test for step, own in paths.items()}
    outputs["scores"] = decoding_path(plan, analysis)
    sidecar = Sidecar(decoding_path(plan, analysis).with_suffix(".json"), outputs)
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    machine = machine_of(plan.settings)
    with _room(plan, machine) as room:
        material = load_material(plan, analysis, room)
        scores = decode_again(model, analysis, material, machine, paths, room)
    table = pd.DataFrame(columns=[*COLUMNS, *SCORES])
    table = pd.concat(scores, ignore_index=True) if scores else table
    write_text(decoding_path(plan, analysis), table_text(table))
    describe = {
        "Description": (
            "Decoders that were trained before, applied; scores of decoded features, "
            "where a picture was shown or is known."
        ),
        "ModelFrom": str(model.decoder),
        "SplitDescription": split.sentence,
    }
    sidecar.write(record, describe, [], machine.used)
    return Result(True, reason)


def contiguous(value: np.ndarray) -> np.ndarray:
    """Return an array as it is saved, a single number as such."""
    value = np.asarray(value)
    return value if value.flags.c_contiguous else np.ascontiguousarray(value)


def _record(plan: Plan, analysis: Analysis) -> Record:
    recipe = analysis.recipe
    variant = Variant.of(plan, recipe)
    source = recipe.source
    files = [response_files(plan, run, variant) for run in plan.runs]
    local = [roi_path(plan, roi) for roi in analysis.roi_sets]
    local += [path for file in files for path in (file.values, file.trials, file.mask)]
    local += [nodes_path(plan, rois) for rois in rois_of_graphs(plan, analysis)]
    return Record(
        stage="decode",
        settings={
            "responses": source.get("responses", {}),
            "pictures": recipe.picture_size,
            "decode": source["decode"],
            "weights": weights_stamps(weights_of(recipe), plan.settings),
            "captions": [list(own) for own in plan.captions.values()],
            "generator_learns": generator_learns(recipe),
            "split": split_settings(plan, recipe),
        },
        inputs={
            **plan.checksums([*plan.pictures.values(), *plan.prior]),
            **checksums(local),
        },
        seed=plan.settings.seed,
    )


def generator_learns(recipe: Recipe) -> bool:
    """Tell whether the recipe's generator is fitted."""
    return hasattr(generator_class(recipe), "fit")

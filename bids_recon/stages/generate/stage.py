"""Stage 4: decoded features become pictures."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import LONGEST_STEM, camel_case, output_path
from bids_recon.dataset.descriptions import generators_of
from bids_recon.dataset.leftovers import remove_listed
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.tables import table_text
from bids_recon.datatypes import Trials, repeated
from bids_recon.engine import Result
from bids_recon.evaluation.folds import Split
from bids_recon.files import save_arrays, write_text, write_whole
from bids_recon.machine import Machine
from bids_recon.plan.methods import (
    generator_class,
    generator_of,
    machine_of,
    weights_of,
    weights_stamps,
)
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.recipe import Recipe
from bids_recon.stages.decode.fold_data import (
    Material,
    load_material,
    trials_and_split,
)
from bids_recon.stages.decode.stage import (
    contiguous,
    decoded_path,
    decoder_path,
    generator_learns,
)
from bids_recon.stages.generate.make_pictures import (
    Maker,
    limit_path,
    limits_of,
)

UNFINISHED = "_unfinished.json"
"""What the name of the note ends with that says what is being made."""


@dataclass(frozen=True)
class ReconFiles:
    """Where the reconstructions of an analysis lie."""

    table: Path
    sidecar: Path
    folder: Path
    metrics: Path
    null: Path
    spurious: Path
    generator: Path
    loss: Path


def recon_files(plan: Plan, analysis: Analysis) -> ReconFiles:
    """Return the files of an analysis' reconstructions."""
    entities = {
        "subject": plan.subject,
        "task": plan.task,
        "label": analysis.label,
        "desc": analysis.desc,
    }
    root = plan.settings.output_dir
    return ReconFiles(
        table=output_path(root, "recon", **entities),
        sidecar=output_path(root, "recon", extension=".json", **entities),
        folder=output_path(root, "pictures", **entities),
        metrics=output_path(root, "metrics", **entities),
        null=output_path(root, "null", **entities),
        spurious=output_path(root, "spurious", **entities),
        generator=output_path(root, "generator", **entities),
        loss=output_path(root, "loss", **entities),
    )


def listing(
    trials: Trials, split: Split, recipe: Recipe, samples: int = 1
) -> pd.DataFrame:
    """List all reconstructions, one fold after another: trial, sample, split, file."""
    parts = []
    for fold in split.folds:
        part = trials.iloc[fold.test].reset_index(drop=True)
        shared = repeated(part)
        columns = ["session", "task", "run", "onset", "role", "stimulus"]
        part = part[columns].assign(split=fold.name, n_repeats=1)
        if recipe.responses.average_test:
            part["n_repeats"] = shared.map(shared.value_counts())
            part = part[~shared.duplicated()]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "trial", np.arange(1, len(table) + 1))
    table = table.loc[table.index.repeat(samples)].reset_index(drop=True)
    sample = table.groupby("trial").cumcount() + 1
    table.insert(1, "sample", sample)
    stems = table["stimulus"].map(
        lambda name: camel_case(Path(name).stem, LONGEST_STEM)
    )
    names = [
        f"{trial:04d}_{stem}" for trial, stem in zip(table["trial"], stems, strict=True)
    ]
    if samples > 1:
        names = [f"{n}_{k}" for n, k in zip(names, sample, strict=True)]
    table["image"] = [f"{name}.png" for name in names]
    return table


def trial_keys(table: pd.DataFrame) -> pd.Series:
    """Return what tells the trials of a listing apart, whichever recipe made it."""
    columns = ["session", "task", "run", "onset", "stimulus"]
    return table[columns].fillna("n/a").astype(str).agg("/".join, axis=1)


def generate_stage(plan: Plan, analysis: Analysis) -> Result:
    """Make the pictures of an analysis, if that was not done yet.

    A generator that makes one picture at a time goes on where it was killed.
    """
    recipe = analysis.recipe
    trials, split = trials_and_split(plan, recipe)
    files = recon_files(plan, analysis)
    table = listing(trials, split, recipe, n_samples(recipe))
    record = _record(plan, analysis, split)
    pictures = {name: files.folder / name for name in table["image"]}
    limits = {
        f"{fold.name}_{kind}": limit_path(plan, analysis, fold, kind)
        for fold in split.folds
        for kind in limits_of(plan, recipe)
        if len(fold.test)
    }
    learns = generator_learns(recipe) and not plan.applies
    if learns:
        limits["generator"] = files.generator
    if keeps_curves(recipe):
        limits["loss"] = files.loss
    sidecar = Sidecar(files.sidecar, {**pictures, **limits})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    material, machine = load_material(plan, analysis), machine_of(plan.settings)
    maker = Maker(plan, analysis, material, machine)
    note = files.folder.with_name(f"{files.folder.name}{UNFINISHED}")
    work = [path for fold in split.folds for path in maker.first_paths(fold)]
    if keeps_curves(recipe):
        work += [maker.curve_path(image) for image in table["image"]]
    begin(sidecar, record, note, list(pictures.values()), [*limits.values(), *work])
    learned = {}
    for fold in split.folds:
        maker.first_pictures(fold)
    for fold in split.folds:
        rows = table[table["split"] == fold.name]
        found = maker.make(fold, rows, files.folder)
        if found:
            learned[fold.name] = found
    if learns:
        write_whole(files.generator, lambda part: save_arrays(plain(maker), part))
    if keeps_curves(recipe):
        write_text(files.loss, table_text(curves(maker, table)))
    describe = {
        "Description": (
            f"Pictures reconstructed by the recipe {recipe.name}, listed in "
            f"{files.table.name}."
        ),
        **_facts(plan, analysis, split, material),
        "Learned": learned,
    }
    sidecar.write(record, describe, [], machine.used)
    note.unlink(missing_ok=True)
    return Result(True, reason)


def keeps_curves(recipe: Recipe) -> bool:
    """Tell whether the recipe's generator has a loss that goes down."""
    return hasattr(generator_class(recipe), "at_once")


def curves(maker: Maker, table: pd.DataFrame) -> pd.DataFrame:
    """Return the loss of each picture before each step, a row for each."""
    parts = []
    for image in table["image"]:
        loss = np.load(maker.curve_path(image))
        steps = np.arange(len(loss))
        parts.append(pd.DataFrame({"image": image, "step": steps, "loss": loss}))
    return pd.concat(parts, ignore_index=True)


def plain(maker: Maker) -> dict[str, np.ndarray]:
    """Return what the generator learned in all folds, as it is saved."""
    return {name: contiguous(value) for name, value in maker.states.items()}


def _record(plan: Plan, analysis: Analysis, split: Split) -> Record:
    recipe = analysis.recipe
    learns = generator_learns(recipe) and not plan.applies
    sides = ("test", "train") if learns else ("test",)
    decoded = [
        decoded_path(plan, analysis, fold, name, side)
        for fold in split.folds
        for name in recipe.decode
        for side in sides
        if side == "train" or len(fold.test)
    ]
    model = plan.models.get(analysis.key)
    trained = [model.decoder if model else decoder_path(plan, analysis)]
    trained += [model.generator] if model and model.generator else []
    return Record(
        stage="generate",
        settings={
            "generate": recipe.generate.as_data(),
            "decode": recipe.source["decode"],
            "recovery": recipe.recovery,
            # Those that decoders learned by are in what they learned.
            "weights": weights_stamps(weights_of(recipe, learns=False), plan.settings),
        },
        inputs=checksums((*trained, *decoded)),
        seed=plan.settings.seed,
    )


def begin(
    sidecar: Sidecar, record: Record, note: Path, pictures: list[Path], work: list[Path]
) -> None:
    """Keep what an earlier start made of the same, and remove all else that it made.

    What is being made is noted beside the pictures before the first one, until all are
    there; a finished run left its sidecar.

    Parameters
    ----------
    sidecar : Sidecar
        Of the pictures, with what else the stage makes.
    record : Record
        What they are made from.
    note : Path
        Where it is noted.
    pictures, work : list of Path
        What the stage makes, and what it keeps on the way.
    """
    folder = pictures[0].parent if pictures else sidecar.path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record.as_data(), sort_keys=True)
    if note.is_file():
        same = note.read_bytes() == text.encode()
    else:
        same = sidecar.is_of(record)
    if same:
        gone = sidecar.changed()
    else:
        remove_listed(folder, sidecar.listed, pictures)
        gone = [*pictures, *work]
    for path in gone:
        path.unlink(missing_ok=True)
    sidecar.path.unlink(missing_ok=True)
    write_text(note, text)


def _facts(
    plan: Plan, analysis: Analysis, split: Split, material: Material
) -> dict[str, object]:
    """Return what a reader must know of reconstructions."""
    recipe, model = analysis.recipe, plan.models.get(analysis.key)
    return {
        "Recipe": recipe.source,
        "Cite": list(recipe.cite),
        "Split": split.rule,
        "SplitDescription": split.sentence,
        "SharesPictures": split.shares_pictures,
        "Transductive": is_transductive(recipe),
        "TrainFraction": recipe.train_fraction,
        "NumberOfTrainingTrials": [len(fold.train) for fold in split.folds],
        "NumberOfTrainingPictures": [
            len(np.unique(material.picture[fold.train])) for fold in split.folds
        ],
        "NumberOfTestTrials": [len(fold.test) for fold in split.folds],
        "NumberOfVoxels": {k: int(v.sum()) for k, v in material.region.items()},
        "PictureSize": list(material.gallery.pictures.shape[2:]),
        "Preprocessing": made_by(plan),
        **({"ModelFrom": str(model.decoder)} if model else {}),
    }


def made_by(plan: Plan) -> list[str]:
    """Return which programs made what was read, with their versions."""
    roots = {
        root
        for root in plan.links.values()
        if any(run.run.bold.is_relative_to(root) for run in plan.runs)
    }
    # A derivative lies in the raw dataset, which made nothing.
    nearest = [
        r for r in roots if not any(r != o and o.is_relative_to(r) for o in roots)
    ]
    return sorted({name for root in nearest for name in generators_of(root)})


def is_transductive(recipe: Recipe) -> bool:
    """Tell whether the recipe takes anything from the set of test trials."""
    return any(step.rescale == "transductive" for step in recipe.decode.values())


def n_samples(recipe: Recipe) -> int:
    """Return how many pictures the recipe makes for each trial."""
    return int(getattr(generator_of(recipe, Machine()), "samples", 1))

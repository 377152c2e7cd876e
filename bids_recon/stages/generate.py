"""Stage 4: decoded features become pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.derivatives import camel_case, output_path
from bids_recon.dataset.provenance import Record, Sidecar, checksums, remove_others
from bids_recon.dataset.stimuli import save_picture
from bids_recon.datatypes import Decoded, Generator, Trials
from bids_recon.engine import Result
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.evaluation.metrics import correlation_matrix
from bids_recon.evaluation.splits import Fold, Split
from bids_recon.files import write_whole
from bids_recon.generators import GENERATORS
from bids_recon.recipe import Recipe
from bids_recon.registry import build, load
from bids_recon.stages.decode import (
    Material,
    decoded_path,
    decoder_path,
    fit_space,
    fold_pictures,
    generator_learns,
    load_material,
    targets,
    trials_and_split,
)
from bids_recon.stages.plan import Analysis, Plan, derive_seed

LIMITS = ("recovery", "nearest")


@dataclass(frozen=True)
class ReconFiles:
    """Where the reconstructions of an analysis lie."""

    table: Path
    sidecar: Path
    folder: Path
    metrics: Path
    spurious: Path


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
        spurious=output_path(root, "spurious", **entities),
    )


def listing(trials: Trials, split: Split, recipe: Recipe) -> pd.DataFrame:
    """List all reconstructions, one fold after another: trial, split and file."""
    parts = []
    for fold in split.folds:
        part = trials.iloc[fold.test].reset_index(drop=True)
        part = part[["session", "task", "run", "onset", "stimulus"]]
        counts = part["stimulus"].value_counts()
        part = part.assign(split=fold.name, n_repeats=1)
        if recipe.responses.average_test:
            part = part.drop_duplicates("stimulus")
            part["n_repeats"] = counts.loc[part["stimulus"]].to_numpy()
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "trial", np.arange(1, len(table) + 1))
    stems = table["stimulus"].map(lambda name: camel_case(Path(name).stem))
    table["image"] = [
        f"{trial:04d}_{stem}.png"
        for trial, stem in zip(table["trial"], stems, strict=True)
    ]
    return table


def generate_stage(plan: Plan, analysis: Analysis) -> Result:
    """Make the pictures of an analysis, if that was not done yet."""
    recipe = analysis.recipe
    check_needs(recipe)
    trials, split = trials_and_split(plan, recipe)
    files = recon_files(plan, analysis)
    table = listing(trials, split, recipe)
    learns = generator_learns(recipe)
    decoded = [
        decoded_path(plan, analysis, fold, name, side)
        for fold in split.folds
        for name in recipe.decode
        for side in (("test", "train") if learns else ("test",))
    ]
    decoder = decoder_path(plan, analysis)
    record = Record(
        stage="generate",
        settings={
            "generate": recipe.generate.as_data(),
            "decode": recipe.source["decode"],
        },
        inputs=checksums((decoder, *decoded)),
        seed=plan.settings.seed,
    )
    pictures = {name: files.folder / name for name in table["image"]}
    limits = {
        f"{fold.name}_{kind}": limit_path(plan, analysis, fold, kind)
        for fold in split.folds
        for kind in LIMITS
    }
    sidecar = Sidecar(files.sidecar, {**pictures, **limits})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    material = load_material(plan, analysis)
    learned = {}
    for fold in split.folds:
        generator, made = _generate_fold(plan, analysis, material, fold)
        rows = table[table["split"] == fold.name]
        for name, picture in zip(rows["image"], made, strict=True):
            save_picture(picture, files.folder / name)
        if generator:
            learned[fold.name] = generator
    remove_others(files.folder, pictures.values())
    describe = {
        "Description": (
            f"Pictures reconstructed by the recipe {recipe.name}, listed in "
            f"{files.table.name}."
        ),
        **_facts(recipe, split, material),
        "Learned": learned,
    }
    sidecar.write(record, describe, [])
    return Result(True, reason)


def _facts(recipe: Recipe, split: Split, material: Material) -> dict[str, object]:
    """Return what a reader must know of reconstructions."""
    return {
        "Recipe": recipe.source,
        "Cite": list(recipe.cite),
        "Split": split.rule,
        "SplitDescription": split.sentence,
        "SharesPictures": split.shares_pictures,
        "Transductive": False,
        "NumberOfTrainingTrials": [len(fold.train) for fold in split.folds],
        "NumberOfTestTrials": [len(fold.test) for fold in split.folds],
        "NumberOfVoxels": {k: int(v.sum()) for k, v in material.region.items()},
        "PictureSize": list(material.pictures.shape[2:]),
    }


def check_needs(recipe: Recipe) -> None:
    """Check that the recipe decodes what its generator needs.

    Raises
    ------
    UserError
        If the generator is fed from a feature space that is not decoded.
    """
    for need, name in feeds_of(recipe).items():
        if name not in recipe.decode:
            raise UserError(
                f"The recipe {recipe.name} feeds {need!r} of its generator "
                f"{recipe.generate.name!r} from {name!r}, which it does not decode. "
                f"{did_you_mean(name, recipe.decode)}",
                Status.USAGE,
            )


def feeds_of(recipe: Recipe) -> dict[str, str]:
    """Return which decoded feature space feeds each need of the generator."""
    generator = load(GENERATORS, "generator", recipe.generate.name)
    made = build(GENERATORS, "generator", recipe.generate.name, recipe.generate.options)
    return {need: getattr(made, need) for need in generator.needs}


def _generate_fold(
    plan: Plan, analysis: Analysis, material: Material, fold: Fold
) -> tuple[dict[str, float], np.ndarray]:
    recipe = analysis.recipe
    train_picture, test_picture = fold_pictures(material, fold, recipe)
    feeds = feeds_of(recipe)
    spaces = {
        name: fit_space(recipe.decode[name], material.pictures, train_picture)
        for name in set(feeds.values())
    }

    def decoded(side: str) -> dict[str, Decoded]:
        return {
            need: Decoded(
                np.load(decoded_path(plan, analysis, fold, name, side), mmap_mode="r"),
                spaces[name],
            )
            for need, name in feeds.items()
        }

    generator: Generator = build(
        GENERATORS, "generator", recipe.generate.name, recipe.generate.options
    )
    learned = {}
    if generator_learns(recipe):
        train = decoded("train")
        generator.fit(train, material.pictures[train_picture])
        learned = generator.learned(train)
    seed = derive_seed(
        plan.settings.seed, plan.subject, "generate", recipe.name, fold.name
    )
    test = decoded("test")
    true = {
        need: Decoded(targets(part.space, material.pictures, test_picture), part.space)
        for need, part in test.items()
    }
    part = test[generator.needs[0]]
    known = np.unique(train_picture)
    limits = {
        "recovery": generator.generate(true, seed),
        "nearest": known[_nearest(part, material.pictures[known])],
    }
    for kind, values in limits.items():
        path = limit_path(plan, analysis, fold, kind)
        write_whole(path, lambda part, values=values: np.save(part, values))
    return learned, generator.generate(test, seed)


def limit_path(plan: Plan, analysis: Analysis, fold: Fold, kind: str) -> Path:
    """Return where what bounds the scores of a fold is kept; ``kind`` of ``LIMITS``.

    ``recovery`` holds what the generator makes of the true features, pictures
    (n_test, 3, H, W); ``nearest`` the position (n_test,) of the training picture whose
    features correlate best with the decoded ones.
    """
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.name}_{kind}.npy"


def _nearest(part: Decoded, pictures: np.ndarray) -> np.ndarray:
    """Return which picture's features are nearest to each decoded one, (n_trials,)."""
    similarity = correlation_matrix(
        part.space.encode(pictures), np.asarray(part.values)
    )
    return similarity.argmax(axis=1)

"""Stage 5: reconstructions are compared with what was seen."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksum
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.stimuli import common_size
from bids_recon.dataset.tables import table_text
from bids_recon.datatypes import Targets, Trials
from bids_recon.engine import Result
from bids_recon.evaluation.by_profiles import save_null, score_by_profiles
from bids_recon.evaluation.folds import Split
from bids_recon.evaluation.judge import LPIPS, Judge, PictureFiles
from bids_recon.evaluation.profiles import Profile, read_profile
from bids_recon.evaluation.scores import (
    COLUMNS,
    Reconstructed,
    Scored,
)
from bids_recon.evaluation.spurious import (
    MIN_PICTURES,
    Decodings,
    battery,
    categories_of,
)
from bids_recon.files import write_text, write_whole
from bids_recon.pictures import Pictures
from bids_recon.plan.methods import (
    feeds_of,
    generator_class,
    machine_of,
    weights_stamps,
)
from bids_recon.plan.picture_sets import picture_sets
from bids_recon.plan.plan import (
    Analysis,
    Plan,
    derive_seed,
    load_at,
    load_plan_pictures,
)
from bids_recon.recipe import Recipe
from bids_recon.reports.verdict import listed
from bids_recon.settings import Settings
from bids_recon.stages.decode.again import state_below
from bids_recon.stages.decode.features import COMPARED, Gallery
from bids_recon.stages.decode.fold_data import trials_and_split
from bids_recon.stages.decode.stage import (
    decoded_path,
    decoder_path,
    learned_space,
)
from bids_recon.stages.generate.make_pictures import limit_path, limits_of, seed_of
from bids_recon.stages.generate.stage import listing, n_samples, recon_files

CATEGORY_COLUMNS = ("category", "category_name", "trial_type")
"""Columns of events that may say what a picture is of."""

COLUMN_NOTES = (
    "Intervals: 95 %, bootstrap over pictures. chance and p_value: pictures exchanged, "
    "within this participant. floor: the mean training picture in place of each "
    "reconstruction; for patch_accuracy, f1 and mcc, all background. floor_retrieval: "
    "the training picture with the nearest features. ceiling: what the generator makes "
    "of the true features."
)


def evaluate_stage(plan: Plan, analysis: Analysis) -> Result:
    """Score the reconstructions of an analysis, if that was not done yet."""
    recipe = analysis.recipe
    files = recon_files(plan, analysis)
    trials, split = trials_and_split(plan, recipe)
    sets = picture_sets(plan, recipe, trials, split)
    table = with_sets(listing(trials, split, recipe, n_samples(recipe)), sets)
    record = Record(
        stage="evaluate",
        settings={
            "profiles": [read_profile(name).model_dump() for name in recipe.profiles],
            "weights": weights_here(recipe.profiles, plan.settings),
            "sets": dict(sorted(sets.items())),
        },
        inputs={
            **plan.checksums(list(plan.pictures.values())),
            files.sidecar.name: checksum(files.sidecar),
        },
        seed=plan.settings.seed,
    )
    outputs = {"metrics": files.metrics, "recon": files.table, "null": files.null}
    if table["stimulus"].nunique() >= MIN_PICTURES and not plan.applies:
        outputs["spurious"] = files.spurious
    sidecar = Sidecar(files.metrics.with_suffix(".json"), outputs)
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    memory = machine_of(plan.settings).memory
    judge = Judge(plan.settings.weights_dir, plan.features, memory)
    summary, per_picture, notes, null = _score(plan, analysis, table, split, judge)
    table = pd.concat([table, per_picture], axis=1)
    spurious = check_spurious(plan, analysis, table, trials, split)
    # A generator that makes pictures one by one has a seed for each.
    own = "image" if getattr(generator_class(recipe), "one_by_one", False) else "split"
    seeds = [seed_of(plan, recipe, name) for name in table[own]]
    table.insert(table.columns.get_loc("image") + 1, "seed", seeds)
    write_text(files.table, table_text(table))
    write_text(files.metrics, table_text(summary))
    write_whole(files.null, partial(save_null, null))
    describe = {
        "Description": f"Scores of the pictures in {files.table.name}. {COLUMN_NOTES}",
        "Split": split.rule,
        "SplitDescription": split.sentence,
    }
    files.spurious.unlink(missing_ok=True)
    if spurious is not None:
        checks, verdict, suspicious = spurious
        write_text(files.spurious, table_text(checks))
        describe["Spurious"] = verdict
        notes += [verdict] if suspicious else []
    sidecar.write(record, describe, notes, judge.used)
    return Result(True, reason, tuple(notes))


def _score(
    plan: Plan, analysis: Analysis, table: pd.DataFrame, split: Split, judge: Judge
) -> Scored:
    """Score the reconstructions of a table, with an index of its rows."""
    # Trials without a picture, to which decoders are applied, are not scored.
    seen = table["stimulus"].isin(plan.pictures).to_numpy()
    if not seen.any():
        return Scored(pd.DataFrame(columns=COLUMNS), pd.DataFrame(), [], {})
    rows = table[seen].reset_index(drop=True)
    recon = load_reconstructed(plan, analysis, rows, split)
    stimuli = rows["stimulus"].drop_duplicates()
    scored = score_by_profiles(
        _by_all_profiles(plan, analysis.recipe, recon, stimuli), judge
    )
    notes = list(scored.notes)
    imagined = int(rows["role"].eq("imagery").sum())
    if 0 < imagined < len(rows):
        notes.append(
            f"Scores are over {imagined} images that were imagined and "
            f"{len(rows) - imagined} that were seen. Apply the decoders to one "
            "kind at a time, with -t or --trials, for scores of each."
        )
    notes += told_of_sets(rows, analysis.recipe)
    per_picture = scored.per_picture.set_axis(np.flatnonzero(seen))
    return scored._replace(per_picture=per_picture, notes=notes)


def with_sets(table: pd.DataFrame, sets: Mapping[str, str]) -> pd.DataFrame:
    """Return a listing with the set of each picture, empty for none."""
    found = [sets.get(name) for name in table["stimulus"]]
    place = table.columns.get_loc("split") + 1
    table.insert(place, "set", pd.Series(found, dtype=object))
    return table


def told_of_sets(table: pd.DataFrame, recipe: Recipe) -> list[str]:
    """Return what a reader must know of sets that only some profiles tell apart."""
    counts = table.groupby("set")["stimulus"].nunique()
    profiles = map(read_profile, recipe.profiles)
    over_all = [profile.name for profile in profiles if not profile.by_set]
    if len(counts) < 2 or not over_all:
        return []
    sets = ", ".join(f"{name} ({count} pictures)" for name, count in counts.items())
    note = f"Scores by the profile {listed(over_all)} are over all sets: {sets}."
    if len(over_all) == len(recipe.profiles):
        note += " The profile shen2019, named in a recipe, scores each by itself."
    return [note]


def _by_all_profiles(
    plan: Plan,
    recipe: Recipe,
    recon: Reconstructed,
    stimuli: pd.Series,
) -> Iterator[tuple[Profile, Reconstructed, int]]:
    """Yield every profile of a recipe with what it scores, and its seed."""
    for name in recipe.profiles:
        seed = derive_seed(
            plan.settings.seed, plan.subject, "evaluate", recipe.name, name
        )
        profile = read_profile(name)
        own = recon
        if not profile.at_size_seen:
            shown = np.unique(plan.positions(stimuli))
            own = replace(recon, seen=seen_for(plan, recipe, profile, shown))
        yield profile, own, seed


def weights_here(profiles: tuple[str, ...], settings: Settings) -> dict[str, str]:
    """Return which of the weights that profiles need are here, and what tells them.

    Where they come to be here later, or others take their place, the stage runs again.
    """
    specs = [spec for name in profiles for spec in read_profile(name).metrics]
    names = {spec.network for spec in specs if spec.network}
    names |= {name for spec in specs if spec.kind == "lpips" for name in LPIPS}
    return weights_stamps(sorted(names), settings)


def seen_for(
    plan: Plan, recipe: Recipe, profile: Profile, shown: np.ndarray
) -> Pictures:
    """Return pictures that were seen, at the size at which a profile reads them.

    Parameters
    ----------
    plan, recipe
        What was done.
    profile : Profile
        A protocol with sizes of its own.
    shown : array of shape (n_pictures,)
        Which of the plan's pictures.

    Returns
    -------
    Pictures of shape (n_pictures, 3, H, W)
    """
    files = list(plan.pictures.values())
    paths = [files[row] for row in shown]
    size = common_size(paths, profile.max_size)
    pictures = load_plan_pictures(plan, recipe)
    if size == pictures.shape[2:]:
        return pictures[shown]
    return load_at(plan, paths, size)


def load_reconstructed(
    plan: Plan,
    analysis: Analysis,
    table: pd.DataFrame,
    split: Split,
) -> Reconstructed:
    """Read the pictures seen, at the recipe's size, and those reconstructed at theirs.

    Parameters
    ----------
    plan, analysis
        What was done.
    table : DataFrame
        The reconstructions, as ``listing`` gives them, with their sets.
    split : Split
        How they were divided.
    """
    pictures = load_plan_pictures(plan, analysis.recipe)
    trials = table[table["sample"] == 1]
    picture = plan.positions(trials["stimulus"])
    distinct, own = np.unique(picture, return_inverse=True)
    folder = recon_files(plan, analysis).folder
    model = plan.models.get(analysis.key)
    decoder = model.decoder if model else decoder_path(plan, analysis)
    names = [model.fold if model else fold.name for fold in split.folds]
    means = [state_below(decoder, f"{name}/mean_picture")[""] for name in names]
    fold = pd.Index([fold.name for fold in split.folds]).get_indexer(trials["split"])
    limits = {
        kind: np.concatenate(
            [np.load(limit_path(plan, analysis, fold, kind)) for fold in split.folds]
        )
        for kind in limits_of(plan, analysis.recipe)
    }
    instead = {"floor": Pictures(np.stack(means), fold)}
    if "nearest" in limits:
        instead["floor_retrieval"] = pictures[limits["nearest"]]
    if "recovery" in limits:
        instead["ceiling"] = Pictures.of(limits["recovery"])
    return Reconstructed(
        seen=pictures[distinct],
        pictures=PictureFiles([folder / name for name in table["image"]]),
        own=own,
        fold=trials["split"].to_numpy(str),
        instead=instead,
        sets=trials["set"].fillna("").to_numpy(str),
    )


def check_spurious(
    plan: Plan,
    analysis: Analysis,
    table: pd.DataFrame,
    trials: Trials,
    split: Split,
) -> tuple[pd.DataFrame, str, bool] | None:
    """Run the battery of ``evaluation/spurious.py``.

    Returns
    -------
    tuple of DataFrame, str and bool, or None
        As ``battery``; ``None`` where there are too few test pictures.
    """
    if table["stimulus"].nunique() < MIN_PICTURES or plan.applies:
        return None
    recipe = analysis.recipe
    name = next(iter(feeds_of(recipe).values()))
    gallery, machine = Gallery.of(plan, recipe), machine_of(plan.settings)
    table = table[table["sample"] == 1]
    shown = plan.positions(trials["stimulus"])
    named = named_categories(trials)
    folds = []
    for fold in split.folds:
        known = np.unique(shown[fold.train])
        space = learned_space(plan, analysis, fold, name, machine)
        own = table.loc[table["split"] == fold.name, "stimulus"]
        training = _flat(gallery.targets(space, known))
        picture = plan.positions(own)
        true = _flat(gallery.targets(space, picture))
        path = decoded_path(plan, analysis, fold, name, "test")
        decoded = np.load(path, mmap_mode="r")
        category = None if named is None else named.loc[own].to_numpy(str)
        folds.append(
            Decodings(
                decoded=_flat(decoded),
                true=true,
                training=training,
                own=picture,
                category=categories_of(training, true, category),
            )
        )
    seed = derive_seed(plan.settings.seed, plan.subject, "spurious", recipe.name)
    return battery(folds, seed)


def named_categories(trials: Trials) -> pd.Series | None:
    """Return the category of each stimulus, where a column of the events names one."""
    pictures = trials.drop_duplicates("stimulus").set_index("stimulus")
    for column in CATEGORY_COLUMNS:
        if column in pictures and pictures[column].notna().all():
            category = pictures[column].astype(str)
            if 2 <= category.nunique() <= len(category) / 2:
                return category
    return None


def _flat(features: np.ndarray | Targets) -> np.ndarray:
    return Targets.of(features).thinned(COMPARED).astype(np.float64)

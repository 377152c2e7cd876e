"""Stage 5: reconstructions are compared with what was seen."""

import numpy as np
import pandas as pd

from bids_recon.dataset.provenance import Record, Sidecar, checksum, write_text
from bids_recon.dataset.stimuli import read_picture
from bids_recon.dataset.tables import table_text
from bids_recon.engine import Result
from bids_recon.evaluation.scores import Reconstructed, score
from bids_recon.evaluation.splits import Split
from bids_recon.stages.decode import trials_and_split
from bids_recon.stages.generate import listing, recon_files
from bids_recon.stages.plan import (
    Analysis,
    Plan,
    derive_seed,
    load_plan_pictures,
)


def evaluate_stage(plan: Plan, analysis: Analysis) -> Result:
    """Score the reconstructions of an analysis, if that was not done yet."""
    recipe = analysis.recipe
    files = recon_files(plan, analysis)
    trials, split = trials_and_split(plan, recipe)
    table = listing(trials, split, recipe)
    record = Record(
        stage="evaluate",
        settings={"profiles": list(recipe.profiles)},
        inputs={
            **plan.checksums(list(plan.pictures.values())),
            files.sidecar.name: checksum(files.sidecar),
        },
        seed=plan.settings.seed,
    )
    sidecar = Sidecar(
        files.metrics.with_suffix(".json"),
        {"metrics": files.metrics, "recon": files.table},
    )
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    recon = load_reconstructed(plan, analysis, table, trials["stimulus"], split)
    summaries, notes = [], []
    for profile in recipe.profiles:
        seed = derive_seed(
            plan.settings.seed, plan.subject, "evaluate", recipe.name, profile
        )
        summary, per_picture, found = score(recon, profile, seed)
        summaries.append(summary)
        if profile != recipe.profiles[0]:
            per_picture = per_picture.add_suffix(f"_{profile}")
        table = pd.concat([table, per_picture], axis=1)
        notes += [note for note in found if note not in notes]
    seeds = {
        name: derive_seed(
            plan.settings.seed, plan.subject, "generate", recipe.name, name
        )
        for name in table["split"].unique()
    }
    table.insert(table.columns.get_loc("image") + 1, "seed", table["split"].map(seeds))
    write_text(files.table, table_text(table))
    write_text(files.metrics, table_text(pd.concat(summaries, ignore_index=True)))
    describe = {
        "Description": (
            f"Scores of the pictures in {files.table.name}. Intervals: 95 %, bootstrap "
            "over pictures. chance and p_value: pictures exchanged, within this "
            "participant. floor: the mean training picture in place of each "
            "reconstruction; for patch_accuracy, f1 and mcc, all background."
        ),
        "Split": split.rule,
        "SplitDescription": split.sentence,
    }
    sidecar.write(record, describe, notes)
    return Result(True, reason, tuple(notes))


def load_reconstructed(
    plan: Plan,
    analysis: Analysis,
    table: pd.DataFrame,
    stimulus: pd.Series,
    split: Split,
) -> Reconstructed:
    """Read the pictures seen and reconstructed.

    Parameters
    ----------
    plan, analysis
        What was done.
    table : DataFrame
        The reconstructions, as ``listing`` gives them.
    stimulus : Series
        The picture of every trial that the split divides.
    split : Split
        How they were divided.
    """
    pictures = load_plan_pictures(plan, analysis.recipe)
    size = pictures.shape[2:]
    order = {name: row for row, name in enumerate(plan.pictures)}
    shown = stimulus.map(order).to_numpy(int)
    picture = table["stimulus"].map(order).to_numpy(int)
    distinct, own = np.unique(picture, return_inverse=True)
    folder = recon_files(plan, analysis).folder
    means = {
        fold.name: np.asarray(pictures[np.unique(shown[fold.train])]).mean(axis=0)
        for fold in split.folds
    }
    return Reconstructed(
        seen=np.asarray(pictures[distinct]),
        pictures=np.stack(
            [read_picture(folder / name, size) for name in table["image"]]
        ),
        own=own,
        fold=table["split"].to_numpy(str),
        floor=np.stack([means[name] for name in table["split"]]),
    )

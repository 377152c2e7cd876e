"""Beside stage 5: how scores grow with the number of training pictures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.tables import read_table, table_text
from bids_recon.engine import Result
from bids_recon.evaluation.scores import NUMBERS
from bids_recon.files import write_text
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.stages.generate.stage import recon_files

WHICH = ("profile", "metric", "set")
SCORES = ("value", "ci_low", "ci_high", "chance", "p_value", "n", "n_pictures")
SIZES = ("train_fraction", "n_training_pictures", "n_training_trials")
COLUMNS = (*WHICH, *SIZES, *SCORES)


def learning_path(plan: Plan, analysis: Analysis) -> Path:
    """Return where the scores of an analysis on all shares lie."""
    return output_path(
        plan.settings.output_dir,
        "learning",
        subject=plan.subject,
        task=plan.task,
        label=analysis.label,
        desc=analysis.recipe.name,
    )


def learning_name(plan: Plan, analysis: Analysis) -> str:
    """Return how the job that collects these scores is called."""
    return f"sub-{plan.subject} {analysis.recipe.name} {analysis.label} learning"


def learning_stage(plan: Plan, analysis: Analysis) -> Result:
    """Collect the scores of an analysis on all shares, if that was not done yet."""
    variants = plan.variants_of(analysis)
    files = [recon_files(plan, own) for own in variants]
    paths = [path for own in files for path in (own.metrics, own.sidecar)]
    fractions = [own.recipe.train_fraction for own in variants]
    record = Record(
        stage="learning",
        settings={"train_fraction": fractions},
        inputs=checksums(paths),
        seed=plan.settings.seed,
    )
    path = learning_path(plan, analysis)
    sidecar = Sidecar(path.with_suffix(".json"), {"learning": path})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False)
    parts = [scores_of(own.metrics, own.sidecar) for own in files]
    write_text(path, table_text(pd.concat(parts, ignore_index=True)))
    text = "Scores of the recipe by the number of pictures that it learned from."
    sidecar.write(record, {"Description": text}, [])
    return Result(True, reason)


def scores_of(metrics: Path, sidecar: Path) -> pd.DataFrame:
    """Return the scores of one share, with ``COLUMNS``; sizes are means over folds."""
    said = json.loads(sidecar.read_text(encoding="utf-8"))
    scores = read_table(metrics, numeric=NUMBERS)
    sizes = {
        "train_fraction": said["TrainFraction"],
        "n_training_pictures": np.mean(said["NumberOfTrainingPictures"]),
        "n_training_trials": np.mean(said["NumberOfTrainingTrials"]),
    }
    return scores.assign(**sizes)[list(COLUMNS)]

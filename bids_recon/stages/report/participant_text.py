"""The words and tables of a participant's page."""

import json
from html import escape
from typing import Any

import yaml

from bids_recon.dataset.sidecar import library_versions
from bids_recon.dataset.tables import read_table
from bids_recon.evaluation.scores import NUMBERS
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.reports.citations import citations
from bids_recon.reports.fragments import (
    folded,
    pairs,
    paragraph,
    score_table,
    spurious_table,
    table,
)
from bids_recon.settings import Settings
from bids_recon.stages.decode.stage import decoder_path
from bids_recon.stages.generate.stage import recon_files
from bids_recon.stages.report.comparison import decoding_words
from bids_recon.stages.report.summary import section_of

SPURIOUS_NOTE = (
    "Identification among the true feature and those of all training images needs more "
    "than the category. Where events name no categories, clusters of training images "
    "stand in."
)


def what_was_read(plan: Plan) -> str:
    """Return the table of runs."""
    rows = []
    for run in plan.runs:
        roles = run.trials["role"].value_counts().sort_index()
        rows.append(
            (
                run.run.name,
                run.run.bold.name,
                run.n_volumes,
                "given" if run.run.given else f"{run.repetition_time:g} s",
                ", ".join(f"{role}: {count}" for role, count in roles.items()),
                run.own.loc[run.own["role"] == "trial", "stimulus"].nunique(),
            )
        )
    headers = ("Run", "File", "Volumes", "Repetition time", "Events", "Pictures")
    text = paragraph(
        f"Runs: {len(plan.runs)}, in space {plan.space}. Distinct pictures: "
        f"{len(plan.pictures)}."
    )
    return text + table(headers, rows)


def words_of(plan: Plan, analysis: Analysis) -> dict[str, str]:
    """Return the texts of one analysis: suffix -> HTML."""
    files = recon_files(plan, analysis)
    scores = read_table(files.metrics, numeric=NUMBERS)
    words = {"heading": _heading(plan, analysis), "scores": score_table(scores)}
    if scores.empty:
        words["scores"] = paragraph(
            "None of these trials names a picture that exists: nothing was scored."
        )
    decoding = decoding_words(plan, analysis)
    if decoding:
        words["decoding"] = decoding
    if files.spurious.is_file():
        columns = ("value", "chance", "p_value")
        checks = read_table(files.spurious, numeric=columns)
        said = json.loads(
            files.metrics.with_suffix(".json").read_text(encoding="utf-8")
        )["Spurious"]
        words["spurious"] = paragraph(said) + folded(
            "The checks behind this", SPURIOUS_NOTE, spurious_table(checks)
        )
    return words


def words_of_decoders(plan: Plan, analysis: Analysis) -> dict[str, str]:
    """Return the text of an analysis whose decoders were trained and not tested."""
    path = decoder_path(plan, analysis).with_suffix(".json")
    data = json.loads(path.read_text(encoding="utf-8"))
    facts = {
        "Method": analysis.recipe.description,
        "Split": data["SplitDescription"],
        "Decoders": decoder_path(plan, analysis).name,
    }
    title = f"<h2>{analysis.desc}, regions {analysis.label}</h2>"
    return {"heading": title + pairs(facts)}


def heading(analysis: Analysis) -> str:
    """Return the heading of an analysis, which the summary links to."""
    words = escape(f"{analysis.recipe.variant}, regions {analysis.label}")
    return f'<h2 id="{section_of(analysis)}">{words}</h2>'


def _heading(plan: Plan, analysis: Analysis) -> str:
    sidecar = json.loads(
        recon_files(plan, analysis).sidecar.read_text(encoding="utf-8")
    )
    voxels = sorted(set(sidecar["NumberOfVoxels"].values()))
    title = heading(analysis)
    facts = {
        "Method": analysis.recipe.description,
        "Split": sidecar["SplitDescription"],
        "Voxels": ", ".join(f"{count:,}" for count in voxels),
        "Trials": (
            f"{sum(sidecar['NumberOfTestTrials'])} tested in "
            f"{len(sidecar['NumberOfTestTrials'])} parts"
        ),
        "Repeats of a test picture": (
            "combined in one reconstruction"
            if analysis.recipe.responses.average_test
            else "each trial by itself"
        ),
        "Picture size": "{} x {} pixels".format(*sidecar["PictureSize"]),
    }
    if "ModelFrom" in sidecar:
        facts["Decoders"] = sidecar["ModelFrom"]
    if sidecar["BidsRecon"]["Weights"]:
        facts["Pretrained weights"] = ", ".join(sidecar["BidsRecon"]["Weights"])
    return title + pairs(facts)


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that change results, for a reader."""
    without_effect = [
        "n_procs",
        "omp_nthreads",
        "mem_mb",
        "cluster",
        "array_script",
        "verbose",
        "dry_run",
        "reports_only",
        "stages",
        "work_dir",
        "participant_label",
        "bids_database_dir",
        "output_dir",
        "level",
    ]
    return {
        name: value
        for name, value in settings.as_data().items()
        if value is not None
        and value is not False
        and value != []
        and name not in without_effect
    }


def about(settings: Settings) -> str:
    """Return settings and versions for a reader."""
    shown = yaml.safe_dump(shown_settings(settings), sort_keys=False)
    versions = {name: str(value) for name, value in library_versions().items()}
    return f"<pre>{escape(shown)}</pre>" + pairs(versions)


def what_to_cite(plan: Plan) -> str:
    """Return the references of all recipes."""
    keys = {key for analysis in plan.analyses for key in analysis.recipe.cite}
    return f"<pre>{escape(citations(keys)[0])}</pre>"

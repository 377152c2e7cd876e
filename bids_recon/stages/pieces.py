"""The pieces of a participant's page: text as HTML, figures as SVG."""

import json
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import open_image
from bids_recon.dataset.provenance import library_versions
from bids_recon.dataset.stimuli import read_picture
from bids_recon.dataset.tables import read_table
from bids_recon.evaluation.scores import COLUMNS, finite_mean
from bids_recon.reports import figures
from bids_recon.reports.citations import citations
from bids_recon.reports.fragments import (
    bullet_list,
    pairs,
    paragraph,
    score_table,
    spurious_table,
    table,
)
from bids_recon.settings import Settings
from bids_recon.stages.ceiling import ceiling_path
from bids_recon.stages.folds import trials_and_split
from bids_recon.stages.generate import listing, recon_files
from bids_recon.stages.plan import Analysis, Plan
from bids_recon.stages.posterior import draw_posterior, posterior_steps
from bids_recon.stages.responses import Variant, load_responses, response_files
from bids_recon.stages.rois import load_mask, reference_path

SHOWN = 6
"""How many pictures of each rank are shown."""

HTML = ("heading", "scores", "spurious")
"""Pieces of an analysis that are text."""

LARGEST_PATTERN = 2000
"""Voxels and trials that correlations of patterns are computed from, at most."""

SCORE_COLUMNS = tuple(
    name for name in COLUMNS if name not in ("profile", "metric", "n_candidates")
)
"""Columns of the table of scores that hold numbers."""


def figure_path(
    settings: Settings,
    subject: str,
    desc: str,
    suffix: str,
    extension: str,
    label: str | None = None,
    task: str | None = None,
) -> Path:
    """Return where a piece of a page lies."""
    return output_path(
        settings.output_dir,
        "figure",
        subject=subject,
        task=task,
        label=label,
        desc=desc,
        suffix=suffix,
        extension=extension,
    )


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that change results, for a reader."""
    without_effect = [
        "n_procs",
        "omp_nthreads",
        "mem_mb",
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


def pieces_of(
    plan: Plan, done: list[Analysis], problems: list[str], notes: list[str]
) -> dict[Path, Callable[[Path], None]]:
    """Return what is drawn: path -> how to write it."""

    def path(desc: str, suffix: str, extension: str, label: str | None = None) -> Path:
        return figure_path(
            plan.settings, plan.subject, desc, suffix, extension, label, plan.task
        )

    def html(text: str) -> Callable[[Path], None]:
        return lambda part: part.write_text(text)

    pieces: dict[Path, Callable[[Path], None]] = {}
    if problems:
        pieces[path("problems", "about", ".html")] = html(
            bullet_list(problems, "failed")
        )
    pieces[path("read", "about", ".html")] = html(_read(plan, notes))
    pieces[path("settings", "about", ".html")] = html(about(plan.settings))
    pieces[path("cite", "about", ".html")] = html(_cite(plan))
    if done:
        pieces[path("regions", "mask", ".svg")] = lambda part: _regions(
            plan, done, part
        )
        pieces[path("quality", "responses", ".svg")] = lambda part: figures.save(
            figures.response_quality(_quality(plan, done[0])), part
        )
        first = Variant.of(plan, plan.analyses[0].recipe)
        if ceiling_path(plan, first).is_file():
            pieces[path("ceiling", "responses", ".svg")] = lambda part: figures.save(
                figures.ceilings(_ceilings(plan, done, first)), part
            )
    for analysis in done:
        for suffix, write in _of_analysis(plan, analysis).items():
            extension = ".html" if suffix in HTML else ".svg"
            pieces[path(analysis.desc, suffix, extension, analysis.label)] = write
    return pieces


def _of_analysis(plan: Plan, analysis: Analysis) -> dict[str, Callable[[Path], None]]:
    """Return the pieces of one analysis: suffix -> how to write it."""
    files = recon_files(plan, analysis)
    learned = json.loads(files.sidecar.read_text())["Learned"]
    html = {
        "heading": _heading(plan, analysis),
        "scores": score_table(_scores(plan, analysis)),
    }
    if files.spurious.is_file():
        columns = ("value", "chance", "p_value")
        checks = read_table(files.spurious, numeric=columns)
        said = json.loads(files.metrics.with_suffix(".json").read_text())["Spurious"]
        html["spurious"] = paragraph(said) + spurious_table(checks)
    pieces: dict[str, Callable[[Path], None]] = {
        suffix: lambda part, text=text: part.write_text(text)
        for suffix, text in html.items()
    }
    pieces["recon"] = lambda part: figures.save(
        figures.seen_and_reconstructed(_ranked(plan, analysis)), part
    )
    trials, split = trials_and_split(plan, analysis.recipe)
    if posterior_steps(plan, analysis, split):
        listed = listing(trials, split, analysis.recipe)
        pieces["posterior"] = lambda part: draw_posterior(
            plan, analysis, listed, split, part
        )
    if learned:
        pieces["weights"] = lambda part: figures.save(
            figures.combination_weights(learned), part
        )
    return pieces


def _read(plan: Plan, notes: list[str]) -> str:
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
    text += table(headers, rows)
    return text + (bullet_list(notes, "warning") if notes else "")


def _heading(plan: Plan, analysis: Analysis) -> str:
    sidecar = json.loads(recon_files(plan, analysis).sidecar.read_text())
    metrics = json.loads(
        recon_files(plan, analysis).metrics.with_suffix(".json").read_text()
    )
    voxels = sorted(set(sidecar["NumberOfVoxels"].values()))
    title = f"<h2>{analysis.desc}, regions {analysis.label}</h2>"
    facts = {
        "Method": analysis.recipe.description,
        "Split": sidecar["SplitDescription"],
        "Voxels": ", ".join(f"{count:,}" for count in voxels),
        "Trials": (
            f"{sum(sidecar['NumberOfTestTrials'])} tested in "
            f"{len(sidecar['NumberOfTestTrials'])} parts"
        ),
        "Picture size": "{} x {} pixels".format(*sidecar["PictureSize"]),
    }
    if sidecar["BidsRecon"]["Weights"]:
        facts["Pretrained weights"] = ", ".join(sidecar["BidsRecon"]["Weights"])
    text = title + pairs(facts)
    if sidecar["Transductive"]:
        text += paragraph(
            "Transductive: the decoded features of each test trial were scaled by "
            "those of all test trials.",
            "warning",
        )
    if sidecar["SharesPictures"]:
        text += paragraph(
            "The pictures that were tested were also learned on, in other trials.",
            "warning",
        )
    warnings = metrics["BidsRecon"]["Warnings"]
    return text + (bullet_list(warnings, "warning") if warnings else "")


def about(settings: Settings) -> str:
    """Return settings and versions for a reader."""
    shown = yaml.safe_dump(shown_settings(settings), sort_keys=False)
    versions = {name: str(value) for name, value in library_versions().items()}
    return f"<pre>{escape(shown)}</pre>" + pairs(versions)


def _cite(plan: Plan) -> str:
    keys = {key for analysis in plan.analyses for key in analysis.recipe.cite}
    return f"<pre>{escape(citations(keys)[0])}</pre>"


def _regions(plan: Plan, done: list[Analysis], part: Path) -> None:
    sets = dict.fromkeys(roi for analysis in done for roi in analysis.roi_sets)
    masks = {roi.name: load_mask(plan, roi) for roi in sets}
    mean = open_image(reference_path(plan))
    figures.save(figures.masks_on_mean(mean, masks), part)


def _ceilings(
    plan: Plan, done: list[Analysis], variant: Variant
) -> dict[str, np.ndarray]:
    """Return the noise ceiling of the voxels of each region that was used."""
    percent = np.asarray(open_image(ceiling_path(plan, variant)).dataobj)
    sets = dict.fromkeys(roi for analysis in done for roi in analysis.roi_sets)
    return {roi.name: percent[load_mask(plan, roi)] for roi in sets}


def _scores(plan: Plan, analysis: Analysis) -> pd.DataFrame:
    return read_table(recon_files(plan, analysis).metrics, numeric=SCORE_COLUMNS)


def _quality(plan: Plan, analysis: Analysis) -> pd.DataFrame:
    """Correlate response patterns of trials with one picture, and with others."""
    variant = Variant.of(plan, analysis.recipe)
    union = np.logical_or.reduce([load_mask(plan, roi) for roi in analysis.roi_sets])
    values, stimuli, runs, deviations = [], [], [], {}
    for run in plan.runs:
        part = load_responses(plan, run, variant)
        inside = union[np.load(response_files(plan, run, variant).mask)]
        rows = (part.trials["role"] == "trial").to_numpy()
        if not rows.any():
            continue
        X = np.asarray(part.values)[rows][:, inside]
        deviations[run.run.name] = float(np.median(X.std(axis=0)))
        values.append(X - X.mean(axis=0))
        stimuli += part.trials.loc[rows, "stimulus"].tolist()
        runs += [run.run.name] * int(rows.sum())
    X = np.concatenate(values)
    rng = np.random.default_rng(0)
    if X.shape[1] > LARGEST_PATTERN:
        X = X[:, np.sort(rng.choice(X.shape[1], LARGEST_PATTERN, replace=False))]
    keep = np.arange(len(X))
    if len(X) > LARGEST_PATTERN:
        keep = np.sort(rng.choice(len(X), LARGEST_PATTERN, replace=False))
    return _pattern_correlations(
        X[keep], np.array(stimuli)[keep], np.array(runs)[keep], deviations
    )


def _pattern_correlations(
    X: np.ndarray,
    stimuli: np.ndarray,
    runs: np.ndarray,
    deviations: Mapping[str, float],
) -> pd.DataFrame:
    Z = X - X.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    Z = np.divide(Z, norms, out=np.zeros_like(Z), where=norms > 0)
    r = Z @ Z.T
    np.fill_diagonal(r, np.nan)
    same = stimuli[:, None] == stimuli[None]
    rows = []
    for name, deviation in deviations.items():
        inside = runs == name
        among, apart = r[inside][same[inside]], r[inside][~same[inside]]
        rows.append(
            {
                "run": name,
                "same": finite_mean(among),
                "different": finite_mean(apart),
                "deviation": deviation,
            }
        )
    return pd.DataFrame(rows)


def _ranked(
    plan: Plan, analysis: Analysis
) -> dict[str, list[tuple[np.ndarray, np.ndarray, str]]]:
    """Pick reconstructions by rank: the best, those in the middle, the worst."""
    files = recon_files(plan, analysis)
    listed = read_table(files.table, numeric=("pixel_correlation",))
    size = tuple(json.loads(files.sidecar.read_text())["PictureSize"])
    order = listed["pixel_correlation"].fillna(-2).to_numpy().argsort(kind="stable")
    order = order[::-1]
    shown = min(SHOWN, len(order))
    middle = max(0, (len(order) - shown) // 2)
    groups = {
        f"Best {shown} of {len(order)}": order[:shown],
        f"Middle {shown} of {len(order)}": order[middle : middle + shown],
        f"Worst {shown} of {len(order)}": order[-shown:],
    }
    result = {}
    for title, rows in groups.items():
        items = []
        for row in rows:
            entry = listed.iloc[row]
            seen = read_picture(plan.pictures[entry["stimulus"]], size)
            made = read_picture(files.folder / entry["image"], size)
            caption = f"trial {entry['trial']}\nr = {entry['pixel_correlation']:.2f}"
            items.append((seen, made, caption))
        result[title] = items
    return result

"""Find and check all that a participant's stages will read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from bids_recon.dataset.derivatives import camel_case, check_distinct
from bids_recon.dataset.events import NoPictureError, NoRowsError, read_events
from bids_recon.dataset.images import describe_grid, open_image, same_grid
from bids_recon.dataset.layout import Dataset, RoiFile, Run
from bids_recon.dataset.metadata import read_times
from bids_recon.dataset.region_files import find_roi_files
from bids_recon.dataset.runs import find_runs
from bids_recon.dataset.trial_tables import read_trial_table
from bids_recon.datatypes import MODELLED, TRIAL_COLUMNS
from bids_recon.errors import Status, UserError
from bids_recon.plan.checks import check_split
from bids_recon.plan.methods import reads_captions
from bids_recon.plan.model import with_models
from bids_recon.plan.plan import Analysis, Plan, RunPlan
from bids_recon.plan.regions import check_masks, check_regions
from bids_recon.plan.stimuli import (
    asked_tasks,
    drawn_patterns,
    left_out,
    task_of,
    with_captions,
    with_pictures,
    with_prior,
)
from bids_recon.recipe import Recipe
from bids_recon.settings import RoiSet, Settings

BRAIN = RoiSet("brain", ())


@dataclass(frozen=True)
class Found:
    """The files of a participant, as far as a run's filters select them.

    Parameters
    ----------
    settings : Settings
        What the run was asked for.
    subject : str
        The label of the participant.
    runs : tuple of Run
        What is read.
    roi_files : tuple of RoiFile
        Where regions are found.
    links : mapping of str to Path
        The datasets that BIDS URIs name.
    notes : tuple of str
        What was found on the way and a reader should know.
    """

    settings: Settings
    subject: str
    runs: tuple[Run, ...]
    roi_files: tuple[RoiFile, ...]
    links: Mapping[str, Path]
    notes: tuple[str, ...]


def find(dataset: Dataset, subject: str) -> Found:
    """Look a participant's files up in the index of a dataset.

    Raises
    ------
    UserError
        If there is nothing to read.
    """
    runs, without = find_runs(dataset, subject)
    left = [f"{without} runs without events were left out."] if without else []
    return Found(
        settings=dataset.settings,
        subject=subject,
        runs=tuple(runs),
        roi_files=tuple(find_roi_files(dataset, subject)),
        links=dataset.links,
        notes=(*dataset.notes, *left),
    )


def make_plan(found: Found, recipes: tuple[Recipe, ...]) -> Plan:
    """Read and check what a participant's stages need to know of its files.

    Raises
    ------
    UserError
        If something is missing or does not fit together.
    """
    settings, runs, notes = found.settings, found.runs, list(found.notes)
    if runs[0].given:
        notes.append("Single-trial responses that others estimated were read.")
    else:
        _check_estimators(recipes, runs[0])
        notes += _without_masks(runs)
    planned, told = _plan_runs(runs, settings)
    notes += told
    folder = settings.stimuli or settings.bids_dir / "stimuli"
    plan = Plan(
        settings=settings,
        subject=found.subject,
        runs=tuple(planned),
        pictures={},
        roi_files=found.roi_files,
        analyses=tuple(
            analysis for recipe in recipes for analysis in _analyses(recipe, settings)
        ),
        links={**found.links, "stimuli": folder},
        notes=tuple(notes),
    )
    regions = {roi for analysis in plan.analyses for roi in analysis.roi_sets}
    check_distinct("sets of regions", sorted(roi.name for roi in regions))
    named = settings.stimuli is not None or settings.stimulus_column is not None
    if not named and (drawn := drawn_patterns(plan)):
        folder = drawn
        plan = replace(plan, links={**plan.links, "stimuli": folder})
    plan = with_pictures(plan, folder)
    _check_grids(plan.runs)
    if settings.model_from is not None:
        plan = with_models(plan)
    if not settings.reports_only:
        if "responses" in settings.stages:
            check_masks(plan)
        if "rois" in settings.stages and not plan.applies:
            check_regions(plan)
    if any(reads_captions(s) for recipe in recipes for s in recipe.decode.values()):
        plan = with_captions(plan, folder)
    plan = with_prior(plan) if settings.prior_pictures else plan
    check_split(plan)
    return plan


def _plan_runs(
    runs: Sequence[Run], settings: Settings
) -> tuple[list[RunPlan], list[str]]:
    """Plan all runs but those of tasks whose events have no column of pictures."""
    planned, counts = [], Counter()
    without: dict[str, list[NoPictureError]] = {}
    empty: list[NoRowsError] = []
    for run in runs:
        try:
            plan, own = _plan_run(run, settings)
        except NoPictureError as error:
            without.setdefault(task_of(run), []).append(error)
        except NoRowsError as error:
            empty.append(error)
        else:
            planned.append(plan)
            counts.update(own)
    needed = {*(task_of(plan.run) for plan in planned), *asked_tasks(settings)}
    for task, errors in without.items():
        if not planned or task in needed:
            raise errors[0]
    if empty and not planned:
        raise empty[0]
    counts["runs whose events hold no row were left out"] = len(empty)
    notes = [left_out(task, len(errors)) for task, errors in sorted(without.items())]
    notes += [f"{count} {what}." for what, count in sorted(counts.items()) if count]
    return planned, notes


def _plan_run(run: Run, settings: Settings) -> tuple[RunPlan, Counter[str]]:
    image = open_image(run.bold)
    if len(image.shape) != 4:
        raise UserError(
            f"{run.bold}: expected a 4-D image, found one of shape {image.shape}."
        )
    counts: Counter[str] = Counter()
    n_volumes = image.shape[3]
    if run.given:
        trials = read_trial_table(run, n_volumes, settings.stimulus_column)
        return RunPlan(run, trials, n_volumes, 0.0, 0.0), counts
    repetition_time, start_time = read_times(run, image.header)
    events = read_events(run.table, settings.stimulus_column, settings.trials)
    counts.update(events.unclear)
    table = pd.concat([events.trials, events.nuisance], ignore_index=True)
    late = table["onset"] >= n_volumes * repetition_time
    if late.any():
        counts["events begin after the end of their run and were dropped"] += int(
            late.sum()
        )
    table = table[~late].reset_index(drop=True)
    brief = table["role"].isin(MODELLED) & (table["duration"] == 0)
    if brief.any():
        counts["trials last 0 s; models take them for impulses"] += int(brief.sum())
    for name in ("session", "task", "run"):
        table[name] = run.entities.get(name, "n/a")
    table = table[[*TRIAL_COLUMNS, *(c for c in table if c not in TRIAL_COLUMNS)]]
    plan = RunPlan(
        run, table, n_volumes, repetition_time, start_time, events.convention
    )
    return plan, counts


def _without_masks(runs: Sequence[Run]) -> list[str]:
    n_runs = sum(run.mask is None for run in runs)
    if not n_runs:
        return []
    return [
        f"{n_runs} runs have no brain mask (desc-brain_mask); one was made of the mean "
        "of each run's BOLD (nilearn's compute_epi_mask)."
    ]


def _check_estimators(recipes: tuple[Recipe, ...], run: Run) -> None:
    for recipe in recipes:
        if recipe.responses.estimator.name == "given":
            raise UserError(
                f"The recipe {recipe.name} takes single-trial responses that exist "
                f"(estimator: given), and {run.bold.name} is BOLD. Leave the estimator "
                "out, or leave the BOLD out with --derivatives NAME=PATH.",
                Status.USAGE,
            )


def _check_grids(plans: Sequence[RunPlan]) -> None:
    first = open_image(plans[0].run.bold)
    for plan in plans[1:]:
        image = open_image(plan.run.bold)
        if not same_grid(first, image):
            raise UserError(
                f"{plan.run.bold}: its grid ({describe_grid(image)}) is not that of "
                f"{plans[0].run.bold.name} ({describe_grid(first)}). All runs of a "
                "participant must be on one grid: have fMRIPrep resample them to one "
                "space, or select runs with --session-label, --task-id or --run-id."
            )


def _analyses(recipe: Recipe, settings: Settings) -> list[Analysis]:
    sets = {roi.name: roi for roi in settings.roi_sets}
    if recipe.rois:
        # A region that the recipe asks for is a set of --roi, or a label as it is.
        own = {
            roi: sets.get(roi, RoiSet(camel_case(roi), (roi,))) for roi in recipe.rois
        }
        rois = {
            name: tuple(own[roi] for roi in step.rois) or (BRAIN,)
            for name, step in recipe.decode.items()
        }
        return [Analysis(recipe, camel_case(" ".join(recipe.rois)), rois)]
    return [
        Analysis(recipe, camel_case(roi.name), dict.fromkeys(recipe.decode, (roi,)))
        for roi in sets.values() or (BRAIN,)
    ]

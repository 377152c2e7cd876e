"""The pictures of a plan: those shown, their captions, and such as nobody saw."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from bids_recon.dataset.captions import find_captions
from bids_recon.dataset.convention import convention_called, counted
from bids_recon.dataset.layout import Run
from bids_recon.dataset.split_files import read_sides
from bids_recon.dataset.stimuli import (
    Stimuli,
    equal_to_any,
    size_of,
)
from bids_recon.datatypes import TRIAL_COLUMNS
from bids_recon.errors import Status, UserError, first_few
from bids_recon.evaluation.splits import FILE
from bids_recon.files import absolute_path, write_whole
from bids_recon.plan.methods import without_captions
from bids_recon.plan.plan import (
    Plan,
    in_colours_of,
    load_at,
    load_plan_pictures,
)
from bids_recon.settings import Settings


def with_pictures(plan: Plan, folder: Path) -> Plan:
    """Find the pictures of all trials, and give equal pictures one name."""
    shown = pd.concat([run.trials for run in plan.runs], ignore_index=True)
    roles = ("trial", "repeat", *(("imagery",) if plan.applies else ()))
    names = shown.loc[shown["role"].isin(roles), "stimulus"].dropna()
    if names.empty and not plan.applies:
        roles = dict(Counter(shown["role"]))
        raise UserError(
            f"sub-{plan.subject}: none of its events shows a picture; found "
            f"{roles or 'no trials at all'}. Say which rows are trials with --trials "
            "EXPRESSION and which column names the picture with --stimulus-column "
            "NAME.",
            Status.NOTHING_SELECTED,
        )
    if plan.applies and not folder.is_dir():
        found, missing = {}, sorted(names.unique())
    else:
        stimuli = Stimuli(folder, plan.settings.stimulus_map, _where_from(plan))
        found, missing = stimuli.look_up(sorted(names.unique()))
    if missing and plan.applies:
        note = (
            f"{len(missing)} names in the events are of no picture "
            f"({first_few(missing)}); their trials are reconstructed and not scored."
        )
        plan = replace(plan, notes=(*plan.notes, note))
    elif missing:
        plan = _without_tasks(plan, stimuli, set(missing))
    first = _first_of_equal(plan, found)
    canonical = {
        name: path.relative_to(folder).as_posix() for name, path in first.items()
    }
    twins = len(set(found.values())) - len(set(first.values()))
    notes = plan.notes
    if twins:
        notes += (
            f"{twins} pictures have the pixels of another one under a different name; "
            "they count as the same picture.",
        )
    runs = tuple(
        replace(
            run,
            trials=run.trials.assign(
                stimulus=run.trials["stimulus"].map(lambda n: canonical.get(n, n))
            ),
        )
        for run in plan.runs
    )
    pictures = {canonical[name]: path for name, path in first.items()}
    plan = replace(
        plan, runs=runs, pictures=dict(sorted(pictures.items())), notes=notes
    )
    rule = plan.settings.split
    if rule is None or not rule.startswith(FILE):
        return plan
    return _with_sides(
        plan, stimuli, {found[name]: own for name, own in canonical.items()}
    )


def _first_of_equal(plan: Plan, found: dict[str, Path]) -> dict[str, Path]:
    """Return the first file with the same pixels as that of each name."""
    files = sorted(set(found.values()))
    digests = dict(zip(files, plan.pixel_checksums(files), strict=True))
    by_content: dict[str, Path] = {}
    return {
        name: by_content.setdefault(digests[path], path) for name, path in found.items()
    }


def _with_sides(plan: Plan, stimuli: Stimuli, names: dict[Path, str]) -> Plan:
    """Read on which side the file of ``--split file:PATH`` has each picture shown.

    Raises
    ------
    UserError
        If it names none of them, or has one picture on two sides.
    """
    path = absolute_path(plan.settings.split.removeprefix(FILE))
    in_file = read_sides(path)
    try:
        found, _ = stimuli.look_up(in_file)
    except UserError as error:
        raise UserError(f"{path}: {error}", error.status) from error
    sides: dict[str, str] = {}
    for name, file in found.items():
        if file not in names:
            continue
        stimulus = names[file]
        if sides.setdefault(stimulus, in_file[name]) != in_file[name]:
            raise UserError(
                f"{path}: the picture {stimulus} is on two sides, once as {name!r}. A "
                "picture is for training or for test."
            )
    if not sides:
        raise UserError(
            f"{path}: none of its {len(in_file)} pictures was shown to "
            f"sub-{plan.subject}: {first_few(list(in_file))}. Name pictures as the "
            "events do, or by their files."
        )
    note = (
        f"{path.name} names the side of {len(sides)} of the {len(plan.pictures)} "
        "pictures that were shown."
    )
    return replace(plan, sides_in_file=sides, notes=(*plan.notes, note))


def drawn_patterns(plan: Plan) -> Path | None:
    """Draw the pictures that events spell, and return the folder they are in.

    ``None`` where events name files.
    """
    patterns = {convention_called(run.convention).pattern for run in plan.runs}
    if patterns & {None} or len(patterns) != 1:
        return None
    pattern = patterns.pop()
    folder = plan.work / "patterns"
    shown = pd.concat([run.trials["stimulus"] for run in plan.runs]).dropna()
    for name in sorted(shown.unique()):
        image = Image.fromarray(pattern.pixels_of(name))
        write_whole(folder / name, partial(image.save, format="PNG"))
    return folder


def _where_from(plan: Plan) -> str:
    """Return what conventions say of where pictures are from."""
    said = [convention_called(run.convention).obtain for run in plan.runs]
    return " ".join(dict.fromkeys(text for text in said if text))


def task_of(run: Run) -> str:
    """Return the task of a run."""
    return run.entities.get("task", "n/a")


def asked_tasks(settings: Settings) -> set[str]:
    """Return the tasks that were asked for by name."""
    return {text.removeprefix("task-") for text in settings.task_id}


def left_out(task: str, n_runs: int) -> str:
    """Return the note that the runs of a task were left out."""
    return (
        f"The events of the task {task} name no picture that exists; its {n_runs} runs "
        f"were left out. If they show pictures, ask for them: -t {task}."
    )


def _without_tasks(plan: Plan, stimuli: Stimuli, missing: set[str]) -> Plan:
    """Leave out tasks that show no picture at all, such as localisers.

    Raises
    ------
    UserError
        If pictures are missing of a task of which others are there, or of one that was
        asked for, or no task is left.
    """
    shown: dict[str, set[str]] = {}
    for run in plan.runs:
        rows = run.trials["role"].isin(("trial", "repeat"))
        names = shown.setdefault(task_of(run.run), set())
        names |= set(run.trials.loc[rows, "stimulus"].dropna())
    absent = {task for task, names in shown.items() if names and names <= missing}
    absent -= asked_tasks(plan.settings)
    if not any(names - missing for names in shown.values()):
        absent = set()
    needed = set().union(*(shown[task] for task in shown if task not in absent))
    if needed & missing:
        _check_most_rows(plan, absent, missing, stimuli.folder)
        raise stimuli.absent(sorted(needed & missing), len(needed))
    notes = [
        left_out(task, sum(task_of(run.run) == task for run in plan.runs))
        for task in sorted(absent)
    ]
    runs = tuple(run for run in plan.runs if task_of(run.run) not in absent)
    return replace(plan, runs=runs, notes=(*plan.notes, *notes))


def _check_most_rows(
    plan: Plan, absent: set[str], missing: set[str], folder: Path
) -> None:
    """Ask which rows are trials where most of them name no picture, and some do.

    Raises
    ------
    UserError
        If it is so.
    """
    trials = pd.concat(
        [run.trials for run in plan.runs if task_of(run.run) not in absent]
    )
    rows = trials.loc[trials["role"].isin(("trial", "repeat")), "stimulus"]
    lost = rows[rows.isin(missing)]
    if len(rows) / 2 < len(lost) < len(rows):
        raise UserError(
            f"sub-{plan.subject}: {len(lost)} of {len(rows)} rows of its events name "
            f"no picture of {folder}: {counted(lost)}. If these rows are no trials, "
            "say which are with --trials EXPRESSION; the columns are "
            f"{', '.join(name for name in trials if name not in TRIAL_COLUMNS)}.",
            Status.NO_INPUT,
        )


def with_captions(plan: Plan, folder: Path) -> Plan:
    """Find the captions of all pictures, and let recipes go without where none are."""
    trials = pd.concat([run.trials for run in plan.runs], ignore_index=True)
    captions = find_captions(plan.pictures, trials, folder, plan.settings.captions)
    if captions:
        return replace(plan, captions=captions)
    analyses, notes = [], list(plan.notes)
    for analysis in plan.analyses:
        recipe = without_captions(analysis.recipe)
        if recipe is not None:
            analysis = replace(
                analysis,
                recipe=recipe,
                rois={name: analysis.rois[name] for name in recipe.decode},
            )
            note = (
                f"There are no captions of the pictures: the recipe {recipe.name} goes "
                "without them. Give them with --captions FILE."
            )
            notes += [note] if note not in notes else []
        analyses.append(analysis)
    return replace(plan, analyses=tuple(analyses), notes=tuple(notes))


def with_prior(plan: Plan) -> Plan:
    """Find pictures that were never shown, and leave out what equals one shown.

    Raises
    ------
    UserError
        If there is no such folder, or it holds none.
    """
    folder = plan.settings.prior_pictures
    paths = Stimuli(folder).paths() if folder.is_dir() else []
    if not paths:
        raise UserError(
            f"{folder}: {'holds no pictures' if folder.is_dir() else 'is no folder'}. "
            "--prior-pictures names a folder of pictures of the kind that was shown.",
            Status.NO_INPUT,
        )
    plan = replace(plan, links={**plan.links, "prior": folder})
    pictures = load_plan_pictures(plan, plan.analyses[0].recipe)
    loaded = load_at(plan, paths, pictures.shape[2:])
    prior = in_colours_of(loaded, pictures)
    fresh = ~equal_to_any(prior, pictures)
    sizes = {size_of(path) for path in paths} - {
        size_of(path) for path in plan.pictures.values()
    }
    notes = [f"{int(fresh.sum())} pictures that were never shown serve as prior."]
    if not fresh.all():
        notes.append(
            f"{int((~fresh).sum())} pictures of {folder.name} equal one that was shown "
            "and were left out."
        )
    if sizes:
        notes.append(
            "Prior pictures of another size were brought to that of the shown."
        )
    if prior is not loaded:
        notes.append("Prior pictures in colour were made grey, as those shown are.")
    kept = tuple(path for path, own in zip(paths, fresh, strict=True) if own)
    return replace(plan, prior=kept, notes=(*plan.notes, *notes))

"""Which runs of a participant there are to read, and what belongs to each."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_recon.dataset.layout import NIFTI, Dataset, Run, entities_of, same_label
from bids_recon.dataset.unreadable import nothing_to_read
from bids_recon.errors import Status, UserError

BETA_TABLES = ("trials", "events")

CONFOUNDS = ("desc-confounds_timeseries", "desc-confounds_regressors", "confounds")
"""What fMRIPrep has called its table of confounds, the newest first."""

SINGLE_TRIALS = ("trial", "singletrialbetas", "typed")
"""How the description of single-trial responses begins, in small letters."""


def find_runs(dataset: Dataset, subject: str) -> tuple[list[Run], int]:
    """Find preprocessed BOLD, or else single-trial responses, of a participant.

    Returns
    -------
    list of Run, int
        Those with events, and how many have none, such as rest.

    Raises
    ------
    UserError
        If there is neither, several spaces and none chosen, or no events.
    """
    bold = _find_bold(dataset, subject)
    betas = _find_betas(dataset, subject)
    selected = dataset.selected(bold) or dataset.selected(betas)
    if not selected:
        raise nothing_to_read(dataset, subject, bold + betas)
    files = _one_space(selected, dataset.settings.space, subject)
    if files[0] in betas:
        mask = _mask_of_responses(dataset, files[0])
        return [_given_run(file, mask) for file in files], 0
    masks, events = _brain_masks(dataset, subject), dataset.events_of(subject)
    runs = [_bold_run(file, masks, events) for file in files]
    with_events = [run for run in runs if run.table]
    if not with_events:
        raise UserError(
            f"sub-{subject}: none of its {len(runs)} runs has events. Expected, for "
            f"{runs[0].bold.name}, a file like "
            f"{_events_name(runs[0].entities)} in {dataset.settings.bids_dir}.",
            Status.NO_INPUT,
        )
    return with_events, len(runs) - len(with_events)


def _find_bold(dataset: Dataset, subject: str) -> list[Any]:
    """Find preprocessed BOLD by the names of BIDS, or else by those before them."""
    named = dataset.query(
        subject, "bold", suffix="bold", desc="preproc", extension=NIFTI
    )
    if dataset.filters.of("bold"):
        return named
    # fMRIPrep 1.0 and 1.1: ..._bold_space-T1w_preproc.nii.gz
    old = dataset.query(
        subject, "bold", suffix="preproc", datatype="func", extension=NIFTI
    )
    known = [entities_of(file) for file in named]
    return named + [
        file
        for file in old
        if "_bold_" in file.filename and entities_of(file) not in known
    ]


def _find_betas(dataset: Dataset, subject: str) -> list[Any]:
    files = dataset.query(
        subject, "betas", suffix=["statmap", "betas"], extension=NIFTI
    )
    return [
        file
        for file in files
        if file.entities["suffix"] == "betas"
        or (
            "_stat-effect_" in file.filename
            and str(file.entities.get("desc", "")).lower().startswith(SINGLE_TRIALS)
        )
    ]


def _one_space(files: list[Any], wanted: str | None, subject: str) -> list[Any]:
    spaces = sorted({str(file.entities.get("space", "native")) for file in files})
    if wanted is not None and wanted not in spaces:
        raise UserError(
            f"sub-{subject}: nothing is in space {wanted!r}. There are: "
            f"{', '.join(spaces)}. Say one of them with --space.",
            Status.NOTHING_SELECTED,
        )
    if wanted is None and len(spaces) > 1:
        raise UserError(
            f"sub-{subject}: preprocessed data are in several spaces: "
            f"{', '.join(spaces)}. Choose one, for instance: --space {spaces[-1]}",
            Status.USAGE,
        )
    space = wanted or spaces[0]
    files = [
        file for file in files if str(file.entities.get("space", "native")) == space
    ]
    _check_twins(files)
    return files


def _check_twins(files: list[Any]) -> None:
    seen: dict[tuple[tuple[str, str], ...], Any] = {}
    for file in files:
        key = tuple(entities_of(file).items())
        if key in seen:
            advice = _twin_advice(seen[key], file)
            raise UserError(
                f"{seen[key].path} and {file.path} are the same run twice. {advice}",
                Status.USAGE,
            )
        seen[key] = file


def _twin_advice(a: Any, b: Any) -> str:
    for name in sorted({*a.entities, *b.entities}):
        values = [file.entities.get(name) for file in (a, b)]
        if values[0] != values[1] and all(isinstance(v, str | None) for v in values):
            chosen = json.dumps({"bold": {name: values[0]}})
            return (
                f"They differ in {name} ({values[0]} and {values[1]}). Choose one with "
                f"--bids-filter-file: a file that holds {chosen}"
            )
    return "Choose one derivative with --derivatives NAME=PATH."


def _brain_masks(dataset: Dataset, subject: str) -> list[Any]:
    named = dataset.query(subject, "mask", suffix="mask", desc="brain", extension=NIFTI)
    if dataset.filters.of("mask"):
        return named
    old = dataset.query(
        subject, "mask", suffix="brainmask", datatype="func", extension=NIFTI
    )
    return named + [file for file in old if "_bold_" in file.filename]


def _mask_of_responses(dataset: Dataset, file: Any) -> Path | None:
    """Return the brain mask of single-trial responses, whatever it is described as."""
    subject, space = str(file.entities["subject"]), file.entities.get("space")
    others = dataset.query(subject, "mask", suffix="mask", extension=NIFTI)
    unlabelled = [mask for mask in others if "label" not in mask.entities]
    for masks in (_brain_masks(dataset, subject), unlabelled):
        fitting = [mask for mask in masks if mask.entities.get("space") == space]
        if fitting:
            return Path(fitting[0].path)
    return None


def _bold_run(
    file: Any, masks: list[Any], events: list[tuple[dict[str, str], Path]]
) -> Run:
    entities = entities_of(file)
    path = Path(file.path)
    own = [mask for mask in masks if entities_of(mask) == entities]
    resolution = file.entities.get("res")
    own = [mask for mask in own if mask.entities.get("res") == resolution] or own
    stem = re.split(r"_space-|_desc-|_preproc\.", path.name)[0]
    tables = [path.with_name(f"{stem}_{name}.tsv") for name in CONFOUNDS]
    # A link whose content was not fetched is there too, and is told when read.
    there = [table for table in tables if table.exists() or table.is_symlink()]
    return Run(
        entities=entities,
        bold=path,
        table=_own_events(entities, events),
        mask=Path(own[0].path) if own else None,
        confounds=there[0] if there else None,
        metadata=file.get_metadata(),
    )


def _own_events(
    entities: Mapping[str, str], events: list[tuple[dict[str, str], Path]]
) -> Path | None:
    """Find the most specific events whose entities all agree with the run's."""
    agreeing = [
        (len(own), path)
        for own, path in events
        if all(same_label(entities.get(name), value) for name, value in own.items())
    ]
    return max(agreeing, key=lambda item: item[0])[1] if agreeing else None


def _given_run(file: Any, mask: Path | None) -> Run:
    path = Path(file.path)
    stem = re.sub(r"_(statmap|betas)$", "", path.name.split(".nii")[0])
    # LAION-fMRI's table has no space.
    plain = stem.replace("_stat-effect", "")
    space = f"_space-{file.entities.get('space')}"
    stems = [stem, plain, stem.replace(space, ""), plain.replace(space, "")]
    candidates = [
        path.with_name(f"{name}_{suffix}.tsv")
        for name in stems
        for suffix in BETA_TABLES
    ]
    table = next(
        (path for path in candidates if path.exists() or path.is_symlink()), None
    )
    if table is None:
        raise UserError(
            f"{path}: single-trial responses need a table with one row per volume. "
            f"Expected {candidates[0].name} or {candidates[-2].name} beside it.",
            Status.NO_INPUT,
        )
    return Run(
        entities=entities_of(file),
        bold=path,
        table=table,
        mask=mask,
        confounds=None,
        metadata=file.get_metadata(),
        given=True,
    )


def _events_name(entities: Mapping[str, str]) -> str:
    short = {"subject": "sub", "session": "ses", "task": "task", "run": "run"}
    parts = [f"{short[k]}-{entities[k]}" for k in short if k in entities]
    return "_".join(parts) + "_events.tsv"

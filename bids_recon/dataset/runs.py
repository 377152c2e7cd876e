"""Which runs of a participant there are to read, and what belongs to each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_recon.dataset.layout import RUN_ENTITIES, Dataset, RoiFile, Run, entities_of
from bids_recon.errors import Status, UserError

BETA_TABLES = ("trials", "events")


def find_runs(dataset: Dataset, subject: str) -> list[Run]:
    """Find preprocessed BOLD, or else single-trial responses, of a participant.

    Raises
    ------
    UserError
        If there is neither, several spaces and none chosen, or no events.
    """
    bold = dataset.query(
        subject, "bold", suffix="bold", desc="preproc", extension=[".nii.gz", ".nii"]
    )
    betas = _find_betas(dataset, subject)
    selected = dataset.selected(bold) or dataset.selected(betas)
    if not selected:
        _raise_nothing(dataset, subject, bold + betas)
    files = _one_space(selected, dataset.settings.space, subject)
    if files[0].entities["suffix"] == "statmap":
        return [_given_run(file, dataset) for file in files]
    masks, events = _brain_masks(dataset, subject), _events_files(dataset)
    runs = [_bold_run(file, masks, events) for file in files]
    with_events = [run for run in runs if run.table]
    if not with_events:
        raise UserError(
            f"sub-{subject}: none of its {len(runs)} runs has events. Expected, for "
            f"{runs[0].bold.name}, a file like "
            f"{_events_name(runs[0].entities)} in {dataset.settings.bids_dir}.",
            Status.NO_INPUT,
        )
    return with_events


def runs_without_events(dataset: Dataset, subject: str, runs: list[Run]) -> int:
    """Count the selected BOLD runs that have no events, such as rest."""
    if runs[0].given:
        return 0
    bold = dataset.query(
        subject, "bold", suffix="bold", desc="preproc", extension=[".nii.gz", ".nii"]
    )
    space = runs[0].entities.get("space")
    return sum(
        file.entities.get("space") == space for file in dataset.selected(bold)
    ) - len(runs)


def find_roi_files(dataset: Dataset, subject: str) -> list[RoiFile]:
    """Find masks with a label and segmentations with a table, in any derivative."""
    extension = [".nii.gz", ".nii"]
    files = dataset.query(subject, "roi", suffix=["mask", "dseg"], extension=extension)
    found = [
        RoiFile(
            Path(file.path),
            str(file.entities["label"]),
            None,
            file.entities.get("space"),
        )
        for file in files
        if file.entities["suffix"] == "mask" and "label" in file.entities
    ]
    for file in files:
        table = _segmentation_table(Path(file.path), dataset)
        if file.entities["suffix"] == "dseg" and table:
            found.append(
                RoiFile(Path(file.path), None, table, file.entities.get("space"))
            )
    return found


def _segmentation_table(path: Path, dataset: Dataset) -> Path | None:
    beside = path.with_name(path.name.split(".nii")[0] + ".tsv")
    if beside.is_file():
        return beside
    # fMRIPrep names the tables of its segmentations at the root of its derivative,
    # which may lie in the raw dataset.
    roots = [root for root in dataset.links.values() if path.is_relative_to(root)]
    root = max(roots, key=lambda root: len(root.parts), default=None)
    desc = [part for part in path.name.split("_") if part.startswith("desc-")]
    table = root / f"{desc[0]}_dseg.tsv" if root and desc else None
    return table if table and table.is_file() else None


def _find_betas(dataset: Dataset, subject: str) -> list[Any]:
    files = dataset.query(
        subject, "betas", suffix="statmap", extension=[".nii.gz", ".nii"]
    )
    return [
        file
        for file in files
        if "_stat-effect_" in file.filename
        and str(file.entities.get("desc", ""))
        .lower()
        .startswith(("trial", "singletrialbetas"))
    ]


def _raise_nothing(dataset: Dataset, subject: str, files: list[Any]) -> None:
    settings = dataset.settings
    if files:
        names = sorted({Path(file.path).name for file in files})
        raise UserError(
            f"sub-{subject}: the filters select none of its {len(names)} runs. There "
            f"is, for instance, {names[0]}. Check --session-label, --task-id and "
            "--run-id.",
            Status.NOTHING_SELECTED,
        )
    if dataset.undescribed and not dataset.derivatives:
        raise UserError(
            f"{settings.bids_dir / dataset.undescribed[0]}: there is no "
            "dataset_description.json in it, so that it is no BIDS derivative. Add "
            'one, such as {"Name": "fMRIPrep", "BIDSVersion": "1.8.0", "DatasetType": '
            '"derivative"}, or say where derivatives are with --derivatives NAME=PATH.',
            Status.NO_INPUT,
        )
    if not dataset.derivatives:
        raise UserError(
            f"{settings.bids_dir}: there are no derivatives. bids-recon reads "
            "preprocessed BOLD: run fMRIPrep first, or say where its output is with "
            "--derivatives fmriprep=PATH.",
            Status.NO_INPUT,
        )
    if settings.bids_filter_file:
        raise UserError(
            f"sub-{subject}: with the filters of {settings.bids_filter_file}, no "
            "desc-preproc_bold and no single-trial responses are left.",
            Status.NOTHING_SELECTED,
        )
    minimal = _minimal_level(dataset, subject)
    if minimal:
        raise UserError(
            f"{minimal}: this is fMRIPrep output at the minimal level: it has "
            "registrations (desc-hmc_boldref, desc-coreg_boldref) for "
            f"sub-{subject} but no desc-preproc_bold, brain masks or confounds in a "
            "space that could be read. Run fMRIPrep again with --level full (it can "
            "start from these files with --derivatives) and --output-spaces T1w.",
            Status.NO_INPUT,
        )
    raise UserError(
        f"sub-{subject}: no preprocessed BOLD and no single-trial responses in "
        f"{', '.join(str(path) for path in dataset.links.values())}. Expected files "
        f"like sub-{subject}_task-TASK_space-T1w_desc-preproc_bold.nii.gz. Run "
        "fMRIPrep first, or say where its output is with --derivatives NAME=PATH.",
        Status.NO_INPUT,
    )


def _minimal_level(dataset: Dataset, subject: str) -> Path | None:
    for name, layout in dataset.derivatives.items():
        references = layout.get(
            subject=subject, suffix="boldref", desc=["hmc", "coreg"]
        )
        if references:
            return dataset.links[name]
    return None


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
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    for file in files:
        key = tuple(entities_of(file).items())
        if key in seen:
            raise UserError(
                f"{seen[key]} and {file.path} are the same run twice. Choose one "
                "derivative with --derivatives NAME=PATH, or one of them with "
                "--bids-filter-file.",
                Status.USAGE,
            )
        seen[key] = file.path


def _brain_masks(dataset: Dataset, subject: str) -> list[Any]:
    return dataset.query(
        subject, "mask", suffix="mask", desc="brain", extension=[".nii.gz", ".nii"]
    )


def _events_files(dataset: Dataset) -> list[tuple[dict[str, str], Path]]:
    """List all tables of events with the entities that name their runs."""
    wanted = {"suffix": "events", "extension": ".tsv", **dataset.filters.of("events")}
    found = []
    for layout in (dataset.layout, *dataset.derivatives.values()):
        for file in layout.get(**wanted):
            entities = {
                name: str(file.entities[name])
                for name in RUN_ENTITIES
                if name in file.entities
            }
            if "desc" not in file.entities:
                found.append((entities, Path(file.path)))
    return found


def _bold_run(
    file: Any, masks: list[Any], events: list[tuple[dict[str, str], Path]]
) -> Run:
    entities = entities_of(file)
    path = Path(file.path)
    masks = [mask for mask in masks if entities_of(mask) == entities]
    stem = path.name.split("_space-")[0].split("_desc-")[0]
    confounds = path.with_name(f"{stem}_desc-confounds_timeseries.tsv")
    return Run(
        entities=entities,
        bold=path,
        table=_own_events(entities, events),
        mask=Path(masks[0].path) if masks else None,
        # A link whose content was not fetched is there too, and is told when read.
        confounds=confounds if confounds.exists() or confounds.is_symlink() else None,
        metadata=file.get_metadata(),
    )


def _own_events(
    entities: Mapping[str, str], events: list[tuple[dict[str, str], Path]]
) -> Path | None:
    """Find the most specific events whose entities all agree with the run's."""
    agreeing = [
        (len(own), path)
        for own, path in events
        if all(_same_label(entities.get(name), value) for name, value in own.items())
    ]
    return max(agreeing, key=lambda item: item[0])[1] if agreeing else None


def _same_label(a: str | None, b: str) -> bool:
    if a is not None and a.isdigit() and b.isdigit():
        return int(a) == int(b)
    return a == b


def _given_run(file: Any, dataset: Dataset) -> Run:
    path = Path(file.path)
    stem = path.name.split(".nii")[0].removesuffix("_statmap")
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
    masks = [
        mask
        for mask in _brain_masks(dataset, str(file.entities["subject"]))
        if mask.entities.get("space") == file.entities.get("space")
    ]
    return Run(
        entities=entities_of(file),
        bold=path,
        table=table,
        mask=Path(masks[0].path) if masks else None,
        confounds=None,
        metadata=file.get_metadata(),
        given=True,
    )


def _events_name(entities: Mapping[str, str]) -> str:
    short = {"subject": "sub", "session": "ses", "task": "task", "run": "run"}
    parts = [f"{short[k]}-{entities[k]}" for k in short if k in entities]
    return "_".join(parts) + "_events.tsv"

"""What is to be done for a participant: runs, trials, pictures, regions, recipes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.captions import Captions, find_captions
from bids_recon.dataset.derivatives import camel_case
from bids_recon.dataset.events import read_events
from bids_recon.dataset.images import describe_grid, open_image, read_volume, same_grid
from bids_recon.dataset.layout import Dataset, RoiFile, Run
from bids_recon.dataset.provenance import Checksums
from bids_recon.dataset.runs import find_roi_files, find_runs, runs_without_events
from bids_recon.dataset.stimuli import Stimuli, common_size, load_pictures
from bids_recon.dataset.trial_tables import read_trial_table
from bids_recon.datatypes import NUISANCE, TRIAL_COLUMNS, Trials
from bids_recon.errors import Status, UserError
from bids_recon.recipe import Method, Recipe
from bids_recon.settings import RoiSet, Settings
from bids_recon.stages.methods import reads_captions, without_captions

BRAIN = RoiSet("brain", ())
GIVEN = Method("given")
LIBRARIES_MB = 300


@dataclass(frozen=True)
class RunPlan:
    """One run, with its trials.

    Parameters
    ----------
    run : Run
        Its files.
    trials : Trials
        Rows that get a response, and then those that a design matrix holds beside.
    n_volumes : int
        Its length.
    repetition_time, start_time : float, s
        When volumes were acquired.
    """

    run: Run
    trials: Trials
    n_volumes: int
    repetition_time: float
    start_time: float

    @property
    def own(self) -> Trials:
        """The rows that get a response."""
        rows = ~self.trials["role"].isin(NUISANCE)
        return self.trials[rows].reset_index(drop=True)


@dataclass(frozen=True)
class Analysis:
    """One recipe on one set of regions.

    Parameters
    ----------
    recipe : Recipe
        What is done.
    label : str
        The name of the regions in outputs.
    rois : mapping of str to tuple of RoiSet
        For each decoded feature space, the regions it is read from.
    """

    recipe: Recipe
    label: str
    rois: Mapping[str, tuple[RoiSet, ...]]

    @property
    def desc(self) -> str:
        """The recipe's name as it stands in a file name."""
        return camel_case(self.recipe.name)

    @property
    def roi_sets(self) -> tuple[RoiSet, ...]:
        """All regions that the recipe reads."""
        return tuple(dict.fromkeys(roi for rois in self.rois.values() for roi in rois))


@dataclass(frozen=True)
class Plan:
    """Everything that the stages of one participant need to know.

    Parameters
    ----------
    settings : Settings
        What the run was asked for.
    subject : str
        The label of the participant.
    runs : tuple of RunPlan
        What is read.
    pictures : mapping of str to Path
        The file of each stimulus, by its path below the folder of pictures.
    roi_files : tuple of RoiFile
        Where regions are found.
    analyses : tuple of Analysis
        What is reconstructed.
    links : mapping of str to Path
        The datasets that BIDS URIs name.
    notes : tuple of str
        What was found on the way and a reader should know.
    captions : mapping of str to tuple of str
        Those of each stimulus, in the order of ``pictures``; empty without captions.
    """

    settings: Settings
    subject: str
    runs: tuple[RunPlan, ...]
    pictures: Mapping[str, Path]
    roi_files: tuple[RoiFile, ...]
    analyses: tuple[Analysis, ...]
    links: Mapping[str, Path]
    notes: tuple[str, ...]
    captions: Captions = field(default_factory=dict)

    @property
    def space(self) -> str:
        """The space of all runs."""
        return self.runs[0].run.entities.get("space", "native")

    @property
    def task(self) -> str | None:
        """The task, where all runs share one."""
        tasks = {run.run.entities.get("task") for run in self.runs}
        return tasks.pop() if len(tasks) == 1 else None

    @property
    def work(self) -> Path:
        """Where this participant's intermediate results are kept."""
        return self.settings.work / f"sub-{self.subject}"

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of an input."""
        links = sorted(self.links.items(), key=lambda item: -len(str(item[1])))
        for name, root in links:
            if path.is_relative_to(root):
                return f"bids:{name}:{path.relative_to(root).as_posix()}"
        return f"stimuli:{path.name}"

    def checksums(self, paths: list[Path]) -> dict[str, str]:
        """Return the SHA-256 of inputs by their URIs."""
        dry = self.settings.dry_run
        store = Checksums(None if dry else self.work / "checksums.json")
        return store.of({self.uri(path): path for path in paths})

    def positions(self, stimuli: pd.Series) -> np.ndarray:
        """Return the position of each stimulus among the pictures, (n,)."""
        order = {name: row for row, name in enumerate(self.pictures)}
        return stimuli.map(order).to_numpy(int)

    def estimator(self, recipe: Recipe) -> Method:
        """Return the recipe's response estimator, or that responses are given."""
        return GIVEN if self.runs[0].run.given else recipe.responses.estimator


def derive_seed(seed: int, *names: str) -> int:
    """Return a seed for one stage of one participant."""
    digest = sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def make_plan(dataset: Dataset, subject: str, recipes: tuple[Recipe, ...]) -> Plan:
    """Find and check all that a participant's stages will read.

    Raises
    ------
    UserError
        If something is missing or does not fit together.
    """
    settings = dataset.settings
    runs = find_runs(dataset, subject)
    without = runs_without_events(dataset, subject, runs)
    notes = list(dataset.notes)
    if without:
        notes.append(f"{without} runs without events were left out.")
    if runs[0].given:
        notes.append("Single-trial responses that others estimated were read.")
    planned, dropped = [], Counter()
    for run in runs:
        plan, counts = _plan_run(run, settings)
        planned.append(plan)
        dropped.update(counts)
    notes += [f"{count} {what}." for what, count in sorted(dropped.items())]
    _check_grids(planned)
    folder = settings.stimuli or settings.bids_dir / "stimuli"
    plan = Plan(
        settings=settings,
        subject=subject,
        runs=tuple(planned),
        pictures={},
        roi_files=tuple(find_roi_files(dataset, subject)),
        analyses=tuple(
            analysis for recipe in recipes for analysis in _analyses(recipe, settings)
        ),
        links={**dataset.links, "stimuli": folder},
        notes=tuple(notes),
    )
    plan = _with_pictures(plan, folder)
    if any(reads_captions(s) for recipe in recipes for s in recipe.decode.values()):
        plan = _with_captions(plan, folder)
    return plan


def _plan_run(run: Run, settings: Settings) -> tuple[RunPlan, Counter[str]]:
    image = open_image(run.bold)
    if len(image.shape) != 4:
        raise UserError(
            f"{run.bold}: expected a 4-D image, found one of shape {image.shape}."
        )
    dropped: Counter[str] = Counter()
    n_volumes = image.shape[3]
    if run.given:
        trials = read_trial_table(run, n_volumes, settings.stimulus_column)
        return RunPlan(run, trials, n_volumes, 0.0, 0.0), dropped
    repetition_time = _repetition_time(run, image)
    events = read_events(run.table, settings.stimulus_column, settings.trials)
    table = pd.concat([events.trials, events.nuisance], ignore_index=True)
    late = table["onset"] >= n_volumes * repetition_time
    if late.any():
        dropped["events begin after the end of their run and were dropped"] += int(
            late.sum()
        )
    table = table[~late].reset_index(drop=True)
    for name in ("session", "task", "run"):
        table[name] = run.entities.get(name, "n/a")
    table = table[[*TRIAL_COLUMNS, *(c for c in table if c not in TRIAL_COLUMNS)]]
    start_time = float(run.metadata.get("StartTime", 0.0))
    return RunPlan(run, table, n_volumes, repetition_time, start_time), dropped


def _repetition_time(run: Run, image: object) -> float:
    header = image.header
    seconds = {"msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1.0)
    in_header = float(header.get_zooms()[3]) * seconds
    in_sidecar = run.metadata.get("RepetitionTime")
    if in_sidecar is None:
        if in_header <= 0:
            raise UserError(
                f"{run.bold}: neither its sidecar (RepetitionTime) nor its header says "
                "how long a volume takes. Add RepetitionTime to the JSON sidecar."
            )
        return in_header
    try:
        in_sidecar = float(in_sidecar)
    except (TypeError, ValueError):
        in_sidecar = -1.0
    if in_sidecar <= 0:
        raise UserError(
            f"{run.bold}: RepetitionTime in its sidecar is "
            f"{run.metadata['RepetitionTime']!r}; expected seconds above 0."
        )
    # A header of 0 or 1 without a unit was never filled in.
    unset = in_header <= 0 or (
        in_header == 1.0 and header.get_xyzt_units()[1] == "unknown"
    )
    if not unset and abs(in_header - in_sidecar) > 0.01 * in_sidecar:
        raise UserError(
            f"{run.bold}: the sidecar says that a volume takes {in_sidecar:g} s, the "
            f"header {in_header:g} s. Mend the one that is wrong."
        )
    return in_sidecar


def _check_grids(plans: list[RunPlan]) -> None:
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
        rois = {
            name: tuple(sets.get(roi, RoiSet(roi, (roi,))) for roi in step.rois)
            or (BRAIN,)
            for name, step in recipe.decode.items()
        }
        return [Analysis(recipe, camel_case(" ".join(recipe.rois)), rois)]
    return [
        Analysis(recipe, roi.name, dict.fromkeys(recipe.decode, (roi,)))
        for roi in sets.values() or (BRAIN,)
    ]


def _with_pictures(plan: Plan, folder: Path) -> Plan:
    """Find the pictures of all trials, and give equal pictures one name."""
    shown = pd.concat([run.trials for run in plan.runs], ignore_index=True)
    names = shown.loc[shown["role"].isin(("trial", "repeat")), "stimulus"].dropna()
    if names.empty:
        roles = dict(Counter(shown["role"]))
        raise UserError(
            f"sub-{plan.subject}: none of its events shows a picture; found "
            f"{roles or 'no trials at all'}. Say which rows are trials with --trials "
            "EXPRESSION and which column names the picture with --stimulus-column "
            "NAME.",
            Status.NOTHING_SELECTED,
        )
    stimuli = Stimuli(folder, plan.settings.stimulus_map)
    found = stimuli.find(sorted(names.unique()))
    digests = plan.checksums(sorted(set(found.values())))
    canonical: dict[str, str] = {}
    by_content: dict[str, Path] = {}
    for name, path in found.items():
        first = by_content.setdefault(digests[plan.uri(path)], path)
        canonical[name] = first.relative_to(folder).as_posix()
    twins = len(set(found.values())) - len(by_content)
    notes = plan.notes
    if twins:
        notes += (
            f"{twins} pictures equal another one under a different name; they count "
            "as the same picture.",
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
    pictures = {
        path.relative_to(folder).as_posix(): path for path in by_content.values()
    }
    return replace(
        plan, runs=runs, pictures=dict(sorted(pictures.items())), notes=notes
    )


def _with_captions(plan: Plan, folder: Path) -> Plan:
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


def memory_of(plan: Plan) -> int:
    """Return about how many MB the largest run takes, the libraries included.

    A run is held once as it was read and once as it is worked on, with its responses.
    """
    largest = 0
    for run in plan.runs:
        shape = open_image(run.run.bold).shape
        n_voxels = int(np.prod(shape[:3]))
        if run.run.mask is not None:
            n_voxels = int((read_volume(run.run.mask)[0] > 0.5).sum())
        largest = max(largest, n_voxels * (2 * run.n_volumes + 3 * len(run.trials)))
    return LIBRARIES_MB + 4 * largest // 2**20


def used_rows(trials: Trials, recipe: Recipe) -> np.ndarray:
    """Return which rows a recipe reconstructs: trials, and repeats if it says so."""
    roles = ("trial", "repeat") if recipe.responses.immediate_repeats else ("trial",)
    return trials["role"].isin(roles).to_numpy()


def load_plan_pictures(plan: Plan, recipe: Recipe) -> np.ndarray:
    """Return all pictures (n_stimuli, 3, H, W) at the recipe's size, memory-mapped."""
    paths = list(plan.pictures.values())
    digests = plan.checksums(paths)
    size = common_size(paths, recipe.picture_size)
    return load_pictures(
        paths, [digests[plan.uri(path)] for path in paths], size, plan.work
    )

"""What is to be done for a participant: runs, trials, pictures, regions, recipes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_recon.dataset.captions import Captions
from bids_recon.dataset.checksums import Checksums
from bids_recon.dataset.convention import PaperSplit, convention_called
from bids_recon.dataset.derivatives import camel_case
from bids_recon.dataset.layout import RoiFile, Run
from bids_recon.dataset.stimuli import (
    common_size,
    is_grey,
    load_pictures,
)
from bids_recon.datatypes import NUISANCE, Trials
from bids_recon.errors import UserError
from bids_recon.evaluation.folds import Fold, Sides, Split
from bids_recon.evaluation.splits import FILE, make_split
from bids_recon.evaluation.train_fraction import with_train_fraction
from bids_recon.pictures import Pictures
from bids_recon.recipe import Method, Recipe
from bids_recon.settings import RoiSet, Settings

GIVEN = Method("given")


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
    convention : str
        The habit by which its events were read.
    """

    run: Run
    trials: Trials
    n_volumes: int
    repetition_time: float
    start_time: float
    convention: str = "bids"

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
    def key(self) -> str:
        """What tells it from others of a participant."""
        return f"{self.desc} {self.label}"

    @property
    def desc(self) -> str:
        """The recipe's name as it stands in a file name."""
        return camel_case(self.recipe.output_name)

    @property
    def roi_sets(self) -> tuple[RoiSet, ...]:
        """All regions that the recipe reads."""
        return tuple(dict.fromkeys(roi for rois in self.rois.values() for roi in rois))


@dataclass(frozen=True)
class Model:
    """Decoders that an earlier run trained.

    Parameters
    ----------
    output_dir : Path
        The outputs of that run.
    decoder : Path
        What decoders learned.
    generator : Path or None
        What the generator learned, if it does.
    fold : str
        The name under which all of it stands.
    picture_size : (int, int), pixels
        Height and width of pictures in training.
    masks : mapping of str to Path
        The voxels of each region.
    known : frozenset of str
        What tells the training pictures, the first 16 digits of the SHA-256 of their
        pixels.
    """

    output_dir: Path
    decoder: Path
    generator: Path | None
    fold: str
    picture_size: tuple[int, int]
    masks: Mapping[str, Path]
    known: frozenset[str]


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
    prior : tuple of Path
        Pictures that were never shown.
    sides_in_file : mapping of str to str
        The side of each stimulus that the file of ``--split file:PATH`` names.
    models : mapping of str to Model
        By the key of each analysis, the decoders that are applied; empty where they are
        trained.
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
    prior: tuple[Path, ...] = ()
    sides_in_file: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)

    @property
    def paper(self) -> PaperSplit | None:
        """The paper's split, where a convention of the events has one."""
        splits = (convention_called(run.convention).split for run in self.runs)
        return next((split for split in splits if split is not None), None)

    @property
    def applies(self) -> bool:
        """Whether decoders that exist are applied, and nothing is learned."""
        return self.settings.model_from is not None

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

    @property
    def main_analyses(self) -> tuple[Analysis, ...]:
        """Those that learn from the most training pictures; usually all."""
        most = max(analysis.recipe.train_fraction for analysis in self.analyses)
        return tuple(a for a in self.analyses if a.recipe.train_fraction == most)

    def variants_of(self, analysis: Analysis) -> tuple[Analysis, ...]:
        """Return an analysis on every share of the training pictures, rising."""
        same = (analysis.recipe.name, analysis.label)
        own = [a for a in self.analyses if (a.recipe.name, a.label) == same]
        return tuple(sorted(own, key=lambda a: a.recipe.train_fraction))

    @property
    def features(self) -> Path:
        """Where participants share what pretrained networks make of pictures."""
        return self.settings.work / "features"

    def uri(self, path: Path) -> str:
        """Return the BIDS URI of an input."""
        links = sorted(self.links.items(), key=lambda item: -len(str(item[1])))
        for name, root in links:
            if path.is_relative_to(root):
                return f"bids:{name}:{path.relative_to(root).as_posix()}"
        return f"stimuli:{path.name}"

    def checksums(self, paths: list[Path]) -> dict[str, str]:
        """Return the SHA-256 of inputs by their URIs."""
        store = Checksums(self.work / "checksums.json")
        return store.of({self.uri(path): path for path in paths})

    def pixel_checksums(self, paths: Sequence[Path]) -> list[str]:
        """Return the SHA-256 of what pictures show, whatever their files are."""
        store = Checksums(self.work / "checksums.json")
        found = store.of_pixels({str(path): path for path in paths})
        return [found[str(path)] for path in paths]

    def positions(self, stimuli: pd.Series) -> np.ndarray:
        """Return the position of each stimulus among the pictures, (n,).

        -1 for one that is no picture, which is so where decoders are applied only.
        """
        order = {name: row for row, name in enumerate(self.pictures)}
        return stimuli.map(order).fillna(-1).to_numpy(int)

    @property
    def own_trials(self) -> Trials:
        """The rows of all runs that get a response."""
        return pd.concat([run.own for run in self.runs], ignore_index=True)

    def estimator(self, recipe: Recipe) -> Method:
        """Return the recipe's response estimator, or that responses are given."""
        return GIVEN if self.runs[0].run.given else recipe.responses.estimator


def derive_seed(seed: int, *names: str) -> int:
    """Return a seed for one stage of one participant."""
    digest = sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def used_rows(plan: Plan, trials: Trials, recipe: Recipe) -> np.ndarray:
    """Return which rows a recipe reconstructs.

    Trials, repeats if it says so, and imagery where decoders are applied.
    """
    roles = ["trial"]
    roles += ["repeat"] if recipe.responses.immediate_repeats else []
    roles += ["imagery"] if plan.applies else []
    return trials["role"].isin(roles).to_numpy()


def split_trials(plan: Plan, recipe: Recipe, trials: Trials) -> tuple[Trials, Split]:
    """Return those of some trials that a recipe uses, and how they are divided.

    Raises
    ------
    UserError
        If no trial is left, or the split does not fit the trials.
    """
    trials = trials[used_rows(plan, trials, recipe)].reset_index(drop=True)
    if trials.empty:
        raise UserError(
            f"sub-{plan.subject}: no trial is left for the recipe {recipe.name}. Check "
            "--trials, --session-label and --task-id."
        )
    if plan.applies:
        unnamed = [f"unnamed-{row:04d}" for row in range(1, len(trials) + 1)]
        names = trials["stimulus"].fillna(pd.Series(unnamed, dtype=object))
        trials = trials.assign(stimulus=names)
        return trials, applied_split(plan, recipe, trials)
    seed = derive_seed(plan.settings.seed, plan.subject, "split")
    rule, sides = plan.settings.split, sides_of(plan, trials)

    def pictures_of() -> dict[str, np.ndarray]:
        return dict(zip(plan.pictures, load_plan_pictures(plan, recipe), strict=True))

    split = make_split(rule, trials, seed, pictures_of, sides)
    seed = derive_seed(plan.settings.seed, plan.subject, "train-fraction")
    names, fraction = trials["stimulus"].to_numpy(str), recipe.train_fraction
    return trials, with_train_fraction(split, names, fraction, seed)


def sides_of(plan: Plan, trials: Trials) -> Sides | None:
    """Return the side of each trial, by the file of ``--split`` or else the paper."""
    rule, paper = plan.settings.split, plan.paper
    if rule is not None and rule.startswith(FILE):
        named = trials["stimulus"].map(plan.sides_in_file)
        return Sides(named.to_numpy(object), f"the file {rule.removeprefix(FILE)}")
    if paper is None:
        return None
    sides = paper.of(trials, plan.own_trials).to_numpy(object)
    return Sides(sides, paper.source)


def split_settings(plan: Plan, recipe: Recipe) -> Any:
    """Return what decides which trials are learned on, besides the trials."""
    rule, share = _rule_settings(plan), recipe.train_fraction
    return rule if share == 1 else {"rule": rule, "train_fraction": share}


def _rule_settings(plan: Plan) -> Any:
    rule, paper = plan.settings.split, plan.paper
    if rule is not None and rule.startswith(FILE):
        return {"rule": "file", "sides": dict(sorted(plan.sides_in_file.items()))}
    if rule in (None, "paper") and paper is not None:
        return {"rule": rule, "paper": paper.model_dump(mode="json")}
    return rule


def applied_split(plan: Plan, recipe: Recipe, trials: Trials) -> Split:
    """Return the split of trials to which decoders are applied: all are tested."""
    model = model_of(plan, recipe)
    digests = plan.pixel_checksums(list(plan.pictures.values()))
    known = {
        name
        for name, digest in zip(plan.pictures, digests, strict=True)
        if digest[:16] in model.known
    }
    shown = set(trials["stimulus"].dropna())
    without = int((~trials["stimulus"].isin(plan.pictures)).sum())
    sentence = (
        f"Decoders that were trained before, on {len(model.known)} pictures, were "
        f"applied to {len(trials)} trials; nothing was learned from these. "
    )
    if without:
        sentence += (
            f"{without} of them show no picture: they are reconstructed and not "
            "scored. "
        )
    both = len(known & shown)
    sentence += (
        f"{both} of {len(shown & set(plan.pictures))} pictures that were tested were "
        "also learned on."
    )
    every = np.arange(len(trials))
    fold = Fold(model.fold, every[:0], every)
    groups = trials["stimulus"].astype(str).to_numpy()
    return Split("model", (fold,), groups, both > 0, sentence)


def model_of(plan: Plan, recipe: Recipe) -> Model:
    """Return the decoders of a recipe; regions share what is asked of them here."""
    keys = [a.key for a in plan.analyses if a.recipe.name == recipe.name]
    return plan.models[keys[0]]


def load_plan_pictures(plan: Plan, recipe: Recipe) -> Pictures:
    """Return all pictures (n_stimuli, 3, H, W) at the recipe's size, memory-mapped.

    Where decoders are applied, at the size they were trained with.
    """
    paths = list(plan.pictures.values())
    if plan.applies:
        size = model_of(plan, recipe).picture_size
        if not paths:
            return Pictures.of(np.empty((0, 3, *size), dtype=np.uint8))
        return load_at(plan, paths, size)
    return load_at(plan, paths, common_size(paths, recipe.picture_size))


def load_at(plan: Plan, paths: Sequence[Path], size: tuple[int, int]) -> Pictures:
    """Return pictures (n, 3, *size), memory-mapped; each is read once."""
    paths = list(paths)
    digests = plan.checksums(paths)
    return load_pictures(
        paths,
        [digests[plan.uri(path)] for path in paths],
        size,
        plan.settings.work / "pictures",
    )


def load_prior(plan: Plan, pictures: Pictures) -> Pictures:
    """Return pictures never shown (n_prior, 3, H, W), at the size of those shown.

    They are made grey where all that were shown are.
    """
    return in_colours_of(load_at(plan, plan.prior, pictures.shape[2:]), pictures)


def in_colours_of(prior: Pictures, pictures: Pictures) -> Pictures:
    """Return pictures (n, 3, H, W), made grey where all others are and they are not."""
    if is_grey(pictures) and not is_grey(prior):
        grey = np.asarray(prior).mean(axis=1, keepdims=True)
        return Pictures.of(np.repeat(grey, 3, axis=1))
    return prior

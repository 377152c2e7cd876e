"""The pictures of a fold: from decoded features, and what bounds their scores."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.stimuli import at_size, save_picture
from bids_recon.datatypes import Decoded, FeatureSpace, Targets
from bids_recon.decoders.state import restore, state_of
from bids_recon.errors import UserError
from bids_recon.evaluation.folds import Fold
from bids_recon.evaluation.metrics import correlation_matrix
from bids_recon.files import write_whole
from bids_recon.machine import Machine
from bids_recon.pictures import BLOCK_VALUES
from bids_recon.plan.methods import feeds_of, generator_of
from bids_recon.plan.plan import Analysis, Plan, derive_seed
from bids_recon.recipe import Recipe
from bids_recon.stages.decode.again import state_below
from bids_recon.stages.decode.features import COMPARED, teller
from bids_recon.stages.decode.fold_data import Material, fold_pictures
from bids_recon.stages.decode.stage import decoded_path, learned_space

logger = logging.getLogger("bids_recon")

COMPARED_AT_ONCE = 512
"""Decoded features that are compared with all training pictures at a time."""

LIMITS = ("recovery", "nearest")


def limits_of(plan: Plan, recipe: Recipe) -> tuple[str, ...]:
    """Return which bounds of the scores are made; none without training pictures."""
    if plan.applies:
        return ()
    return LIMITS if recipe.recovery else tuple(k for k in LIMITS if k != "recovery")


def limit_path(plan: Plan, analysis: Analysis, fold: Fold, kind: str) -> Path:
    """Return where what bounds the scores of a fold is kept; ``kind`` of ``LIMITS``.

    ``recovery`` holds what the generator makes of the true features, pictures
    (n_test, 3, H, W); ``nearest`` the position (n_test,) of the training picture whose
    features correlate best with the decoded ones.
    """
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.file_name}_{kind}.npy"


class Maker:
    """Makes the pictures of an analysis, fold by fold.

    Parameters
    ----------
    plan : Plan
    analysis : Analysis
    material : Material
        What its folds are made of.
    machine : Machine
        Where to compute.
    """

    def __init__(
        self, plan: Plan, analysis: Analysis, material: Material, machine: Machine
    ) -> None:
        self.plan, self.analysis = plan, analysis
        self.material, self.machine = material, machine
        self.recipe, self.feeds = analysis.recipe, feeds_of(analysis.recipe)
        self.generator = generator_of(self.recipe, machine)
        self.model = plan.models.get(analysis.key)
        self.states: dict[str, np.ndarray] = {}
        self.at_once = getattr(self.generator, "at_once", None)

    def make(
        self, fold: Fold, rows: pd.DataFrame, folder: Path
    ) -> dict[str, float] | None:
        """Write the pictures of a fold, and return what the generator learned for it.

        Parameters
        ----------
        fold : Fold
            Of the split.
        rows : DataFrame
            Its part of the listing.
        folder : Path
            Where pictures go.
        """
        train_picture, test_picture = fold_pictures(self.material, fold, self.recipe)
        gallery, spaces = self.material.gallery, self._spaces(fold)
        learned, test = None, {}
        if len(rows):
            test = self._decoded(fold, "test", spaces)
        if self.model is not None and self.model.generator is not None:
            restore(
                self.generator,
                state_below(self.model.generator, f"{self.model.fold}/"),
            )
            learned = self.generator.learned(test)
        elif hasattr(self.generator, "fit"):
            train = self._decoded(fold, "train", spaces)
            self.generator.fit(train, gallery.pictures[train_picture])
            learned = self.generator.learned(train)
            found = state_of(self.generator)
            self.states |= {f"{fold.name}/{name}": v for name, v in found.items()}
        if not len(rows):
            return learned
        self._limits(fold, test, train_picture, test_picture)
        if self.at_once is not None:
            test = self._with_first_pictures(test, fold)
            self._some_at_once(fold, test, rows, folder)
        elif getattr(self.generator, "one_by_one", False):
            self._one_by_one(fold, self._with_first_pictures(test, fold), rows, folder)
        else:
            for part, made in self._blocks(fold, test):
                for name, picture in zip(rows["image"].iloc[part], made, strict=True):
                    save_picture(picture, folder / name)
        return learned

    def first_pictures(self, fold: Fold) -> None:
        """Make the pictures that the generator begins with, where they are not there.

        Those of all folds are made before the generator loads its networks, so that
        there are never two on the device.
        """
        spaces = self._spaces(fold)
        for need in getattr(self.generator, "as_pictures", ()):
            name, path = self.feeds.get(need), self._first_path(fold, need)
            if name is not None and not path.is_file():
                made = spaces[name].decode(self._values(fold, name, "test"))
                write_whole(path, lambda part, made=made: np.save(part, made))

    def first_paths(self, fold: Fold) -> list[Path]:
        """Return where the pictures that the generator begins with are kept."""
        needs = getattr(self.generator, "as_pictures", ())
        return [self._first_path(fold, need) for need in needs]

    def _first_path(self, fold: Fold, need: str) -> Path:
        folder = self.plan.work / f"{self.analysis.desc}_{self.analysis.label}"
        return folder / f"{fold.file_name}_{need}_pictures.npy"

    def _with_first_pictures(
        self, decoded: dict[str, Decoded], fold: Fold
    ) -> dict[str, Decoded]:
        """Put first pictures in the place of the features that they were made of."""
        return {
            need: replace(
                part, values=np.load(self._first_path(fold, need), mmap_mode="r")
            )
            if need in getattr(self.generator, "as_pictures", ())
            else part
            for need, part in decoded.items()
        }

    def _spaces(self, fold: Fold) -> dict[str, FeatureSpace]:
        """Return the feature spaces that feed the generator, as fitted in a fold."""
        return {
            name: learned_space(self.plan, self.analysis, fold, name, self.machine)
            for name in set(self.feeds.values())
        }

    def _blocks(
        self, fold: Fold, decoded: dict[str, Decoded]
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield what is made of some trials at a time, in whole batches."""
        seed = seed_of(self.plan, self.recipe, fold.name)
        n_trials = len(next(iter(decoded.values())).values)
        step = self._at_a_time
        for start in range(0, n_trials, step):
            part = slice(start, min(start + step, n_trials))
            some = {
                need: Decoded(own.values[part], own.space)
                for need, own in decoded.items()
            }
            yield part, self.generator.generate(some, seed)

    @property
    def _at_a_time(self) -> int:
        """How many pictures are made and held at a time."""
        if self.at_once is not None:
            return self.at_once
        shape = self.material.gallery.pictures.shape[1:]
        return max(1, BLOCK_VALUES // int(np.prod(shape)))

    def _decoded(
        self, fold: Fold, side: str, spaces: Mapping[str, FeatureSpace]
    ) -> dict[str, Decoded]:
        return {
            need: Decoded(self._values(fold, name, side), spaces[name])
            for need, name in self.feeds.items()
        }

    def _values(self, fold: Fold, name: str, side: str) -> np.ndarray:
        path = decoded_path(self.plan, self.analysis, fold, name, side)
        values = np.load(path, mmap_mode="r")
        # Training trials that could not be held out have none.
        if side == "test" and not all(np.isfinite(row).all() for row in values):
            raise UserError(
                f"{path}: decoded features hold values that are not numbers. Do the "
                "responses (see the page, or the statmap files) hold any?"
            )
        return values

    def _one_by_one(
        self,
        fold: Fold,
        decoded: dict[str, Decoded],
        rows: pd.DataFrame,
        folder: Path,
    ) -> None:
        """Make the pictures that are not there yet, one by one."""
        name = f"sub-{self.plan.subject} {self.recipe.output_name} {fold.name}"
        numbers = rows.groupby(["trial"], sort=False).ngroup()
        there = [(folder / image).is_file() for image in rows["image"]]
        if any(there):
            logger.info("%s: %d of %d pictures are there", name, sum(there), len(rows))
        tell = teller(f"{name} pictures", len(rows), sum(there))
        done = sum(there)
        for image, number, made in zip(rows["image"], numbers, there, strict=True):
            if made:
                continue
            one = {
                need: Decoded(part.values[number : number + 1], part.space)
                for need, part in decoded.items()
            }
            seed = seed_of(self.plan, self.recipe, image)
            save_picture(self.generator.generate(one, seed)[0], folder / image)
            done += 1
            tell(done)

    def _some_at_once(
        self,
        fold: Fold,
        decoded: dict[str, Decoded],
        rows: pd.DataFrame,
        folder: Path,
    ) -> None:
        """Make the pictures that are not there yet, and keep the curves of their loss.

        Those that are computed at once are always the same, so that a run that was
        killed ends with the same bytes.
        """
        name = f"sub-{self.plan.subject} {self.recipe.output_name} {fold.name}"
        images, seed = list(rows["image"]), seed_of(self.plan, self.recipe, fold.name)
        tell = teller(f"{name} pictures", len(images))
        for first in range(0, len(images), self.at_once):
            part = slice(first, first + self.at_once)
            curves = [self.curve_path(image) for image in images[part]]
            pictures = [folder / image for image in images[part]]
            if all(path.is_file() for path in [*pictures, *curves]):
                continue
            some = {
                need: Decoded(own.values[part], own.space)
                for need, own in decoded.items()
            }
            made = self.generator.generate(some, seed)
            for path, curve in zip(curves, self.generator.curves, strict=True):
                write_whole(path, lambda new, curve=curve: np.save(new, curve))
            for path, picture in zip(pictures, made, strict=True):
                save_picture(picture, path)
            tell(first + len(pictures))

    def curve_path(self, image: str) -> Path:
        """Return where the loss before each step of a picture is kept."""
        folder = self.plan.work / f"{self.analysis.desc}_{self.analysis.label}"
        return folder / f"{Path(image).stem}_loss.npy"

    def _limits(
        self,
        fold: Fold,
        test: dict[str, Decoded],
        train_picture: np.ndarray,
        test_picture: np.ndarray,
    ) -> None:
        """Write what bounds the scores of a fold, where it is not there yet."""
        gallery = self.material.gallery

        def recovery() -> np.ndarray:
            # Trials that showed one picture have its features in common.
            distinct, rows = np.unique(test_picture, return_inverse=True)
            size, parts = gallery.pictures.shape[2:], []
            seed = seed_of(self.plan, self.recipe, fold.name)
            for start in range(0, len(distinct), self._at_a_time):
                picture = distinct[start : start + self._at_a_time]
                true = {
                    need: Decoded(
                        np.asarray(gallery.targets(part.space, picture)), part.space
                    )
                    for need, part in test.items()
                }
                made = self.generator.generate(self._as_true_pictures(true), seed)
                parts.append(at_size(made, size))
            return np.concatenate(parts)[rows]

        def nearest() -> np.ndarray:
            known = np.unique(train_picture)
            part = test[next(iter(test))]
            features = gallery.targets(part.space, known).thinned(COMPARED)
            decoded = Targets.of(part.values).thinned(COMPARED)
            return known[nearest_of(features, decoded)]

        makers = {"recovery": recovery, "nearest": nearest}
        for kind in limits_of(self.plan, self.recipe):
            path = limit_path(self.plan, self.analysis, fold, kind)
            if not path.is_file():
                values = makers[kind]()
                write_whole(path, lambda part, values=values: np.save(part, values))

    def _as_true_pictures(self, true: dict[str, Decoded]) -> dict[str, Decoded]:
        wanted = getattr(self.generator, "as_pictures", ())
        return {
            need: Decoded(part.space.decode(part.values), part.space)
            if need in wanted
            else part
            for need, part in true.items()
        }


def nearest_of(features: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Return which features (n, n_features) correlate best with each decoded one."""
    parts = np.array_split(decoded, max(1, -(-len(decoded) // COMPARED_AT_ONCE)))
    return np.concatenate(
        [correlation_matrix(features, part).argmax(axis=1) for part in parts]
    )


def seed_of(plan: Plan, recipe: Recipe, name: str) -> int:
    """Return the seed of a fold, or of one picture."""
    return derive_seed(plan.settings.seed, plan.subject, "generate", recipe.name, name)

"""All that is learned and decoded within one fold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.datatypes import FeatureSpace, Targets
from bids_recon.decoders.state import state_of
from bids_recon.machine import Machine
from bids_recon.pictures import Pictures
from bids_recon.plan.methods import uses_prior
from bids_recon.recipe import Recipe
from bids_recon.stages.decode.baselines import beside, decoding_scores, listed
from bids_recon.stages.decode.features import COMPARED
from bids_recon.stages.decode.fold_data import FoldData, Material
from bids_recon.stages.decode.posterior import prior_of, write_posterior
from bids_recon.stages.decode.rescale import learn_scale
from bids_recon.stages.decode.step_decoder import StepDecoder, fit_space


@dataclass(frozen=True)
class StepPaths:
    """Where the files of a feature space in a fold lie.

    Parameters
    ----------
    test, train : Path
        Decoded features of test trials, and of training trials out of fold.
    training : Path
        A training that may be gone on with.
    posterior : Path
        Of test trials, for decoders that have one.
    """

    test: Path
    train: Path
    training: Path
    posterior: Path


@dataclass
class FoldResult:
    """What came of a fold.

    Parameters
    ----------
    states : dict of str to array
        What was learned.
    learned : dict
        Settings that were chosen, for a reader.
    scores : list of DataFrame
        How well features were decoded.
    maps : dict
        Where decoders read.
    """

    states: dict[str, np.ndarray] = field(default_factory=dict)
    learned: dict[str, object] = field(default_factory=dict)
    scores: list[pd.DataFrame] = field(default_factory=list)
    maps: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


class FoldDecoder:
    """Decodes all feature spaces of a recipe within one fold.

    Parameters
    ----------
    recipe : Recipe
        What is decoded.
    material : Material
        What the fold is made of.
    data : FoldData
        Its two sides.
    machine : Machine
        Where to compute.
    learns : bool
        Whether the generator learns from out-of-fold predictions.
    again : bool
        Whether decoders are to predict from what is saved of them, in another run.
    """

    def __init__(
        self,
        recipe: Recipe,
        material: Material,
        data: FoldData,
        machine: Machine,
        learns: bool,
        again: bool,
    ) -> None:
        self.recipe, self.material, self.data = recipe, material, data
        self.machine, self.learns, self.again = machine, learns, again
        self.before: StepDecoder | None = None

    def decode(self, name: str, paths: Mapping[str, StepPaths]) -> FoldResult:
        """Decode all feature spaces, and return what was learned.

        Parameters
        ----------
        name : str
            Of the fold.
        paths : mapping of str to StepPaths
            Where files of each feature space lie.
        """
        result = FoldResult()
        for step in self.recipe.decode:
            self._step(name, step, paths[step], result)
        known = np.unique(self.data.train_picture)
        shown = Pictures.of(self.material.gallery.pictures)[known]
        result.states["mean_picture"] = shown.mean()
        return result

    def _step(self, fold: str, name: str, paths: StepPaths, result: FoldResult) -> None:
        step, data = self.recipe.decode[name], self.data
        gallery, training = self.material.gallery, data.train_picture
        space = fit_space(step, gallery, training, self.machine)
        Y, prior = gallery.targets(space, training), None
        if uses_prior(step):
            prior = prior_of(step, gallery, space, training, self.machine)
        own = StepDecoder(
            step,
            self.material.region[name],
            data,
            Y,
            self.machine,
            prior,
            self.material.graphs.get(name),
            paths.training,
            self.again,
        )
        state = own.decode(paths.test, self.before)
        tested = len(data.test.values) > 0
        if tested:
            result.scores.append(self._scores(fold, name, own, space, paths.test))
        if step.rescale:
            scale = learn_scale(step.rescale, Y, own.spread)
            state |= {f"rescale.{k}": v for k, v in vars(scale).items()}
            if tested:
                scale.apply(paths.test)
        if self.learns:
            own.decode_out_of_fold(paths.train)
        self.before = own
        paths.posterior.unlink(missing_ok=True)
        if tested and prior is not None and hasattr(space, "deviation"):
            write_posterior(
                paths.posterior, own.decoder, space, own.X_test, own.n_repeats
            )
        if prior is not None:
            result.learned[f"{fold}/{name}"] = own.decoder.learned()
        if getattr(own.decoder, "mapped", ()):
            result.maps[name] = self._maps(own)
        known = Targets(Y.values, np.arange(len(Y.values))).thinned(COMPARED)
        state["mean_thinned"] = known[Y.rows].mean(axis=0)
        state |= {f"space.{k}": v for k, v in state_of(space).items()}
        result.states |= {f"{name}/{key}": value for key, value in state.items()}

    def _scores(
        self, fold: str, name: str, own: StepDecoder, space: FeatureSpace, test: Path
    ) -> pd.DataFrame:
        """Score decoded features, a ridge and the mean; nothing is learned from it."""
        data = self.data
        ridge = self.recipe.decode[name].decoder.name != "ridge"
        others = beside(own.X, own.Y, data.groups, own.X_test, ridge)
        true = self.material.gallery.targets(space, data.test_picture)
        decoded = np.load(test, mmap_mode="r")
        found = decoding_scores(decoded, true, data.test_picture, others)
        return listed(found, name, fold, data.test.trials["stimulus"])

    def _maps(self, own: StepDecoder) -> dict[str, np.ndarray]:
        result = {}
        for stat, values in own.decoder.maps(own.X).items():
            every = np.full(len(own.region), np.nan)
            every[own.chosen] = values
            result[stat] = every
        return result

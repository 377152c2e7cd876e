"""Stage 3: responses of test trials become features, fold by fold.

Everything is learned on the training trials of a fold: scale, voxels, feature space,
decoder. Where a generator learns too, training trials are decoded out of fold for it.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.datatypes import Decoder, FeatureSpace, Prior, Targets
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.state import state_of
from bids_recon.engine import Result
from bids_recon.errors import UserError
from bids_recon.evaluation.splits import Fold
from bids_recon.files import new_array, save_arrays, write_whole
from bids_recon.machine import Machine
from bids_recon.plan.methods import (
    decoder_of,
    generator_class,
    machine_of,
    space_of,
    uses_prior,
    weights_stamps,
)
from bids_recon.plan.plan import Analysis, Plan, split_settings
from bids_recon.recipe import DecodeStep, Recipe
from bids_recon.registry import build
from bids_recon.rois import SELECTIONS
from bids_recon.stages.connectivity.nodes import nodes_path, rois_of_graphs
from bids_recon.stages.decode.features import Gallery
from bids_recon.stages.decode.fold_data import (
    FoldData,
    Material,
    fold_data,
    load_material,
    trials_and_split,
)
from bids_recon.stages.decode.graphs import GraphPlan
from bids_recon.stages.decode.posterior import posterior_path, prior_of, write_posterior
from bids_recon.stages.decode.rescale import moments, rescale
from bids_recon.stages.responses import Variant, response_files
from bids_recon.stages.rois import roi_path

OUT_OF_FOLD = 5
"""Folds inside the training trials, for what a generator learns from."""


def fit_space(
    step: DecodeStep, gallery: Gallery, training: np.ndarray, machine: Machine
) -> FeatureSpace:
    """Fit a feature space to the distinct training pictures.

    A space that is widened learns from pictures that were never shown, too.
    """
    space = space_of(step, machine)
    pictures = gallery.pictures[np.unique(training)]
    if getattr(space, "widened", False) and len(gallery.prior):
        pictures = np.concatenate([pictures, gallery.prior])
    return space.fit(pictures)


class StepDecoder:
    """Decodes one feature space within one fold.

    Parameters
    ----------
    step : DecodeStep
        How.
    region : array of shape (n_voxels,), bool
        From which voxels.
    data : FoldData
        The two sides of the fold.
    Y : Targets
        Features of the training trials.
    machine : Machine
        Where to compute.
    prior : Prior, optional
        What is known of pictures beside them, for a decoder that uses it.
    graph : GraphPlan, optional
        How a graph is made, for a decoder that reads one.
    keep : Path, optional
        Where a training is kept that may be ended.
    """

    def __init__(
        self,
        step: DecodeStep,
        region: np.ndarray,
        data: FoldData,
        Y: Targets,
        machine: Machine,
        prior: Prior | None = None,
        graph: GraphPlan | None = None,
        keep: Path | None = None,
    ) -> None:
        self.step, self.region, self.data = step, region, data
        self.graph, self.keep = graph, keep
        self.Y, self.machine, self.prior = Y, machine, prior
        self.whole = _columns(data.train.values, region)

    def decode(
        self, out: Path, before: "StepDecoder | None" = None
    ) -> dict[str, np.ndarray]:
        """Write decoded features of the test side, and return what was learned.

        A ridge on the same voxels as ``before`` takes over its factorisation.
        """
        voxels = self._select(np.arange(len(self.whole)))
        self.chosen = np.flatnonzero(self.region)[voxels]
        self.X = _columns(self.whole, voxels)
        self.X_test = _columns(_columns(self.data.test.values, self.region), voxels)
        self.decoder = decoder_of(self.step, self.machine)
        if before is not None and self._shares_with(before):
            self.X, self.decoder.equations = before.X, before.decoder.equations
        if self.keep is not None and hasattr(self.decoder, "keep"):
            self.decoder.keep = self.keep
        self._fit(self.decoder, self.X, np.arange(len(self.X)), voxels)
        shape, counts = self.Y.shape[1:], self.n_repeats
        write_whole(out, partial(predict_to, self.decoder, self.X_test, shape, counts))
        return {"voxels_used": self.chosen, **state_of(self.decoder)}

    def _shares_with(self, before: "StepDecoder") -> bool:
        """Tell whether both are ridges on the same voxels."""
        ridges = all(hasattr(one.decoder, "equations") for one in (self, before))
        return ridges and np.array_equal(self.chosen, before.chosen)

    def decode_out_of_fold(self, out: Path) -> None:
        """Write what decoders predict for training trials they were not fitted on.

        NaN where there is a single group, and nothing to hold out.
        """

        def write(part: Path) -> None:
            shape = (len(self.Y), *self.Y.shape[1:])
            values = new_array(part, shape)
            values[:] = np.nan
            for held_out, predicted in self.held_out():
                values[held_out] = predicted
            values.flush()

        write_whole(out, write)

    def held_out(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield trials, and what decoders fitted on the others predict for them.

        Predictions lie in a file while they are looked at.
        """
        for train, held_out in inner_folds(self.data.groups, OUT_OF_FOLD, seed=1):
            voxels = self._select(train)
            decoder = decoder_of(self.step, self.machine)
            X = _columns(self.whole[train], voxels)
            self._fit(decoder, X, train, voxels)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "predicted.npy")
                X_out = _columns(self.whole[held_out], voxels)
                ones = np.ones(len(held_out))
                predict_to(decoder, X_out, self.Y.shape[1:], ones, path)
                yield held_out, np.load(path, mmap_mode="r")

    def spread(self, most: int) -> np.ndarray:
        """Return how much predictions of unseen trials vary about the training mean.

        Parameters
        ----------
        most : int
            About how many training trials are left out.

        Returns
        -------
        array of shape (n_targets,)
            Standard deviations.

        Raises
        ------
        UserError
            If there is nothing to leave out.
        """
        groups = self.data.groups
        if len(np.unique(groups)) < 2:
            raise UserError(
                "rescale: train holds out training pictures to learn a scale from, and "
                "there is one only. Use more pictures, or leave rescale out."
            )
        ridge = hasattr(self.decoder, "spread") and self.decoder.intercept
        if ridge and self.decoder.alphas_.min() > 0 and self.step.voxels is None:
            return self.decoder.spread(groups, most)
        squares, n_trials = np.zeros(self.Y.n_targets), 0
        for held_out, predicted in self.held_out():
            learned = np.setdiff1d(np.arange(len(self.Y)), held_out)
            mean = moments([self.Y[learned]])[0]
            for row in predicted.reshape(len(held_out), -1):
                squares += (row - mean) ** 2
            n_trials += len(held_out)
            if n_trials >= most:
                break
        return np.sqrt(squares / n_trials)

    @property
    def n_repeats(self) -> np.ndarray:
        """How many trials each test response is the mean of, (n_test,)."""
        trials = self.data.test.trials
        one = np.ones(len(trials))
        return trials["n_repeats"].to_numpy(float) if "n_repeats" in trials else one

    def _fit(
        self, decoder: Decoder, X: np.ndarray, rows: np.ndarray, voxels: np.ndarray
    ) -> None:
        """Fit a decoder to some training trials, whose responses are X."""
        Y, groups = self.Y[rows], self.data.groups[rows]
        streams = getattr(decoder, "streams", False)
        more = {}
        if self.prior is not None:
            more["prior"] = replace(self.prior, beside=self.prior.beside[rows])
        if self.graph is not None:
            chosen = np.flatnonzero(self.region)[voxels]
            trials = self.data.train.trials.iloc[rows].reset_index(drop=True)
            xyz = self.data.train.xyz[chosen]
            more["graph"] = self.graph.graph(trials, X, chosen, xyz)
        decoder.fit(X, Y if streams else np.asarray(Y), groups, **more)

    def _select(self, trials: np.ndarray) -> np.ndarray:
        """Return the voxels chosen on some training trials."""
        method = self.step.voxels
        if method is None:
            return np.arange(self.whole.shape[1])
        selection = build(SELECTIONS, "voxel selection", method.name, method.options)
        Y = np.asarray(self.Y[trials])
        chosen = selection.select(
            self.whole[trials], Y, self.data.train_picture[trials]
        )
        return np.flatnonzero(chosen)


def predict_to(
    decoder: Decoder,
    X: np.ndarray,
    shape: tuple[int, ...],
    n_repeats: np.ndarray,
    path: Path,
) -> None:
    """Write what a decoder predicts, block by block where it can."""
    if getattr(decoder, "uses_prior", False):
        np.save(path, decoder.predict(X, n_repeats))
        return
    if not getattr(decoder, "streams", False):
        np.save(path, decoder.predict(X))
        return
    out = new_array(path, (len(X), *shape))
    decoder.predict(X, out).flush()


def _columns(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return some columns; all of them without a copy."""
    every = columns.all() if columns.dtype == bool else len(columns) == values.shape[1]
    return values if every else values[:, columns]


def decoded_path(
    plan: Plan, analysis: Analysis, fold: Fold, step: str, side: str
) -> Path:
    """Return where decoded features of a fold are kept; ``side`` is test or train."""
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.file_name}_{step}_{side}.npy"


def training_path(plan: Plan, analysis: Analysis, fold: Fold, step: str) -> Path:
    """Return where the training of a network is kept while it lasts."""
    folder = plan.work / f"{analysis.desc}_{analysis.label}"
    return folder / f"{fold.file_name}_{step}_training.safetensors"


def decoder_path(plan: Plan, analysis: Analysis) -> Path:
    """Return where an analysis' decoders lie."""
    return output_path(
        plan.settings.output_dir,
        "decoder",
        subject=plan.subject,
        task=plan.task,
        label=analysis.label,
        desc=analysis.desc,
    )


def decode_stage(plan: Plan, analysis: Analysis) -> Result:
    """Decode all folds of an analysis, if that was not done yet."""
    record = _record(plan, analysis)
    _, split = trials_and_split(plan, analysis.recipe)
    learns = generator_learns(analysis.recipe)
    sides = ("test", "train") if learns else ("test",)
    outputs = {
        f"{fold.name}_{name}_{side}": decoded_path(plan, analysis, fold, name, side)
        for fold in split.folds
        for name in analysis.recipe.decode
        for side in sides
    }
    path = decoder_path(plan, analysis)
    sidecar = Sidecar(path.with_suffix(".json"), {"decoder": path, **outputs})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    material, machine = load_material(plan, analysis), machine_of(plan.settings)
    states: dict[str, np.ndarray] = {}
    learned: dict[str, object] = {}
    for fold in material.split.folds:
        states |= _decode_fold(plan, analysis, material, fold, learns, machine, learned)
    write_whole(path, lambda part: save_arrays(states, part))
    describe = {
        "Description": (
            "Decoders of each fold, as arrays named fold/feature space/array; "
            "voxels_used are positions among the voxels of the used masks together."
        ),
        "Recipe": analysis.recipe.source,
        "Split": material.split.rule,
        "SplitDescription": material.split.sentence,
        "Learned": learned,
    }
    sidecar.write(record, describe, [], machine.used)
    for fold in material.split.folds:
        for name in analysis.recipe.decode:
            training_path(plan, analysis, fold, name).unlink(missing_ok=True)
    return Result(True, reason)


def _record(plan: Plan, analysis: Analysis) -> Record:
    recipe = analysis.recipe
    variant = Variant.of(plan, recipe)
    source = recipe.source
    files = [response_files(plan, run, variant) for run in plan.runs]
    local = [roi_path(plan, roi) for roi in analysis.roi_sets]
    local += [path for file in files for path in (file.values, file.trials, file.mask)]
    local += [nodes_path(plan, rois) for rois in rois_of_graphs(analysis)]
    return Record(
        stage="decode",
        settings={
            "responses": source.get("responses", {}),
            "pictures": recipe.picture_size,
            "decode": source["decode"],
            "weights": weights_stamps(recipe, plan.settings),
            "captions": [list(own) for own in plan.captions.values()],
            "generator_learns": generator_learns(recipe),
            "split": split_settings(plan),
        },
        inputs={
            **plan.checksums([*plan.pictures.values(), *plan.prior]),
            **checksums(local),
        },
        seed=plan.settings.seed,
    )


def generator_learns(recipe: Recipe) -> bool:
    """Tell whether the recipe's generator is fitted."""
    return hasattr(generator_class(recipe), "fit")


def _decode_fold(
    plan: Plan,
    analysis: Analysis,
    material: Material,
    fold: Fold,
    learns: bool,
    machine: Machine,
    learned: dict[str, object],
) -> dict[str, np.ndarray]:
    data = fold_data(material, fold, analysis.recipe)
    states, before = {}, None
    for name, step in analysis.recipe.decode.items():
        gallery, training = material.gallery, data.train_picture
        space = fit_space(step, gallery, training, machine)
        Y, prior = gallery.targets(space, training), None
        if uses_prior(step):
            prior = prior_of(step, gallery, space, training, machine)
        own = StepDecoder(
            step,
            material.region[name],
            data,
            Y,
            machine,
            prior,
            material.graphs.get(name),
            training_path(plan, analysis, fold, name),
        )
        test = decoded_path(plan, analysis, fold, name, "test")
        state = own.decode(test, before)
        if step.rescale:
            rescale(test, step.rescale, Y, own.spread)
        if learns:
            own.decode_out_of_fold(decoded_path(plan, analysis, fold, name, "train"))
        before = own
        path = posterior_path(plan, analysis, fold, name)
        path.unlink(missing_ok=True)
        if prior is not None and hasattr(space, "deviation"):
            write_posterior(path, own.decoder, space, own.X_test, own.n_repeats)
        if prior is not None:
            learned[f"{fold.name}/{name}"] = own.decoder.learned()
        states |= {
            f"{fold.name}/{name}/{key}": _plain(value) for key, value in state.items()
        }
    return states


def _plain(value: np.ndarray) -> Any:
    value = np.ascontiguousarray(value)
    return value.astype(np.float32) if value.dtype == np.float64 else value

"""Decodes one feature space within one fold."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bids_recon.datatypes import Decoder, FeatureSpace, Prior, Targets
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.state import state_of
from bids_recon.errors import UserError
from bids_recon.files import new_array, write_whole
from bids_recon.machine import Machine
from bids_recon.plan.methods import decoder_of, space_of
from bids_recon.recipe import DecodeStep
from bids_recon.registry import build
from bids_recon.rois import SELECTIONS
from bids_recon.stages.decode.features import Gallery
from bids_recon.stages.decode.fold_data import FoldData
from bids_recon.stages.decode.graphs import GraphPlan
from bids_recon.stages.decode.rescale import moments

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
    again : bool
        Whether the decoder is to predict from what is saved of it, in another run.
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
        again: bool = False,
    ) -> None:
        self.step, self.region, self.data = step, region, data
        self.again = again
        self.graph, self.keep = graph, keep
        self.Y, self.machine, self.prior = Y, machine, prior
        self.whole = data.room.take(data.train.values, region)

    def decode(
        self, out: Path, before: "StepDecoder | None" = None
    ) -> dict[str, np.ndarray]:
        """Write decoded features of the test side, and return what was learned.

        A ridge on the same voxels as ``before`` takes over its factorisation. Where
        nothing is tested, nothing is written.
        """
        voxels = self._select(np.arange(len(self.whole)))
        self.chosen = np.flatnonzero(self.region)[voxels]
        room = self.data.room
        self.X = room.take(self.whole, voxels)
        self.X_test = room.take(self.data.test.values, self.chosen)
        self.decoder = decoder_of(self.step, self.machine)
        if before is not None and self._shares_with(before):
            self.X, self.X_test = before.X, before.X_test
            self.decoder.equations = before.decoder.equations
        if self.keep is not None and hasattr(self.decoder, "keep"):
            self.decoder.keep = self.keep
        if self.again and hasattr(self.decoder, "keeps_data"):
            self.decoder.keeps_data = True
        self._fit(self.decoder, self.X, np.arange(len(self.X)), voxels)
        shape, counts = self.Y.shape[1:], self.n_repeats
        if len(self.X_test):
            predict = partial(predict_to, self.decoder, self.X_test, shape, counts)
            write_whole(out, predict)
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
            X = self.data.room.take(self.whole, voxels, train)
            self._fit(decoder, X, train, voxels)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "predicted.npy")
                X_out = self.data.room.take(self.whole, voxels, held_out)
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
    more = {"n_repeats": n_repeats} if getattr(decoder, "uses_prior", False) else {}
    if not getattr(decoder, "streams", False):
        np.save(path, decoder.predict(X, **more))
        return
    out = new_array(path, (len(X), *shape))
    decoder.predict(X, out=out, **more).flush()

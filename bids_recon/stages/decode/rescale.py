"""Give decoded features the mean and scale of true ones, which ridge shrinks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_recon.datatypes import Targets, column_blocks
from bids_recon.errors import UserError
from bids_recon.files import new_array, write_whole
from bids_recon.stages.decode.layer_scale import FORMS, LayerScale

ENOUGH = 1000
"""Trials that give a standard deviation to about 2 %; more are not held out."""

BLOCK = 2**24
"""Values that are worked on at once."""


def rescale(
    path: Path, how: str, Y: Targets, spread: Callable[[int], np.ndarray]
) -> None:
    r"""Write :math:`(p - m) \, s_{true} / s_p + \bar y` in place of p.

    Parameters
    ----------
    path : Path
        Decoded features of the test trials (n_test, *shape).
    how : {'train', 'transductive', 'paper', 'train-centred'}
        Mean m and deviation of predictions: the mean of the training targets, about
        which predictions lie, and how much predictions of training trials that
        decoders were not fitted on vary about it; or those of the test trials
        themselves. The last two are those of ``LayerScale``.
    Y : Targets
        True features of the training trials.
    spread : callable
        Gives that deviation (n_targets,) from about so many left-out trials.

    Raises
    ------
    UserError
        If there are too few trials to learn a scale from.

    References
    ----------
    Ozcelik & VanRullen (2023), Scientific Reports 13, 15666: the transductive form.
    """
    learn_scale(how, Y, spread).apply(path)


@dataclass(frozen=True)
class Scale:
    """What predictions have, and what they get.

    Parameters
    ----------
    true_mean, true_deviation : array of shape (n_targets,)
        Of training features.
    mean, deviation : array of shape (n_targets,)
        Of predictions; empty where those of the test trials themselves are taken.
    """

    true_mean: np.ndarray
    true_deviation: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def apply(self, path: Path) -> None:
        """Give decoded features (n_test, *shape) in a file the scale of true ones."""
        values = np.load(path, mmap_mode="r")
        decoded = values.reshape(len(values), -1)
        mean, deviation = self.mean, self.deviation
        if not len(mean):
            if len(decoded) < 2:
                raise UserError(
                    "rescale: transductive takes the scale of the test trials "
                    "themselves, and there is one only. Use rescale: train."
                )
            mean, deviation = moments([decoded])
        true = self.true_mean, self.true_deviation
        factor = np.divide(
            true[1], deviation, out=np.zeros_like(true[1]), where=deviation > 1e-12
        )

        def write(part: Path) -> None:
            out = new_array(part, values.shape)
            flat = out.reshape(decoded.shape)
            for columns in column_blocks(len(decoded), decoded.shape[1], BLOCK):
                shifted = decoded[:, columns] - mean[columns]
                flat[:, columns] = shifted * factor[columns] + true[0][columns]
            out.flush()

        write_whole(path, write)


def learn_scale(
    how: str, Y: Targets, spread: Callable[[int], np.ndarray]
) -> Scale | LayerScale:
    """Return the scale that decoded features get; parameters as of ``rescale``."""
    if how in FORMS:
        return LayerScale.learn(how, Y)
    true = moments([Y])
    if how == "transductive":
        return Scale(*true, np.empty(0), np.empty(0))
    return Scale(*true, true[0], spread(ENOUGH))


def scale_again(state: Mapping[str, np.ndarray]) -> Scale | LayerScale:
    """Return a scale that was learned before, from its arrays."""
    return (Scale if "true_mean" in state else LayerScale)(**state)


def moments(parts: Iterable[np.ndarray | Targets]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over all rows of all parts, (n_targets,)."""
    n, total, squares = 0, 0.0, 0.0
    for part in map(Targets.of, parts):
        sums = np.zeros((2, part.n_targets))
        for columns in column_blocks(len(part), part.n_targets, BLOCK):
            rows = part.columns(columns).astype(np.float64)
            sums[:, columns] = rows.sum(axis=0), (rows**2).sum(axis=0)
        n, total, squares = n + len(part), total + sums[0], squares + sums[1]
    mean = total / n
    return mean, np.sqrt(np.maximum(squares / n - mean**2, 0))

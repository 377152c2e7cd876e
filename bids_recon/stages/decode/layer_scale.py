"""Give decoded features of a layer the spread over its units that true ones have.

Both published forms take one number for a layer and picture, where ``rescale: train``
takes one for each unit.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_recon.datatypes import Targets
from bids_recon.files import new_array, write_whole

FORMS = ("paper", "train-centred")

ROWS = 16
"""Pictures that are worked on at once."""


@dataclass(frozen=True)
class LayerScale:
    r"""What a layer of training pictures has.

    Without a centre, :math:`f s_0 / s(f)`, where s is the mean over channels of the
    deviation over places; over units, for a layer without places. With a centre c,
    :math:`(d - \bar d) s_0 / s(d) + \bar d + c` for d = f - c, and s over all units.

    Parameters
    ----------
    true_spread : array of shape ()
        :math:`s_0`: the mean over training pictures.
    centre : array of shape (n_units,)
        Mean of the training pictures; empty for the form without.

    References
    ----------
    Shen et al. (2019), PLOS Computational Biology 15, e1006633, with pictures of
    ImageNet in place of the training pictures (without); KamitaniLab's
    brain-decoding-cookbook-public (with).
    """

    true_spread: np.ndarray
    centre: np.ndarray

    @classmethod
    def learn(cls, how: str, Y: Targets) -> "LayerScale":
        """Learn from the distinct pictures of the training trials.

        Parameters
        ----------
        how : {'paper', 'train-centred'}
            Without a centre, or with.
        Y : Targets
            True features of the training trials.
        """
        distinct = np.unique(Y.rows)
        ddof = int(how == "train-centred")
        spreads, total = [], np.zeros(Y.shape[1:])
        for start in range(0, len(distinct), ROWS):
            values = np.asarray(Y.values[distinct[start : start + ROWS]], np.float64)
            spreads.append(_spread(values, ddof))
            total += values.sum(axis=0)
        centre = total.ravel() / len(distinct) if ddof else np.empty(0)
        return cls(np.asarray(np.concatenate(spreads).mean()), centre)

    def apply(self, path: Path) -> None:
        """Rescale decoded features (n_test, *shape) in a file."""
        values = np.load(path, mmap_mode="r")

        def write(part: Path) -> None:
            out = new_array(part, values.shape)
            for start in range(0, len(values), ROWS):
                rows = slice(start, start + ROWS)
                out[rows] = self._rescaled(np.asarray(values[rows], np.float64))
            out.flush()

        write_whole(path, write)

    def _rescaled(self, values: np.ndarray) -> np.ndarray:
        each = (len(values),) + (1,) * (values.ndim - 1)
        if not self.centre.size:
            return values * self._factor(_spread(values, 0)).reshape(each)
        centre = self.centre.reshape(values.shape[1:])
        shifted = values - centre
        mean = shifted.reshape(len(values), -1).mean(axis=1).reshape(each)
        deviation = shifted.reshape(len(values), -1).std(axis=1, ddof=1)
        return (shifted - mean) * self._factor(deviation).reshape(each) + mean + centre

    def _factor(self, spread: np.ndarray) -> np.ndarray:
        """Return by how much each picture's features grow; 1 for those of no spread."""
        there = spread > 1e-12
        return np.divide(
            float(self.true_spread), spread, out=np.ones_like(spread), where=there
        )


def _spread(values: np.ndarray, ddof: int) -> np.ndarray:
    """Return the deviation of each picture's units, (n,)."""
    if values.ndim > 2:
        channels = values.reshape(*values.shape[:2], -1)
        # One place has no deviation.
        if channels.shape[2] > 1:
            return channels.std(axis=2, ddof=ddof).mean(axis=1)
    flat = values.reshape(len(values), -1)
    return flat.std(axis=1, ddof=min(ddof, flat.shape[1] - 1))

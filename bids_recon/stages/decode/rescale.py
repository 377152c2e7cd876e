"""Give decoded features the mean and scale of true ones, which ridge shrinks."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from bids_recon.datatypes import Targets, column_blocks
from bids_recon.errors import UserError
from bids_recon.files import new_array, write_whole

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
    how : {'train', 'transductive'}
        Mean m and deviation of predictions: the mean of the training targets, about
        which predictions lie, and how much predictions of training trials that
        decoders were not fitted on vary about it; or those of the test trials
        themselves.
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
    decoded = np.load(path, mmap_mode="r").reshape(-1, Y.n_targets)
    true = moments([Y])
    if how == "transductive":
        if len(decoded) < 2:
            raise UserError(
                "rescale: transductive takes the scale of the test trials themselves, "
                "and there is one only. Use rescale: train."
            )
        mean, deviation = moments([decoded])
    else:
        mean, deviation = true[0], spread(ENOUGH)
    scale = np.divide(
        true[1], deviation, out=np.zeros_like(true[1]), where=deviation > 1e-12
    )

    def write(part: Path) -> None:
        out = new_array(part, (len(decoded), *Y.shape[1:]))
        flat = out.reshape(decoded.shape)
        for columns in column_blocks(len(decoded), Y.n_targets, BLOCK):
            shifted = decoded[:, columns] - mean[columns]
            flat[:, columns] = shifted * scale[columns] + true[0][columns]
        out.flush()

    write_whole(path, write)


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

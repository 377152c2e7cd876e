"""Some of the training pictures: nested subsets, for curves of learning."""

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

import numpy as np

from bids_recon.evaluation.folds import Fold, Split


def with_train_fraction(
    split: Split, stimuli: np.ndarray, fraction: float, seed: int
) -> Split:
    """Return a split whose folds learn from some of their training pictures.

    All trials of a picture that is kept are kept. The test side stays as it is.

    Parameters
    ----------
    split : Split
        With whole training sides.
    stimuli : array of shape (n_trials,), str
        The picture of each trial.
    fraction : float
        Which part of the training pictures is kept, above 0 and at most 1.
    seed : int
        Which ones; see ``kept_pictures``.
    """
    if fraction == 1:
        return split
    folds, counts = [], []
    for fold in split.folds:
        known = set(stimuli[fold.train])
        kept = kept_pictures(known, fraction, seed)
        rows = fold.train[np.isin(stimuli[fold.train], kept)]
        folds.append(Fold(fold.name, rows, fold.test))
        counts.append((len(kept), len(known)))
    numbers = " or ".join(f"{n} of {of}" for n, of in dict.fromkeys(counts))
    sentence = (
        f"{split.sentence} Only {100 * fraction:.10g} % of the training pictures were "
        f"learned on ({numbers}), each with all of its trials."
    )
    return replace(split, folds=tuple(folds), sentence=sentence)


def kept_pictures(names: Iterable[str], fraction: float, seed: int) -> list[str]:
    """Return the pictures that are kept of some, at least one.

    Their order depends on the seed and on each name alone, and the first are kept: what
    a smaller fraction keeps, a larger one does, too, and which other pictures there are
    does not change which of two goes first.
    """
    ordered = sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())
    n_kept = max(1, int(fraction * len(ordered) + 0.5))
    return ordered[:n_kept]

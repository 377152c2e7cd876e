"""Folds inside the training trials, for choices that must not see test trials."""

import numpy as np


def inner_folds(
    groups: np.ndarray, n_folds: int, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split trials so that those of one group stay together.

    Parameters
    ----------
    groups : array of shape (n_trials,)
        What belongs together: the picture, or the run under a split by run.
    n_folds : int
        How many folds; fewer if there are fewer groups.
    seed : int
        Which groups go together.

    Returns
    -------
    list of (array, array)
        Positions to learn on and to predict; empty if there is a single group.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    n_folds = min(n_folds, int(codes.max()) + 1)
    if n_folds < 2:
        return []
    # scikit-learn takes long to load.
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(n_folds, shuffle=True, random_state=seed)
    return list(folds.split(codes, groups=codes))

"""The voxels that say most, chosen on training trials."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_recon.errors import Status, UserError


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Return a mask of the k highest scores; the earlier voxel wins a tie."""
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    mask = np.zeros(len(scores), dtype=bool)
    mask[order[:k]] = True
    return mask


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k is at least 1, not {k}")


@dataclass(frozen=True)
class FValue:
    """The k voxels with the highest F.

    Where pictures repeat, F is that of an analysis of variance over pictures; where
    each is shown once, it is that of the regression on each target feature, averaged
    over features.

    Parameters
    ----------
    k : int
        How many voxels to keep.
    """

    k: int = 500

    def __post_init__(self) -> None:
        _check_k(self.k)

    def select(self, X: np.ndarray, Y: np.ndarray, stimuli: np.ndarray) -> np.ndarray:
        """Return a mask (n_voxels,) from training trials."""
        # scikit-learn takes long to load.
        from sklearn.feature_selection import f_classif, f_regression

        counts = pd.Series(stimuli).value_counts()
        if counts.max() > 1 and len(counts) > 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                scores = f_classif(X, stimuli)[0]
            return _best(scores, self.k)
        Y = Y.reshape(len(Y), -1)
        scores = np.zeros(X.shape[1])
        for y in Y.T[np.ptp(Y, axis=0) > 1e-9]:
            scores += np.nan_to_num(f_regression(X, y)[0])
        return _best(scores, self.k)


@dataclass(frozen=True)
class Reliability:
    """The k voxels whose responses to a picture repeat best.

    Odd and even presentations of each picture are averaged apart, and correlated over
    the pictures that were shown at least twice.

    Parameters
    ----------
    k : int
        How many voxels to keep.
    """

    k: int = 500

    def __post_init__(self) -> None:
        _check_k(self.k)

    def select(
        self,
        X: np.ndarray,
        Y: np.ndarray,  # noqa: ARG002
        stimuli: np.ndarray,
    ) -> np.ndarray:
        """Return a mask (n_voxels,) from training trials.

        Raises
        ------
        UserError
            If fewer than three pictures were shown at least twice.
        """
        stimuli = pd.Series(stimuli)
        half = stimuli.groupby(stimuli).cumcount() % 2
        table = pd.DataFrame(X).groupby([stimuli.to_numpy(), half.to_numpy()]).mean()
        first = table.xs(0, level=1)
        second = table[table.index.get_level_values(1) == 1].droplevel(1)
        if len(second) < 3:
            raise UserError(
                "Voxel selection by reliability needs at least 3 pictures that were "
                f"shown twice in training; found {len(second)}. Select by f_value.",
                Status.USAGE,
            )
        first = first.loc[second.index].to_numpy()
        first = first - first.mean(axis=0)
        second = second.to_numpy() - second.to_numpy().mean(axis=0)
        norms = np.sqrt((first**2).sum(0) * (second**2).sum(0))
        products = (first * second).sum(axis=0)
        scores = np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)
        return _best(scores, self.k)

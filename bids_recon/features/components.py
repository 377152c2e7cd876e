"""Principal components, of whatever is said of pictures."""

import numpy as np
from sklearn.decomposition import PCA


def check_components(wanted: float) -> None:
    """Check how many principal components are wanted.

    Raises
    ------
    ValueError
        If it is neither a share of variance nor a number of components.
    """
    if not (0 < wanted < 1 or (wanted >= 1 and wanted == int(wanted))):
        raise ValueError(
            "n_components is a whole number from 1, or a share of variance between 0 "
            f"and 1, not {wanted}"
        )


def principal_components(flat: np.ndarray, wanted: float) -> np.ndarray:
    """Return principal components (n_components, n_values) of rows (n, n_values).

    Parameters
    ----------
    flat : array of shape (n, n_values)
        One row per picture.
    wanted : float
        How many; below 1, the share of variance that they explain. One row of noughts
        comes back for a single picture, or pictures that are all alike.
    """
    most = min(len(flat) - 1, flat.shape[1])
    if most < 1 or np.ptp(flat, axis=0).max() < 1e-9:
        return np.zeros((1, flat.shape[1]))
    n_components = min(int(wanted), most) if wanted >= 1 else wanted
    return PCA(n_components, svd_solver="full").fit(flat).components_

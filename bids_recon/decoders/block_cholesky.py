"""Cholesky factors of symmetric matrices that are kept as blocks of rows."""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from bids_recon.decoders.block_tridiagonal import Symmetric


class BlockCholesky:
    r"""The factor of :math:`A + \alpha I = L L^\top`, for a single penalty.

    A quarter of what ``BlockTridiagonal`` takes, which solves every penalty.

    Parameters
    ----------
    matrix : Symmetric
        A, which is written over.
    alpha : float
        The penalty.

    Raises
    ------
    LinAlgError
        If the sum is not positive.
    """

    def __init__(self, matrix: Symmetric, alpha: float) -> None:
        self._parts = list(zip(matrix.rows, matrix.blocks, strict=True))
        for number, (own, block) in enumerate(self._parts):
            for before, other in self._parts[:number]:
                left = block[:, : before.start] @ other[:, : before.start].T
                block[:, before] -= left
                block[:, before] = _solved(other[:, before], block[:, before].T).T
            left = block[:, : own.start]
            pivot = block[:, own] - left @ left.T
            pivot[np.diag_indices(len(pivot))] += alpha
            block[:, own] = cholesky(pivot, lower=True, check_finite=False)

    def solve(self, values: np.ndarray) -> None:
        """Write (A + alpha I)^-1 B in place of B (n, k)."""
        for own, block in self._parts:
            values[own] -= block[:, : own.start] @ values[: own.start]
            values[own] = _solved(block[:, own], values[own])
        for own, block in reversed(self._parts):
            values[own] = _solved(block[:, own], values[own], trans=1)
            values[: own.start] -= block[:, : own.start].T @ values[own]


def _solved(lower: np.ndarray, right: np.ndarray, trans: int = 0) -> np.ndarray:
    return solve_triangular(lower, right, lower=True, trans=trans, check_finite=False)

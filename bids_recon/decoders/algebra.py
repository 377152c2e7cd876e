"""Large matrix products, on the CPU with numpy or on another device with torch."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from bids_recon.machine import Machine

if TYPE_CHECKING:
    import torch

COLUMNS = 2048
"""Voxels that are multiplied at once."""

LARGE = 1e11
"""Fewer operations than this take double precision no time, and no device is worth it.
"""


class Algebra:
    """Small problems in double precision with numpy; of large ones, products in single.

    Sums over voxels and factors are in double precision, but for those of
    ``LargeEquations``. torch is loaded for large problems only.

    Parameters
    ----------
    machine : Machine
        Where large problems are computed.
    n_operations : float
        How much there is to do.
    precise : bool
        Whether large problems are computed in double precision, too.
    """

    def __init__(
        self, machine: Machine, n_operations: float, precise: bool = False
    ) -> None:
        self.machine = machine
        self.small = n_operations < LARGE
        self.dtype = np.float64 if self.small or precise else np.float32

    @cached_property
    def device(self) -> "torch.device | None":
        """The GPU, or ``None`` where numpy computes."""
        if self.small or self.machine.device == "cpu":
            return None
        device = self.machine.torch_device
        return None if device.type == "cpu" else device

    def product(self, a: "np.ndarray | torch.Tensor", b: np.ndarray) -> np.ndarray:
        """Return a @ b; ``a`` may be what ``keep`` gave."""
        b = np.asarray(b, dtype=self.dtype)
        if self.device is None:
            return np.asarray(a, dtype=self.dtype) @ b
        return (self._there(a) @ self._there(b)).cpu().numpy()

    def keep(self, a: np.ndarray) -> "np.ndarray | torch.Tensor":
        """Return a matrix that is multiplied many times, where products are made."""
        a = np.ascontiguousarray(a, dtype=self.dtype)
        return a if self.device is None else self._there(a)

    def gram(self, a: np.ndarray, b: np.ndarray, shift: np.ndarray) -> np.ndarray:
        r"""Return :math:`(A - s)(B - s)^\top` for rows of many columns, (n_a, n_b)."""
        result = np.zeros((len(a), len(b)))
        same = a is b
        for start in range(0, a.shape[1], COLUMNS):
            part = slice(start, start + COLUMNS)
            left = (a[:, part] - shift[part]).astype(self.dtype)
            right = left if same else (b[:, part] - shift[part]).astype(self.dtype)
            result += self.product(left, right.T)
        return result

    def solve(self, K: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Return K^-1 B for a symmetric, positive K, which is written over."""
        if self.device is None or self.device.type == "mps":
            factor = cho_factor(K, lower=True, overwrite_a=True, check_finite=False)
            return cho_solve(factor, B, check_finite=False)
        import torch

        lower = torch.linalg.cholesky(torch.from_numpy(K).to(self.device))
        right = torch.from_numpy(np.ascontiguousarray(B)).to(self.device)
        return torch.cholesky_solve(right, lower).cpu().numpy()

    def eigh(self, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return eigenvalues, ascending, and eigenvectors of a symmetric K."""
        if self.device is None or self.device.type == "mps":
            return np.linalg.eigh(K)
        import torch

        values, vectors = torch.linalg.eigh(torch.from_numpy(K).to(self.device))
        return values.cpu().numpy(), vectors.cpu().numpy()

    def _there(self, a: "np.ndarray | torch.Tensor") -> "torch.Tensor":
        import torch

        if isinstance(a, torch.Tensor):
            return a
        a = np.ascontiguousarray(a, dtype=self.dtype)
        return torch.from_numpy(a).to(self.device)

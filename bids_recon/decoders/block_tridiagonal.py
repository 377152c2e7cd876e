"""Symmetric matrices as blocks of rows, and their form that solves any penalty.

One triangle is kept, so that a matrix of n rows takes half of what an array takes. The
form is the first half of what an eigendecomposition does, and the part of it that
consists of matrix products.
"""

import numpy as np
from scipy.linalg import LinAlgError, cholesky, get_lapack_funcs

WIDTH = 192
"""Rows of the blocks beside the diagonal."""

ROWS = 8 * WIDTH
"""Rows that are kept in one array."""

ROUNDINGS = 8
"""How many times the rounding of the largest eigenvalue a penalty must be."""

POWERS = 20
"""By which the largest eigenvalue is found to a few percent."""


class Symmetric:
    """A symmetric matrix, of which rows up to and with the diagonal are kept.

    Parameters
    ----------
    n : int
        Rows.
    dtype : dtype
        Of the entries.
    """

    def __init__(self, n: int, dtype: np.dtype) -> None:
        self.n, self.dtype = n, np.dtype(dtype)
        self.rows = [slice(k, min(k + ROWS, n)) for k in range(0, n, ROWS)]
        self.blocks = [
            np.zeros((own.stop - own.start, own.stop), self.dtype) for own in self.rows
        ]

    def copy(self) -> "Symmetric":
        """Return another matrix with the same entries."""
        result = Symmetric.__new__(Symmetric)
        result.n, result.dtype, result.rows = self.n, self.dtype, self.rows
        result.blocks = [block.copy() for block in self.blocks]
        return result

    def add(self, left: np.ndarray, right: np.ndarray, sign: int = 1) -> None:
        """Add left @ right for (n, k) and (k, n) whose product is symmetric."""
        for own, block in zip(self.rows, self.blocks, strict=True):
            product = left[own] @ right[:, : own.stop]
            (np.add if sign > 0 else np.subtract)(block, product, out=block)

    def part(self, chosen: np.ndarray) -> "Symmetric":
        """Return the rows and columns of some positions, which ascend."""
        result = Symmetric(len(chosen), self.dtype)
        for own, block in zip(result.rows, result.blocks, strict=True):
            columns = chosen[: own.stop]
            block[:] = self.take(chosen[own], columns)
        return result

    def take(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the entries of some rows and columns (n_rows, n_columns)."""
        result = np.empty((len(rows), len(columns)), self.dtype)
        for own, block in zip(self.rows, self.blocks, strict=True):
            inside = np.flatnonzero((rows >= own.start) & (rows < own.stop))
            known = np.flatnonzero(columns < own.stop)
            result[np.ix_(inside, known)] = block[
                np.ix_(rows[inside] - own.start, columns[known])
            ]
            # The other triangle.
            above = np.flatnonzero(rows < own.start)
            beyond = np.flatnonzero((columns >= own.start) & (columns < own.stop))
            result[np.ix_(above, beyond)] = block[
                np.ix_(columns[beyond] - own.start, rows[above])
            ].T
        return result

    def sums(self) -> np.ndarray:
        """Return the sum of each row (n,), in double precision."""
        result = np.zeros(self.n)
        for own, block in zip(self.rows, self.blocks, strict=True):
            result[own] += block.sum(axis=1, dtype=np.float64)
            left = block[:, : own.start]
            result[: own.start] += left.sum(axis=0, dtype=np.float64)
        return result

    def times(self, values: np.ndarray) -> np.ndarray:
        """Return the matrix times (n, k)."""
        result = np.zeros_like(values)
        for own, block in zip(self.rows, self.blocks, strict=True):
            result[own] += block @ values[: own.stop]
            # The other triangle.
            left = block[:, : own.start]
            result[: own.start] += left.T @ values[own]
        return result

    def least(self) -> float:
        """Return the smallest penalty that the precision tells from none.

        It follows from the largest eigenvalue, which powers of the matrix give.
        """
        vector = np.random.default_rng(0).standard_normal((self.n, 1))
        vector = vector.astype(self.dtype)
        norm = float(np.linalg.norm(vector))
        for _ in range(POWERS):
            if not norm:
                break
            vector = self.times(vector / norm)
            norm = float(np.linalg.norm(vector))
        return ROUNDINGS * float(np.finfo(self.dtype).eps) * norm


class BlockTridiagonal:
    r"""The form :math:`A = Q T Q^\top` with orthogonal Q and block-tridiagonal T.

    Householder reflections, as many at once as a block has rows, take A to T by matrix
    products alone. :math:`(A + \alpha I)^{-1} = Q (T + \alpha I)^{-1} Q^\top` follows
    for every :math:`\alpha` from T alone.

    Parameters
    ----------
    matrix : Symmetric
        A, which is written over.
    """

    def __init__(self, matrix: Symmetric) -> None:
        self.n, self.dtype, self.least = matrix.n, matrix.dtype, matrix.least()
        self.diagonal: list[np.ndarray] = []
        self.beside: list[np.ndarray] = []
        self._matrix = matrix
        self._factors: list[np.ndarray] = []
        for start in range(0, self.n, WIDTH):
            self.diagonal.append(self._entries(start, start, WIDTH).copy())
            if start + WIDTH < self.n:
                self._reduce(start)

    def _entries(self, row: int, column: int, width: int) -> np.ndarray:
        """Return at most ``width`` rows and columns that begin somewhere."""
        # Blocks of rows begin where panels do, and hold several of them.
        block = self._matrix.blocks[row // ROWS]
        own = row % ROWS
        return block[own : own + width, column : column + width]

    def _panel(self, start: int) -> np.ndarray:
        """Return a copy of the columns of a panel, below its block of the diagonal."""
        parts = self._parts(start + WIDTH)
        columns = slice(start, start + WIDTH)
        return np.concatenate([block[own, columns] for _, own, block in parts])

    def _parts(self, first: int) -> list[tuple[slice, slice, np.ndarray]]:
        """Return where rows from ``first`` on lie: rows, rows of a block, the block."""
        found = []
        for own, block in zip(self._matrix.rows, self._matrix.blocks, strict=True):
            if own.stop > first:
                start = max(own.start, first)
                inside = slice(start - own.start, own.stop - own.start)
                found.append((slice(start, own.stop), inside, block))
        return found

    def _reduce(self, start: int) -> None:
        """Take the panel that begins at ``start`` to nought below its first block."""
        first = start + WIDTH
        V, tau, beside = _reflections(self._panel(start))
        factor = _factor(V, tau)
        self.beside.append(beside)
        self._factors.append(factor)
        columns = slice(start, start + V.shape[1])
        for own, inside, block in self._parts(first):
            block[inside, columns] = V[own.start - first : own.stop - first]
        # P = A V F, W = P - V (F^T V^T P) / 2 and A - V W^T - W V^T.
        P = self._times(V @ factor, first)
        W = P - V @ (factor.T @ (V.T @ P) / 2)
        left, right = np.hstack([V, W]), np.hstack([W, V]).T
        for own, inside, block in self._parts(first):
            rows = slice(own.start - first, own.stop - first)
            block[inside, first:] -= left[rows] @ right[:, : own.stop - first]

    def _times(self, right: np.ndarray, first: int) -> np.ndarray:
        """Return the matrix from ``first`` on, times (n - first, k)."""
        result = np.zeros_like(right)
        for own, inside, block in self._parts(first):
            rows = slice(own.start - first, own.stop - first)
            result[rows] += block[inside, first:] @ right[: rows.stop]
            # The other triangle, but for the part at the diagonal.
            left = block[inside, first : own.start]
            result[: left.shape[1]] += left.T @ right[rows]
        return result

    def turn(self, values: np.ndarray) -> None:
        """Write Q^T B in place of B (n, k)."""
        for number in range(len(self.beside)):
            self._reflect(values, number, self._factors[number].T)

    def turn_back(self, values: np.ndarray) -> None:
        """Write Q B in place of B (n, k)."""
        for number in reversed(range(len(self.beside))):
            self._reflect(values, number, self._factors[number])

    def _reflect(self, values: np.ndarray, number: int, factor: np.ndarray) -> None:
        start = number * WIDTH
        first, columns = start + WIDTH, slice(start, start + len(factor))
        parts = self._parts(first)
        inner = sum(block[own, columns].T @ values[rows] for rows, own, block in parts)
        inner = factor @ inner
        for rows, own, block in parts:
            values[rows] -= block[own, columns] @ inner

    def solve(self, values: np.ndarray, alpha: float) -> np.ndarray:
        """Return (T + alpha I)^-1 B for B (n, k).

        Raises
        ------
        LinAlgError
            If the penalty is too small to tell the matrix from one without an inverse.
        """
        if alpha < self.least:
            raise LinAlgError(f"a penalty of {alpha:g}, where {self.least:g} is least")
        result = np.empty_like(values)
        lower: list[np.ndarray] = []
        for number, block in enumerate(self.diagonal):
            own = slice(number * WIDTH, number * WIDTH + len(block))
            pivot = block + alpha * np.eye(len(block), dtype=self.dtype)
            right = values[own]
            if number:
                over = lower[-1] @ self.beside[number - 1].T
                pivot -= over.T @ over
                before = slice(own.start - WIDTH, own.start)
                right = right - over.T @ result[before]
            factor = cholesky(pivot, lower=True, check_finite=False)
            (invert,) = get_lapack_funcs(("trtri",), (factor,))
            inverse = np.ascontiguousarray(invert(factor, lower=True)[0])
            lower.append(inverse)
            result[own] = inverse @ right
        for number in reversed(range(len(self.diagonal))):
            own = slice(number * WIDTH, number * WIDTH + len(self.diagonal[number]))
            right = result[own]
            if number + 1 < len(self.diagonal):
                over = lower[number] @ self.beside[number].T
                right = right - over @ result[own.stop : own.stop + over.shape[1]]
            result[own] = lower[number].T @ right
        return result


def _reflections(panel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return reflections V (n, k), their weights (k,) and what is left of a panel."""
    (qr,) = get_lapack_funcs(("geqrf",), (panel,))
    width = min(panel.shape)
    packed, tau, _, _ = qr(panel)
    beside = np.triu(packed[:width])
    V = np.tril(packed[:, :width], -1)
    V[np.arange(width), np.arange(width)] = 1
    return np.ascontiguousarray(V), tau, beside


def _factor(V: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Return F (k, k) with which reflections are I - V F V^T at once."""
    inner = V.T @ V
    factor = np.zeros_like(inner)
    for column, weight in enumerate(tau):
        before = slice(column)
        factor[before, column] = -weight * (
            factor[before, before] @ inner[before, column]
        )
        factor[column, column] = weight
    return factor

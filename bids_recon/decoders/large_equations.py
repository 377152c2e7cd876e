"""The equations of ridge regression for problems that fill the memory."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError

from bids_recon.datatypes import Targets, fresh, row_blocks
from bids_recon.decoders.algebra import Algebra
from bids_recon.decoders.block_cholesky import BlockCholesky
from bids_recon.decoders.block_tridiagonal import BlockTridiagonal, Symmetric
from bids_recon.decoders.normal_equations import left_out
from bids_recon.errors import UserError

FEW = 20
"""Folds that are each solved anew; more of them share one factorisation."""

SHARE = 32
"""Into how many parts the memory is divided, one of which responses are read into."""


class LargeEquations:
    r"""As ``NormalEquations``, from responses that are read some trials at a time.

    What is kept are half of the smaller of :math:`K = X_c X_c^\top` and
    :math:`C = X_c^\top X_c`, and a factor for a single penalty, or a block-tridiagonal
    form from which every penalty follows. All are in the precision of the algebra.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        Responses; may be memory-mapped.
    algebra : Algebra
        The precision, and how much memory there is.
    intercept : bool
        Whether responses and targets are centred.
    """

    def __init__(self, X: np.ndarray, algebra: Algebra, intercept: bool = True) -> None:
        self.X, self.algebra, self.intercept = X, algebra, intercept
        self.dual = X.shape[0] < X.shape[1]
        self._single = False
        self._factor: tuple[float, BlockCholesky] | None = None
        self._seen: tuple[np.ndarray, np.ndarray] | None = None
        self.mean = np.zeros(X.shape[1])
        if intercept:
            for _, part in row_blocks(X, self._n_values):
                self.mean += part.sum(axis=0, dtype=np.float64)
            self.mean /= len(X)

    @property
    def single(self) -> bool:
        """Whether there is a single penalty; whoever solves says so before."""
        return self._single

    @single.setter
    def single(self, single: bool) -> None:
        self._single = single
        # One of both is held.
        if single:
            vars(self).pop("_form", None)
        else:
            self._factor = None

    @property
    def _n_values(self) -> int:
        return self.algebra.machine.mem_mb * 2**18 // SHARE

    def _centred(self, part: np.ndarray) -> np.ndarray:
        result = np.empty(part.shape, self.algebra.dtype)
        return np.subtract(part, self.mean, out=result, casting="same_kind")

    def _parts(
        self, X: np.ndarray, stop: int | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield responses, centred, some trials at a time."""
        for rows, part in row_blocks(X, self._n_values, stop):
            yield rows, self._centred(part)

    @cached_property
    def _matrix(self) -> Symmetric:
        """K or C."""
        result = Symmetric(min(self.X.shape), self.algebra.dtype)
        if not self.dual:
            for _, part in self._parts(self.X):
                result.add(part.T, part)
            return result
        for own, block in zip(result.rows, result.blocks, strict=True):
            part = self._centred(fresh(self.X)[own])
            for columns, other in self._parts(self.X, own.stop):
                block[:, columns] = part @ other.T
        return result

    @cached_property
    def _form(self) -> BlockTridiagonal:
        return BlockTridiagonal(self._matrix.copy())

    def tells(self, alpha: float) -> bool:
        """Tell whether a penalty can be told from none in the precision there is."""
        return alpha >= self._least

    @cached_property
    def _least(self) -> float:
        return self._matrix.least()

    def _left(self, X: np.ndarray) -> np.ndarray:
        """Return what predicts trials from a solution, (n_voxels or n_trials, n)."""
        if not self.dual:
            return np.ascontiguousarray(self._centred(np.asarray(X)).T)
        result = np.empty((len(self.X), len(X)), self.algebra.dtype)
        own = self._centred(np.asarray(X)).T
        for rows, part in self._parts(self.X):
            result[rows] = part @ own
        return result

    def _right(self, Y: np.ndarray) -> np.ndarray:
        """Return the right-hand sides for centred targets (n_trials, n_targets)."""
        if self.dual:
            return np.array(Y, self.algebra.dtype, order="C")
        result = np.zeros((self.X.shape[1], Y.shape[1]), self.algebra.dtype)
        for rows, part in self._parts(self.X):
            result += part.T @ Y[rows].astype(self.algebra.dtype, copy=False)
        return result

    def _solve(self, right: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Write (K or C + alpha I)^-1 B in place of B, with a penalty per column."""
        if self.single:
            self._factor_of(alphas[0]).solve(right)
            return right
        self._form.turn(right)
        solve_columns(self._form, right, alphas)
        self._form.turn_back(right)
        return right

    def _factor_of(self, alpha: float) -> BlockCholesky:
        """Return the factor of a penalty; that which was asked for last is kept."""
        if self._factor is None or self._factor[0] != alpha:
            if not self.tells(alpha):
                raise _cannot_be_told(alpha)
            self._factor = None
            try:
                self._factor = alpha, BlockCholesky(self._matrix.copy(), alpha)
            except LinAlgError as error:
                raise _cannot_be_told(alpha) from error
        return self._factor[1]

    def coefficients(self, Y: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        """Return weights of voxels (n_voxels, n_targets), of centred targets.

        ``alphas`` (n_targets,) are their penalties.
        """
        solved = self._solve(self._right(Y), alphas)
        if not self.dual:
            return solved
        result = np.zeros((self.X.shape[1], Y.shape[1]), self.algebra.dtype)
        for rows, part in self._parts(self.X):
            result += part.T @ solved[rows]
        return result

    def weights(self, X_test: np.ndarray, alpha: float) -> np.ndarray:
        r"""Return :math:`W = K_{test} (K + \alpha I)^{-1}`, (n_test, n_trials)."""
        # Ridges that share their equations predict the same trials.
        if self._seen is not None and self._seen[0] is X_test:
            left = self._seen[1].copy()
        else:
            left = self._left(X_test)
            small = left.size <= self._n_values
            self._seen = (X_test, left.copy()) if small else None
        solved = self._solve(left, np.full(left.shape[1], alpha)).T
        return solved if self.dual else self._to_trials(solved)

    def _to_trials(self, weights: np.ndarray) -> np.ndarray:
        """Multiply (n, n_voxels) by the training responses, (n, n_trials)."""
        result = np.empty((len(weights), len(self.X)), self.algebra.dtype)
        for rows, part in self._parts(self.X):
            result[:, rows] = weights @ part.T
        return result

    def targets_first(self, n_test: int, Y: Targets, n_alphas: int) -> bool:
        """Tell whether it takes less to solve for the targets than for the trials."""
        n, n_trials = min(self.X.shape), len(self.X)
        of_one = 2 * n if self.single else 4 * n
        of_targets = Y.n_targets * (of_one + 2 * n_test)
        of_trials = n_test * (n_alphas * of_one + 2 * Y.n_targets * len(Y.values) / n)
        if not self.dual:
            of_targets += 2 * Y.n_targets * n_trials
            of_trials += 2 * n_alphas * n_test * n_trials
        return of_targets < of_trials

    def predictions(
        self, X: np.ndarray, Y: Targets, alphas: np.ndarray, blocks: list[slice]
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield targets, and what is predicted of them for X (n, n_voxels).

        ``alphas`` (n_targets,) are their penalties.
        """
        left = self._left(X)
        if not self.single:
            self._form.turn(left)
        for part in blocks:
            centred = Y.columns(part).astype(self.algebra.dtype, copy=False)
            mean = centred.mean(axis=0, dtype=np.float64) * self.intercept
            centred -= mean.astype(centred.dtype)
            right = self._right(centred)
            if self.single:
                self._factor_of(alphas[0]).solve(right)
            else:
                self._form.turn(right)
                solve_columns(self._form, right, alphas[part])
            yield part, left.T @ right + mean

    def cross_validated_errors(
        self,
        held_out: list[np.ndarray],
        alphas: np.ndarray,
        Y: Targets,
        blocks: list[slice],
    ) -> np.ndarray:
        """Return the summed squared error of each penalty, (n_alphas, n_targets).

        Every fold is solved for itself, one after the other, for all penalties at once.
        A penalty that the precision cannot tell from none has an infinite error.

        Parameters
        ----------
        held_out : list of array
            The trials of each fold, each in one.
        alphas : array of shape (n_alphas,)
            Above 0.
        Y : Targets
            Of all trials.
        blocks : list of slice
            Which targets are read at once.
        """
        errors = np.zeros((len(alphas), Y.n_targets))
        for out in held_out:
            rest = np.setdiff1d(np.arange(len(self.X)), out)
            matrix, left = self._without(rest, out)
            form = BlockTridiagonal(matrix)
            form.turn(left)
            for part in blocks:
                values = Y.columns(part).astype(self.algebra.dtype, copy=False)
                mean = values[rest].mean(axis=0, dtype=np.float64) * self.intercept
                values -= mean.astype(values.dtype)
                true = values[out]
                values[out] = 0
                right = values[rest] if self.dual else self._right(values)
                form.turn(right)
                for row, alpha in enumerate(alphas):
                    try:
                        difference = left.T @ form.solve(right, alpha) - true
                    except LinAlgError:
                        errors[row, part] = np.inf
                        continue
                    errors[row, part] += (difference**2).sum(axis=0, dtype=np.float64)
        return errors

    def _without(
        self, rest: np.ndarray, out: np.ndarray
    ) -> tuple[Symmetric, np.ndarray]:
        """Return K or C of the rest of the trials, and what predicts those left out."""
        if self.dual:
            matrix = self._matrix.part(rest)
            left = self._matrix.take(rest, out)
            if self.intercept:
                mean = matrix.sums() / len(rest)
                ones, whole = np.ones_like(mean), mean.mean()
                both = np.stack([mean, ones], axis=1), np.stack([ones, mean - whole])
                matrix.add(*(side.astype(matrix.dtype) for side in both), sign=-1)
                shift = left.mean(axis=0, dtype=np.float64)
                left -= (mean[:, None] + (shift - whole)).astype(left.dtype)
            return matrix, left
        matrix = self._matrix.copy()
        left = np.empty((self.X.shape[1], len(out)), self.algebra.dtype)
        total = np.zeros(self.X.shape[1])
        step = max(1, self._n_values // self.X.shape[1])
        for start in range(0, len(out), step):
            own = slice(start, start + step)
            part = self._centred(fresh(self.X)[out[own]])
            matrix.add(part.T, part, sign=-1)
            total += part.sum(axis=0, dtype=np.float64)
            left[:, own] = part.T
        if self.intercept:
            # All trials have a mean of nought.
            mean = -total / len(rest)
            side = (np.sqrt(len(rest)) * mean).astype(matrix.dtype)
            matrix.add(side[:, None], side[None], sign=-1)
            left -= mean[:, None].astype(left.dtype)
        return matrix, left

    def left_out_weights(self, groups: list[np.ndarray], alpha: float) -> np.ndarray:
        """Return what predicts the trials of each group from all the others.

        See ``NormalEquations.left_out_weights``.
        """
        rows = np.concatenate(groups)
        chosen = np.zeros((len(self.X), len(rows)), self.algebra.dtype)
        chosen[rows, np.arange(len(rows))] = 1
        alphas = np.full(len(rows), alpha)
        if self.dual:
            M = self._solve(chosen, alphas).T
        else:
            inside = np.ascontiguousarray(self._centred(fresh(self.X)[rows]).T)
            weights = self._solve(inside, alphas).T
            M = (chosen.T - self._to_trials(weights)) / alpha
        return left_out(np.array(M, dtype=np.float64), groups, alpha)


def solve_columns(
    form: BlockTridiagonal, right: np.ndarray, alphas: np.ndarray
) -> None:
    """Write (T + alpha I)^-1 B in place of B, with a penalty per column.

    Raises
    ------
    UserError
        If a penalty is too small for the precision.
    """
    chosen = np.unique(alphas)
    for alpha in chosen:
        own = slice(None) if len(chosen) == 1 else alphas == alpha
        try:
            right[:, own] = form.solve(right[:, own], alpha)
        except LinAlgError as error:
            raise _cannot_be_told(alpha) from error


def _cannot_be_told(alpha: float) -> UserError:
    return UserError(
        f"ridge: with so many trials and voxels, a penalty of {alpha:g} cannot be told "
        "from none. Give a larger alpha, or larger alphas to choose from."
    )

"""Ridge regression for any number of voxels and targets."""

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from bids_recon.datatypes import Targets, column_blocks, fresh, row_blocks
from bids_recon.decoders.algebra import Algebra
from bids_recon.decoders.inner_folds import inner_folds
from bids_recon.decoders.large_equations import FEW, LargeEquations
from bids_recon.decoders.normal_equations import NormalEquations
from bids_recon.decoders.patterns import MOST_TARGETS, linear_maps, thinning
from bids_recon.machine import Machine

ALPHAS = tuple(float(alpha) for alpha in np.logspace(0, 7, 15))
CHOICES = ("per-target", "per-feature", "global")
LEAVE_ONE_OUT = "leave-one-out"

BLOCK = 2**27
"""Bytes of the targets that are read at once."""

ENOUGH = 10_000
"""Trials, left out in turn, on which penalties are told apart well enough."""


@dataclass
class Ridge:
    r"""Minimise :math:`\|Y - XB\|^2 + \alpha \|B\|^2`, with or without an intercept.

    Targets stream through one factorisation in blocks. What is predicted is
    :math:`W (Y - \bar y) + \bar y` with :math:`W = K_{test} (K + \alpha I)^{-1}`, so
    that no coefficients are made.

    Parameters
    ----------
    alpha : {'per-target', 'per-feature', 'global'} or float
        The penalty: chosen for each target, for each row of targets (such as a token of
        CLIP) or for all together, by cross-validation inside the training trials; or
        fixed.
    alphas : sequence of float
        What it is chosen from.
    n_folds : int or 'leave-one-out'
        How many folds it is chosen with; left out are pictures, or whatever ``groups``
        keeps together. Where some of the folds leave out :data:`ENOUGH` trials, the
        others are not needed.
    intercept : bool
        Whether responses and targets are centred first; himalaya's ridge does not, and
        predictions then lie about nought.
    coefficients : bool
        Whether to make coefficients (n_voxels, n_targets), and save them.
    machine : Machine
        Where to compute.

    References
    ----------
    An, Liu & Venkatesh (2007), Pattern Recognition 40, 2154-2162: errors of every fold
    from one factorisation.
    """

    alpha: str | float = "per-target"
    alphas: tuple[float, ...] = ALPHAS
    n_folds: int | str = 5
    intercept: bool = True
    coefficients: bool = False
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    equations: NormalEquations | LargeEquations | None = field(
        default=None, init=False, repr=False, compare=False
    )
    """Those of another ridge on the same X may be put here before ``fit``."""
    keeps_data: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether training data are among what was learned, as predictions without
    coefficients need them."""

    streams: ClassVar[bool] = True
    """Takes ``Targets`` as they are, and writes predictions in blocks."""

    mapped: ClassVar[tuple[str, ...]] = ("weight", "pattern")
    """The maps that it makes."""

    def __post_init__(self) -> None:
        if isinstance(self.alpha, str) and self.alpha not in CHOICES:
            raise ValueError(
                f"alpha is {', '.join(CHOICES)} or a number, not {self.alpha!r}"
            )
        if not isinstance(self.alpha, str) and self.alpha < 0:
            raise ValueError(f"alpha is at least 0, not {self.alpha}")
        if not self.alphas or min(self.alphas) <= 0:
            raise ValueError(f"alphas are numbers above 0, not {self.alphas}")
        if isinstance(self.n_folds, str) and self.n_folds != LEAVE_ONE_OUT:
            raise ValueError(
                f"n_folds is a number or {LEAVE_ONE_OUT}, not {self.n_folds!r}"
            )
        if not isinstance(self.n_folds, str) and self.n_folds < 2:
            raise ValueError(f"n_folds is at least 2, not {self.n_folds}")

    def fit(self, X: np.ndarray, Y: np.ndarray | Targets, groups: np.ndarray) -> Self:
        """Learn from X (n_trials, n_voxels), Y (n_trials, *shape).

        ``groups`` (n_trials,) says which trials stay together inside. X and Y are not
        copied, and must be there until predictions are made.
        """
        self._Y = Y = Targets.of(Y)
        self.shape_ = Y.shape[1:]
        self._solve(X)
        self.alphas_ = self._choose(groups)
        if self._is_beyond_single_precision():
            self._solve(X, precise=True)
            self.alphas_ = self._choose(groups)
        self._penalties()
        if self.keeps_data and not self.coefficients:
            self.X_, self.targets_, self.rows_ = X, Y.values, Y.rows
        if self.coefficients:
            self.x_mean_ = self.equations.mean
            self.coef_, self.intercept_ = self._coefficients(X.shape[1])
        return self

    def _take_up(self) -> None:
        """Solve again what was solved for training data that were kept."""
        self._Y = Targets(self.targets_, self.rows_)
        self._solve(self.X_)
        if self._is_beyond_single_precision():
            self._solve(self.X_, precise=True)
        if isinstance(self.alpha, str) and isinstance(self.equations, NormalEquations):
            # As where the penalty was chosen: by eigenvectors.
            _ = self.equations.basis

    def _penalties(self) -> np.ndarray:
        """Return those that there are, and have the equations expect one or several."""
        alphas = np.unique(self.alphas_)
        if isinstance(self.equations, LargeEquations):
            self.equations.single = len(alphas) == 1
        return alphas

    def _is_beyond_single_precision(self) -> bool:
        """Tell whether the smallest penalty would be taken for none."""
        large = isinstance(self.equations, LargeEquations)
        return large and not self.equations.tells(self.alphas_.min())

    def _solve(self, X: np.ndarray, precise: bool = False) -> None:
        """Set up the equations for X, or take over those that are there."""
        fewer = min(X.shape)
        n_operations = 2.0 * len(X) * fewer * (self._Y.n_targets + fewer)
        algebra = Algebra(self.machine, n_operations, precise=precise)
        few = not isinstance(self.alpha, str) or self.n_folds in range(FEW + 1)
        exact = self.alpha == 0 or not few
        alone = algebra.small or algebra.device is not None or exact
        kind = NormalEquations if alone else LargeEquations
        before = self.equations
        if not (
            isinstance(before, kind)
            and before.X is X
            and before.intercept == self.intercept
            and (kind is NormalEquations or before.algebra.dtype == algebra.dtype)
        ):
            self.equations = kind(X, algebra, self.intercept)
        self.equations.algebra = algebra

    def _blocks(self, n_rows: int = 0) -> list[slice]:
        """Return the targets, some at a time, of which ``n_rows`` rows are held."""
        n_values = min(BLOCK, self.machine.mem_mb * 2**16) // 4
        n_rows = max(n_rows, len(self._Y.values))
        return column_blocks(n_rows, self._Y.n_targets, n_values)

    def _choose(self, groups: np.ndarray) -> np.ndarray:
        n_targets = self._Y.n_targets
        if not isinstance(self.alpha, str):
            return np.full(n_targets, float(self.alpha))
        alphas = np.asarray(self.alphas, dtype=np.float64)
        n_groups = len(np.unique(groups))
        n_folds = n_groups if isinstance(self.n_folds, str) else self.n_folds
        held_out = [test for _, test in inner_folds(groups, n_folds)]
        if not held_out:
            # One picture only: nothing to choose by, so the strongest penalty.
            return np.full(n_targets, alphas.max())
        if not isinstance(self.n_folds, str):
            before = np.cumsum([0, *map(len, held_out)])[:-1]
            held_out = held_out[: int((before < ENOUGH).sum())]
        blocks = self._blocks(max(self.equations.X.shape))
        errors = self.equations.cross_validated_errors(
            held_out, alphas, self._Y, blocks
        )
        if self.alpha == "global":
            return np.full(n_targets, alphas[errors.sum(axis=1).argmin()])
        if self.alpha == "per-feature" and len(self.shape_) > 1:
            rows = errors.reshape(len(alphas), self.shape_[0], -1)
            chosen = alphas[rows.sum(axis=2).argmin(axis=0)]
            return np.repeat(chosen, rows.shape[2])
        return alphas[errors.argmin(axis=0)]

    def _coefficients(self, n_voxels: int) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (n_voxels, n_targets) and intercepts (n_targets,)."""
        coef, intercept = np.empty((n_voxels, self._Y.n_targets)), []
        for part in self._blocks(max(self.equations.X.shape)):
            Y = self._Y.columns(part).astype(np.float64)
            intercept.append(Y.mean(axis=0) * self.intercept)
            Y -= intercept[-1]
            coef[:, part] = self.equations.coefficients(Y, self.alphas_[part])
        return coef, np.concatenate(intercept)

    def maps(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Return weights and patterns of the voxels of X, see ``linear_maps``."""
        self._penalties()
        some = thinning(self._Y.n_targets)
        Y = self._Y.thinned(MOST_TARGETS).astype(np.float64)
        Y -= Y.mean(axis=0) * self.intercept
        weights = self.equations.coefficients(Y, self.alphas_[some])
        return linear_maps(X, weights)

    def spread(self, groups: np.ndarray, most: int) -> np.ndarray:
        """Return how much predictions of unseen trials vary about the training mean.

        Every group of training trials is left out in turn, from one factorisation.

        Parameters
        ----------
        groups : array of shape (n_trials,)
            What is left out together.
        most : int
            About how many trials are left out.

        Returns
        -------
        array of shape (n_targets,)
            Standard deviations.
        """
        order = np.random.default_rng(0).permutation(np.unique(groups))
        left_out, n_trials = [], 0
        for name in order:
            if n_trials >= most:
                break
            left_out.append(np.flatnonzero(groups == name))
            n_trials += len(left_out[-1])
        squares = np.zeros(self._Y.n_targets)
        for alpha in self._penalties():
            weights = self.equations.left_out_weights(left_out, alpha)
            kept = self.equations.algebra.keep(self._Y.gather(weights))
            for part in self._blocks():
                own = np.flatnonzero(self.alphas_[part] == alpha)
                if len(own):
                    Y = self._Y.pictures_columns(part)[:, own]
                    predicted = self.equations.algebra.product(kept, Y)
                    squares[own + part.start] = (predicted**2).mean(axis=0)
        return np.sqrt(squares)

    def predict(self, X: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return features (n_trials, *shape), float32.

        Parameters
        ----------
        X : array of shape (n_trials, n_voxels)
            Responses.
        out : array of shape (n_trials, *shape), optional
            Where they are written, block by block; may be memory-mapped.
        """
        if out is None:
            out = np.empty((len(X), *self.shape_), dtype=np.float32)
        if self.equations is None and hasattr(self, "X_"):
            self._take_up()
        if hasattr(self, "coef_"):
            for rows, part in row_blocks(X, 2**24):
                values = (part.astype(np.float64) - self.x_mean_) @ self.coef_
                out[rows] = (values + self.intercept_).reshape(-1, *out.shape[1:])
            return out
        alphas = self._penalties()
        if isinstance(self.equations, LargeEquations) and self.equations.targets_first(
            len(X), self._Y, len(alphas)
        ):
            blocks = self._blocks(max(self.equations.X.shape))
            for part, values in self.equations.predictions(
                X, self._Y, self.alphas_, blocks
            ):
                fresh(out).reshape(len(X), -1)[:, part] = values
            return out
        return self._predict_by_weights(X, out)

    def _predict_by_weights(self, X: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write W Y block by block, where there are more targets than trials."""
        algebra = self.equations.algebra
        n_trials = len(self._Y)
        kept, left = {}, {}
        for alpha in np.unique(self.alphas_):
            weights = self.equations.weights(X, alpha)
            # The mean of the targets is one more row: a prediction is W Y, in which
            # weights sum to nought, and that mean.
            left[alpha] = self.intercept * (1 - weights.sum(axis=1, keepdims=True))
            weights = np.vstack([weights, np.full(n_trials, 1 / n_trials)])
            # A picture's trials have the same targets: their weights are summed.
            kept[alpha] = algebra.keep(self._Y.gather(weights))
        for part in self._blocks():
            Y = self._Y.pictures_columns(part)
            flat = fresh(out).reshape(len(X), -1)
            for alpha, weights in kept.items():
                columns = np.flatnonzero(self.alphas_[part] == alpha)
                every = len(columns) == Y.shape[1]
                if len(columns):
                    product = algebra.product(weights, Y if every else Y[:, columns])
                    mean = left[alpha] * product[-1]
                    there = part if every else columns + part.start
                    np.add(product[:-1], mean, out=product[:-1], casting="same_kind")
                    flat[:, there] = product[:-1]
        return out

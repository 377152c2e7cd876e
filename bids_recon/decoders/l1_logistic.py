"""Many logistic regressions with an L1 penalty, fitted at once."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax, softmax

TOLERANCE = 1e-6
"""Of the gradient condition, as a share of the penalty."""

SHRINK = 0.4
"""One penalty of the path after the other."""

NEXT = 1.0
"""The next penalty follows where the gradient condition is met to this share of it."""

ADDED, ADDED_SHARE = 5, 0.2
"""How many coefficients may leave zero in a step, and as a share of those that did."""

DAMPING = 1e-8
"""Of second derivatives, as a share of the largest; some directions may have none."""

HALVINGS = 40
"""Of a step, until it is given up."""

BLOCK = 2_000_000
"""Values of the largest array that is made."""


def l1_logistic(
    X: np.ndarray, voxels: np.ndarray, codes: np.ndarray, C: float, max_iter: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Minimise :math:`\|W\|_1 + C \sum_i \mathrm{loss}_i` for each problem.

    The objective is that of scikit-learn's ``LogisticRegression(l1_ratio=1)``: the
    multinomial loss, or for two classes that of one row; intercepts are free. Each
    problem follows a path of falling penalties. A step is Newton's on the coefficients
    that are not zero and those few that violate the gradient condition most; only those
    of the latter that leave zero to the side of lower loss are taken.

    Parameters
    ----------
    X : array of shape (n_trials, n_voxels)
        Responses.
    voxels : array of shape (n_problems, k)
        Which voxels each problem reads.
    codes : array of shape (n_problems, n_trials)
        Classes from 0; the same number of them in every problem, none empty.
    C : float
        Inverse strength of the penalty.
    max_iter : int
        Steps of a problem, at most.

    Returns
    -------
    coef : array of shape (n_problems, n_classes, k)
        Of two classes, the first has zeros.
    intercept : array of shape (n_problems, n_classes)
        With mean zero, for more than two classes.

    References
    ----------
    Andrew & Gao (2007), Proceedings of ICML, 33-40; Lee et al. (2006), Efficient sparse
    coding algorithms, NIPS 19, 801-808.
    """
    n_classes = int(codes.max()) + 1
    (n_problems, n_voxels), n_trials = voxels.shape, len(X)
    XT = np.vstack([X.T.astype(np.float64), np.ones((1, n_trials))])
    widest = min(n_classes * (n_voxels + 1), n_classes * n_trials)
    width = max(1, BLOCK // max(widest**2, n_trials * (n_voxels + 1)))
    parts = []
    for start in range(0, n_problems, width):
        own = slice(start, start + width)
        Y = (codes[own, None] == np.arange(n_classes)[:, None]).astype(np.float64)
        # Two classes have one row of coefficients, that of the second.
        Y = Y[:, 1:] if n_classes == 2 else Y
        # The column of ones, for intercepts, comes last.
        read = np.pad(voxels[own], ((0, 0), (0, 1)), constant_values=len(XT) - 1)
        parts.append(_follow_path(_Batch(XT[read], Y), 1 / C, max_iter))
    W = np.concatenate(parts)
    if n_classes == 2:
        W = np.concatenate([np.zeros_like(W), W], axis=1)
    else:
        W[..., -1] -= W[..., -1].mean(axis=1, keepdims=True)
    return W[..., :-1], W[..., -1]


@dataclass(frozen=True)
class _Batch:
    """Designs XT (b, n_voxels + 1, n_trials), of ones at last, and Y (b, rows, n)."""

    XT: np.ndarray
    Y: np.ndarray

    def where(self, rows: np.ndarray) -> "_Batch":
        return _Batch(self.XT[rows], self.Y[rows])

    def probabilities(self, W: np.ndarray) -> np.ndarray:
        Z = W @ self.XT
        return expit(Z) if Z.shape[1] == 1 else softmax(Z, axis=1)

    def loss(self, W: np.ndarray) -> np.ndarray:
        Z = W @ self.XT
        if Z.shape[1] == 1:
            return (np.logaddexp(0, Z) - self.Y * Z).sum(axis=(1, 2))
        return -(self.Y * log_softmax(Z, axis=1)).sum(axis=(1, 2))

    def gradient(self, P: np.ndarray) -> np.ndarray:
        return (P - self.Y) @ self.XT.transpose(0, 2, 1)


@dataclass(frozen=True)
class _Point:
    """Where the problems of a batch are: W, probabilities, penalties and slopes.

    ``slope`` is the subgradient of the objective with the smallest absolute values.
    """

    W: np.ndarray
    P: np.ndarray
    penalty: np.ndarray
    slope: np.ndarray

    @classmethod
    def at(cls, batch: _Batch, W: np.ndarray, strength: np.ndarray) -> "_Point":
        P = batch.probabilities(W)
        gradient = batch.gradient(P)
        penalty = np.repeat(strength[:, None, None], W.shape[2], axis=2)
        penalty[..., -1] = 0
        from_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - penalty, 0)
        slope = np.where(W != 0, gradient + penalty * np.sign(W), from_zero)
        return cls(W, P, penalty, slope)

    def where(self, rows: np.ndarray) -> "_Point":
        return _Point(self.W[rows], self.P[rows], self.penalty[rows], self.slope[rows])

    def objective(self, batch: _Batch, W: np.ndarray) -> np.ndarray:
        return batch.loss(W) + (self.penalty * np.abs(W)).sum(axis=(1, 2))


def _follow_path(batch: _Batch, least: float, max_iter: int) -> np.ndarray:
    """Return W (b, rows, n_voxels + 1), intercepts at last, at the last penalty."""
    shares = batch.Y.mean(axis=2)
    W = np.zeros((*shares.shape, batch.XT.shape[1]))
    logs = np.log(shares)
    two = shares.shape[1] == 1
    W[..., -1] = logs - (np.log1p(-shares) if two else logs.mean(axis=1)[:, None])
    start = np.abs(batch.gradient(batch.probabilities(W))[..., :-1]).max(axis=(1, 2))
    strength = np.maximum(SHRINK * start, least)
    left = np.arange(len(W))
    for _ in range(max_iter):
        own = batch.where(left)
        point = _Point.at(own, W[left], strength[left])
        worst = np.abs(point.slope).max(axis=(1, 2))
        last = strength[left] <= least
        done = last & (worst <= TOLERANCE * least)
        onward = ~last & (worst <= NEXT * strength[left])
        strength[left[onward]] = np.maximum(SHRINK * strength[left[onward]], least)
        left = left[~done]
        if not len(left):
            break
        if not onward.any():
            kept = np.flatnonzero(~done)
            W[left] = _step(own.where(kept), point.where(kept))
    return W


def _step(batch: _Batch, point: _Point) -> np.ndarray:
    """Return W after one step."""
    index, valid = _changing(point)
    n_problems, n_columns = len(index), point.W.shape[2]
    row, column = np.divmod(index, n_columns)
    X = np.take_along_axis(batch.XT, column[..., None], axis=1) * valid[..., None]
    XP = X * np.take_along_axis(point.P, row[..., None], axis=1)
    H = XP @ X.transpose(0, 2, 1)
    H *= row[:, :, None] == row[:, None, :]
    H -= XP @ XP.transpose(0, 2, 1)
    every = np.arange(index.shape[1])
    H[:, every, every] += DAMPING * H[:, every, every].max(axis=1, keepdims=True)
    slope = np.take_along_axis(point.slope.reshape(n_problems, -1), index, axis=1)
    before = np.take_along_axis(point.W.reshape(n_problems, -1), index, axis=1)
    fresh = (before == 0) & (column < n_columns - 1)
    direction = np.zeros((n_problems, point.W[0].size))
    np.put_along_axis(direction, index, _newton(H, slope, valid, fresh), axis=1)
    return _search(batch, point, direction.reshape(point.W.shape))


def _changing(point: _Point) -> tuple[np.ndarray, np.ndarray]:
    """Return which coefficients may change, (b, n) each: positions, and which count."""
    changing = point.W != 0
    changing[..., -1] = True
    changing = changing.reshape(len(changing), -1)
    slope = np.where(changing, 0, np.abs(point.slope).reshape(changing.shape))
    added = np.maximum(ADDED, ADDED_SHARE * changing.sum(axis=1)).astype(int)
    ranked = -np.sort(-slope, axis=1)
    added = np.minimum(added, slope.shape[1]) - 1
    limit = np.take_along_axis(ranked, added[:, None], axis=1)
    changing |= (slope >= limit) & (slope > 0)
    counts = changing.sum(axis=1)
    index = np.argsort(~changing, axis=1, kind="stable")[:, : counts.max()]
    return index, np.arange(index.shape[1]) < counts[:, None]


def _newton(
    H: np.ndarray, slope: np.ndarray, valid: np.ndarray, fresh: np.ndarray
) -> np.ndarray:
    """Return Newton directions (b, n) in which what is fresh leaves zero downwards.

    Coefficients that would not stay at zero, and what remains is solved again.
    """
    used, direction = valid.copy(), np.zeros(slope.shape)
    rows, every = np.arange(len(H)), np.arange(H.shape[1])
    while len(rows):
        own = used[rows]
        inner = H[rows] * (own[:, :, None] & own[:, None, :])
        inner[:, every, every] += ~own
        right = (slope[rows] * own)[..., None]
        direction[rows] = -np.linalg.solve(inner, right)[..., 0]
        wrong = own & fresh[rows] & (direction[rows] * slope[rows] >= 0)
        used[rows] = own & ~wrong
        rows = rows[wrong.any(axis=1)]
    return direction


def _search(batch: _Batch, point: _Point, direction: np.ndarray) -> np.ndarray:
    """Return W after the longest of ever shorter steps that lowers the objective.

    Coefficients that would change their sign become zero. Where that does not lower
    the objective, the step ends at the first of them.
    """
    W, sign = point.W, np.where(point.W != 0, np.sign(point.W), -np.sign(point.slope))
    sign[..., -1] = 0
    crossing = (point.W != 0) & (sign * direction < 0)
    first = np.full(W.shape, np.inf)
    np.divide(-W, direction, out=first, where=crossing)
    first = np.minimum(first.min(axis=(1, 2), keepdims=True), 1.0)
    before = point.objective(batch, W)
    result, left = W.copy(), np.arange(len(W))
    for halving in range(HALVINGS):
        # Three steps that may set many to zero, then such as set one.
        length = 0.5**halving if halving < 3 else first[left] * 0.5 ** (halving - 3)
        trial = W[left] + length * direction[left]
        trial[trial * sign[left] < 0] = 0
        if halving == 3:
            reached = crossing[left] & (np.abs(trial) <= 1e-12 * np.abs(W[left]))
            trial[reached] = 0
        own = point.where(left)
        now = own.objective(batch.where(left), trial)
        descent = (own.slope * (trial - own.W)).sum(axis=(1, 2))
        slack = 1e-13 * np.abs(before[left])
        lower = (now <= before[left] + 1e-4 * descent + slack) & (descent <= 0)
        result[left[lower]] = trial[lower]
        left = left[~lower]
        if not len(left):
            break
    return result

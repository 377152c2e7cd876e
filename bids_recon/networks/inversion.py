"""Pictures by optimisation, until a network sees in them what is asked for.

Shen et al. (2019), "Deep image reconstruction from human brain activity", PLOS
Computational Biology 15, e1006633; Mahendran & Vedaldi (2015), CVPR.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import Bounds, minimize

from bids_recon.errors import Status, UserError

Schedule = tuple[float, float]
"""First and last value of what changes linearly over steps."""

LOSSES = ("l2", "l1", "inner", "gram")


def layer_losses(kind: str, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    r"""Return the loss of a layer for each picture, (n,).

    Parameters
    ----------
    kind : {'l2', 'l1', 'inner', 'gram'}
        :math:`\sum (\phi - f)^2`, :math:`\sum |\phi - f|`, :math:`-\sum \phi f`, or
        :math:`\sum (\Phi\Phi^\top - FF^\top)^2 / (4 C^2 P^2)` for C channels, P places.
    found, wanted : Tensor of shape (n, *shape)
        What the network sees, and what it is to see.
    """
    if kind == "gram":
        n_places = found[0, 0].numel()
        scale = 4 * found.shape[1] ** 2 * n_places**2
        difference = gram(found) - gram(wanted)
        return (difference**2).flatten(1).sum(dim=1) / scale
    found, wanted = found.flatten(1), wanted.flatten(1)
    if kind == "inner":
        return -(found * wanted).sum(dim=1)
    difference = found - wanted
    return (difference.abs() if kind == "l1" else difference**2).sum(dim=1)


def gram(features: torch.Tensor) -> torch.Tensor:
    """Return products of channels (n, C, C), summed over places."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2)


def layer_weights(kind: str, wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    r"""Return the weight of each layer for each picture, (n_layers, n).

    :math:`w_l \propto 1 / \|f_l\|^2`, or of the first power for ``l1``, of the Gram
    matrix for ``gram``; they sum to 1. A layer of noughts has none.
    """
    sizes = []
    for values in wanted:
        flat = (gram(values) if kind == "gram" else values).flatten(1)
        norm = flat.abs().sum(1) if kind == "l1" else (flat**2).sum(1)
        sizes.append(norm)
    norms = torch.stack(sizes)
    weights = torch.where(norms > 0, 1 / norms.clamp(min=1e-30), 0)
    return weights / weights.sum(dim=0).clamp(min=1e-30)


@dataclass(frozen=True)
class Variable:
    """What is optimised in place of a picture.

    Parameters
    ----------
    start : Tensor of shape (n, *shape)
        What is begun with.
    pictures : callable
        Values (n, *shape) to pictures (n, 3, H, W), which may leave [0, 1].
    lower, upper : Tensor, optional
        Bounds that ``shape`` can be broadcast to.
    """

    start: torch.Tensor
    pictures: Callable[[torch.Tensor], torch.Tensor]
    lower: torch.Tensor | None = None
    upper: torch.Tensor | None = None

    def clipped(self, values: torch.Tensor) -> torch.Tensor:
        """Return values within the bounds."""
        if self.lower is None and self.upper is None:
            return values
        return values.clamp(self.lower, self.upper)


@dataclass(frozen=True)
class Descent:
    """How the loss is made small.

    Parameters
    ----------
    optimizer : {'gd', 'lbfgs', 'adam'}
        Gradient descent with momentum, L-BFGS-B (a single picture) or Adam.
    steps : int
        At most.
    rate : (float, float)
        The step size at the first step, and where it goes to.
    momentum : float
        Of gradient descent.
    decay : (float, float)
        Which share of the values is taken away after each step.
    blur : (float, float), pixels
        Deviation of the Gaussian that pixels are smoothed with after each step.
    """

    optimizer: str
    steps: int
    rate: Schedule
    momentum: float
    decay: Schedule
    blur: Schedule

    def at(self, schedule: Schedule, step: int) -> float:
        """Return a + t (b - a) / T."""
        first, last = schedule
        return first + step * (last - first) / self.steps


Loss = Callable[[torch.Tensor], torch.Tensor]
"""Pictures (n, 3, H, W) to the loss of each (n,)."""


def descend(
    loss: Loss, variable: Variable, how: Descent
) -> tuple[torch.Tensor, np.ndarray]:
    """Make the loss of each picture small.

    Returns
    -------
    Tensor of shape (n, *shape)
        The values at the end.
    array of shape (n, n_steps)
        The loss before each step; of L-BFGS-B, also after the last.

    Raises
    ------
    UserError
        If a loss is not a number.
    """
    if how.optimizer == "lbfgs":
        return _lbfgs(loss, variable, how)
    return _steps(loss, variable, how)


def _steps(
    loss: Loss, variable: Variable, how: Descent
) -> tuple[torch.Tensor, np.ndarray]:
    r"""Take steps of gradient descent, or of Adam.

    Gradient descent as published: :math:`g \leftarrow g / \overline{|g|}`,
    :math:`v \leftarrow \mu v + g`, :math:`x \leftarrow x - \eta_t v`; after each step
    decay, blur and bounds.
    """
    values = variable.start.clone().requires_grad_(True)
    velocity = torch.zeros_like(values)
    adam = torch.optim.Adam([values], lr=how.rate[0])
    curves = []
    for step in range(how.steps):
        losses = loss(variable.pictures(values))
        curves.append(_numbers(losses, step))
        (gradient,) = torch.autograd.grad(losses.sum(), values)
        with torch.no_grad():
            rate = how.at(how.rate, step)
            if how.optimizer == "adam":
                adam.param_groups[0]["lr"] = rate
                values.grad = gradient
                adam.step()
            else:
                size = gradient.flatten(1).abs().mean(dim=1)
                size = torch.where(size > 0, size, 1).view(-1, *[1] * (values.ndim - 1))
                velocity = how.momentum * velocity + gradient / size
                values -= rate * velocity
            after = (1 - how.at(how.decay, step)) * values
            sigma = how.at(how.blur, step)
            values.copy_(variable.clipped(blurred(after, sigma)))
    return values.detach(), np.stack(curves, axis=1)


def blurred(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """Smooth images (n, channels, H, W) as SciPy's ``gaussian_filter`` does."""
    if sigma <= 0:
        return values
    down, across = (
        torch.from_numpy(_blur_matrix(length, sigma)).to(values)
        for length in values.shape[2:]
    )
    return down @ values @ across.T


@lru_cache(maxsize=256)
def _blur_matrix(length: int, sigma: float) -> np.ndarray:
    """Return what a column of ``length`` values is multiplied by."""
    return gaussian_filter1d(np.eye(length), sigma, axis=0).astype(np.float32)


def _lbfgs(
    loss: Loss, variable: Variable, how: Descent
) -> tuple[torch.Tensor, np.ndarray]:
    """Run SciPy's L-BFGS-B for a single picture."""
    (start,) = variable.start
    lower, upper = (
        None if bound is None else bound.expand(start.shape).flatten().double().cpu()
        for bound in (variable.lower, variable.upper)
    )

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        values = torch.from_numpy(flat).to(start).view(1, *start.shape)
        values.requires_grad_(True)
        losses = loss(variable.pictures(values))
        (gradient,) = torch.autograd.grad(losses.sum(), values)
        return float(_numbers(losses, len(curve))[0]), _flat(gradient)

    curve: list[float] = []
    first = _flat(variable.clipped(start))
    curve.append(value_and_gradient(first)[0])
    found = minimize(
        value_and_gradient,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=None if lower is None and upper is None else Bounds(lower, upper),
        # SciPy calls it with this name alone.
        callback=lambda intermediate_result: curve.append(intermediate_result.fun),
        options={"maxiter": how.steps},
    )
    end = torch.from_numpy(found.x).to(start).view(1, *start.shape)
    return end, np.array([curve], dtype=np.float64)


def _flat(values: torch.Tensor) -> np.ndarray:
    flat: np.ndarray = values.detach().flatten().double().cpu().numpy()
    return flat


def _numbers(losses: torch.Tensor, step: int) -> np.ndarray:
    """Return the losses of pictures; those that are no numbers are told."""
    values: np.ndarray = losses.detach().double().cpu().numpy()
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(
            f"The loss of picture {row + 1} of {len(values)} is not a number at step "
            f"{step + 1}. Take smaller steps (rate), or check the weights of the "
            "encoder and the decoded features.",
            Status.FAILED,
        )
    return values

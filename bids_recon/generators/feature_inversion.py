"""Pictures in which networks see what was decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import isfile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bids_recon.datatypes import Decoded
from bids_recon.machine import Machine, out_of_memory, ran_out_of_memory
from bids_recon.pictures import stretched
from bids_recon.weights import weights_called

if TYPE_CHECKING:
    from bids_recon.generators.layer_goals import LayerGoals
    from bids_recon.networks.inversion import Variable

OVER = ("pixels", "autoencoder", "dgn", "image-prior")
OPTIMIZERS = ("gd", "lbfgs", "adam")
LOSSES = ("l2", "l1", "inner", "gram")
WEIGHTS = ("norm", "equal")
STARTS = ("zero", "random")

AT_ONCE = 16
"""Pictures on a GPU."""

MOST_STEPS = 100_000


@dataclass
class FeatureInversion:
    """Change a picture until an encoder sees in it the features that were decoded.

    Parameters
    ----------
    features : str or sequence of str
        Which decoded layers, of feature spaces ``network``; a name with ``each`` stands
        for all of its layers.
    init : str, optional
        Which decoded features give the picture that is begun with.
    over : {'pixels', 'autoencoder', 'dgn', 'image-prior'}
        What is changed: pixels, in 0 to 255 less the encoder's mean colour; the latent
        of an autoencoder; the inputs of a deep generator network; the weights of an
        untrained network.
    weights : str, optional
        Of the autoencoder or the deep generator network.
    optimizer : {'gd', 'lbfgs', 'adam'}
        Gradient descent with momentum by the published rule, L-BFGS-B or Adam.
    steps : int
        Of the optimizer, at most.
    rate : (float, float)
        Step size at the first step, and where it goes to; not for ``lbfgs``.
    momentum : float
        Of ``gd``.
    decay : (float, float)
        Which share of the values is taken away after each step, first and last.
    blur : (float, float), pixels
        Deviation of the Gaussian that pixels are smoothed with after each step.
    bounds : str or (float, float), optional
        ``picture``: pixels stay within the colours there are. Of the inputs of a
        generator: two numbers; ``published``: from nought to what its archive holds for
        each; or a text file of these.
    loss : {'l2', 'l1', 'inner', 'gram'}
        By which a layer is compared.
    layers : {'norm', 'equal'}
        Weight of a layer: one over the squared norm of what was decoded, or the same.
    start : {'zero', 'random'}
        Without ``init``: the mean colour or inputs of nought; or uniform pixels, or
        normal inputs, the same for all trials.
    stretch : float, percent
        So many of a picture's values are clipped, half of them at each end, and the
        rest spread over all grey values; ``None`` shows pictures as they are.
    channels : sequence of int
        Of the untrained network.
    batch : int, optional
        How many pictures are computed at once, filled up where there are fewer, so that
        a trial alone gives what it gives in the set. One on a CPU, 16 on a GPU without.
    machine : Machine
        Where to compute.

    References
    ----------
    Shen et al. (2019), PLOS Computational Biology 15, e1006633.
    """

    features: str | tuple[str, ...] = "network"
    init: str | None = None
    over: str = "pixels"
    weights: str | None = None
    optimizer: str = "gd"
    steps: int = 200
    rate: tuple[float, float] = (2.0, 1e-10)
    momentum: float = 0.9
    decay: tuple[float, float] = (0.0, 0.0)
    blur: tuple[float, float] = (0.0, 0.0)
    bounds: str | tuple[float, float] | None = None
    loss: str = "l2"
    layers: str = "norm"
    start: str = "zero"
    stretch: float | None = None
    channels: tuple[int, ...] = (32, 64, 64, 64)
    batch: int | None = None
    machine: Machine = field(default_factory=Machine, repr=False, compare=False)
    curves: list[np.ndarray] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    """The loss before each step (n_steps,) of each picture that was made last."""

    needs: ClassVar[tuple[str, ...]] = ("features", "init")
    several: ClassVar[tuple[str, ...]] = ("features",)
    as_pictures: ClassVar[tuple[str, ...]] = ("init",)
    calls: ClassVar[Mapping[str, str]] = {"init": "decode", "features": "units_of"}

    def __post_init__(self) -> None:
        for name, known in (
            ("over", OVER),
            ("optimizer", OPTIMIZERS),
            ("loss", LOSSES),
            ("layers", WEIGHTS),
            ("start", STARTS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is one of {known}, not {getattr(self, name)!r}"
                )
        self._check_numbers()
        self._check_variable()
        self._goals: LayerGoals | None = None
        self._model: Any = None

    def _check_numbers(self) -> None:
        if not self.features:
            raise ValueError("features are needed, one layer or more")
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps are 1 to {MOST_STEPS}, not {self.steps}")
        if min(self.rate) < 0 or self.rate[0] == 0:
            raise ValueError(f"rate is above 0, not {self.rate}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is 0 or more, below 1, not {self.momentum}")
        if not all(0 <= share < 1 for share in self.decay):
            raise ValueError(f"decay is 0 or more, below 1, not {self.decay}")
        if min(self.blur) < 0:
            raise ValueError(f"blur is 0 or more, not {self.blur}")
        if self.stretch is not None and not 0 <= self.stretch < 100:
            raise ValueError(f"stretch is null or 0 to 100 percent, not {self.stretch}")
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels are numbers above 0, not {self.channels}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is null or at least 1, not {self.batch}")

    def _check_variable(self) -> None:
        needs_weights = self.over in ("autoencoder", "dgn")
        if needs_weights != (self.weights is not None):
            raise ValueError(
                f"over: {self.over} {'needs' if needs_weights else 'has no'} weights"
            )
        if self.weights is not None:
            weights_called(self.weights)
        if self.init is not None and self.over in ("dgn", "image-prior"):
            raise ValueError(f"over: {self.over} cannot begin with a picture (init)")
        if self.over != "pixels" and max(self.blur) > 0:
            raise ValueError("blur is for over: pixels")
        if self.optimizer == "lbfgs" and (
            max(*self.decay, *self.blur) > 0 or self.batch is not None
        ):
            raise ValueError("decay, blur and batch are for optimizers gd and adam")
        self._check_bounds()

    def _check_bounds(self) -> None:
        if isinstance(self.bounds, tuple) and self.bounds[0] >= self.bounds[1]:
            raise ValueError(f"bounds are two numbers that rise, not {self.bounds}")
        if (self.bounds == "picture") != (
            self.over == "pixels" and self.bounds is not None
        ):
            raise ValueError("bounds: picture is for over: pixels, and others are not")
        if isinstance(self.bounds, str) and self.bounds != "picture":
            if self.over != "dgn":
                raise ValueError("bounds from a file are for over: dgn")
            if self.bounds != "published" and not isfile(self.bounds):  # noqa: PTH113
                raise ValueError(f"bounds: there is no file {self.bounds!r}")

    @property
    def at_once(self) -> int:
        """How many pictures are computed at once."""
        if self.optimizer == "lbfgs":
            return 1
        if self.batch is not None:
            return self.batch
        return 1 if self.machine.torch_device.type == "cpu" else AT_ONCE

    def generate(self, decoded: dict[str, Decoded], seed: int) -> np.ndarray:
        """Return pictures (n_trials, 3, H, W).

        Raises
        ------
        UserError
            If features have not the shape of their layer, or a loss is not a number.
        """
        from bids_recon.generators.layer_goals import LayerGoals

        init = decoded.get("init")
        layers = {
            name.split("/", 1)[-1]: part
            for name, part in decoded.items()
            if name != "init"
        }
        if self._goals is None:
            spaces = {name: part.space for name, part in layers.items()}
            self._goals = LayerGoals(spaces, self.loss, self.layers, self.machine)
        n, n_trials = self.at_once, len(next(iter(layers.values())).values)
        made, curves = [], []
        for first in range(0, n_trials, n):
            rows = np.arange(first, min(first + n, n_trials))
            filled = np.pad(rows, (0, n - len(rows)), mode="edge")
            wanted = {name: part.values[filled] for name, part in layers.items()}
            begin = None if init is None else np.asarray(init.values)[filled]
            try:
                pictures, curve = self._invert(wanted, begin, seed)
            except (MemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error):
                    raise
                raise out_of_memory() from error
            made.append(pictures[: len(rows)])
            curves += [*curve[: len(rows)]]
        self.curves = curves
        return np.concatenate(made)

    def _invert(
        self, wanted: Mapping[str, np.ndarray], init: np.ndarray | None, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the pictures of one batch (n, 3, H, W), and their losses."""
        import torch

        from bids_recon.networks.inversion import Descent, descend

        n = len(next(iter(wanted.values())))
        variable = self._variable(n, init, seed)
        with torch.no_grad():
            first = variable.pictures(variable.start[:1])
        loss = self._goals.loss(wanted, first)
        how = Descent(
            self.optimizer, self.steps, self.rate, self.momentum, self.decay, self.blur
        )
        values, curve = descend(loss, variable, how)
        with torch.no_grad():
            made = variable.pictures(values).float().cpu().numpy()
        return np.stack([self._shown(one) for one in made]), curve

    def _shown(self, picture: np.ndarray) -> np.ndarray:
        """Return a picture in [0, 1], its contrast stretched where that is asked."""
        if self.stretch is not None:
            picture = stretched(picture, self.stretch)
        return np.clip(picture, 0, 1).astype(np.float32)

    def _variable(self, n: int, init: np.ndarray | None, seed: int) -> "Variable":
        """Return what is changed, and its beginning, the same for every trial."""
        import torch

        from bids_recon.networks import variables

        drawn = torch.Generator().manual_seed(seed)
        generator = drawn if self.start == "random" else None
        size, device = self._goals.size, self.machine.torch_device
        if self.over == "image-prior":
            return variables.image_prior(n, size, self.channels, drawn, device)
        if self.over == "pixels":
            bounded, mean = self.bounds == "picture", self._goals.mean
            return variables.pixels(
                n, size, mean, init, generator, device, bounded=bounded
            )
        if self._model is None:
            self._model = self._load()
        if self.over == "dgn":
            return variables.deep_generator(
                self._model, n, size, generator, device, self.bounds
            )
        return variables.autoencoder(
            self._model, n, size, init, generator, device, self.bounds
        )

    def _load(self) -> Any:
        """Return the generator whose inputs are changed, on the device."""
        from bids_recon.networks.autoencoders import load_autoencoder
        from bids_recon.networks.deconvolution import load_deconvolution

        path = self.machine.weights(str(self.weights))
        device = self.machine.torch_device
        if self.over == "dgn":
            network, upper = load_deconvolution(path)
            return network.to(device).requires_grad_(False), upper
        return load_autoencoder(path).to(device).requires_grad_(False)

"""A network whose layers are read, and how files of weights are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from safetensors.torch import load_file

from bids_recon.errors import Status, UserError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
CAFFE = ((123 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3)
"""Of networks that take pixel values in 0 to 255 less the mean colour."""
ILSVRC = ((122.678914 / 255, 116.668768 / 255, 104.006988 / 255), (1 / 255,) * 3)
"""The same with the mean of Caffe's file, which deep image reconstruction takes."""

BATCH = 16


class _Reached(Exception):  # noqa: N818 - nothing went wrong
    """All layers that were asked for have been computed."""


@dataclass(frozen=True)
class Encoder:
    """A network, and how pictures are normalised for it.

    Parameters
    ----------
    network : Module
        In evaluation mode.
    mean, std : tuple of three floats
        Of the pictures it was trained on.
    forward : callable, optional
        (network, batch, layer) -> features, where a forward hook does not do.
    names : mapping of str to str
        The field's names of layers, and the modules that give them.
    """

    network: torch.nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    forward: Callable[[Any, torch.Tensor, str], torch.Tensor] | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def activations(
        self, pictures: torch.Tensor, layers: Sequence[str]
    ) -> list[torch.Tensor]:
        """Return what layers give, each (n, *shape), so that gradients flow.

        The network is computed up to the last of them, once.

        Parameters
        ----------
        pictures : Tensor of shape (n, 3, H, W)
            In [0, 1], on the network's device.
        layers : sequence of str
            By the names of ``names``, or modules by their dotted names.

        Raises
        ------
        UserError
            If the network has no such layer, or does not come by it.
        """
        mean, std = (
            pictures.new_tensor(part).view(1, 3, 1, 1) for part in (self.mean, self.std)
        )
        kept: dict[str, torch.Tensor] = {}

        def keep(layer: str, out: Any) -> None:
            # A copy, because a later layer may work in place.
            kept[layer] = (out[0] if isinstance(out, tuple) else out).clone()
            if len(kept) == len(set(layers)):
                raise _Reached

        with ExitStack() as hooks:
            for layer in dict.fromkeys(layers):
                module = self.network.get_submodule(self.module_of(layer))
                hook = module.register_forward_hook(
                    lambda _m, _i, out, layer=layer: keep(layer, out)
                )
                hooks.callback(hook.remove)
            with suppress(_Reached):
                self.network((pictures - mean) / std)
        missed = [layer for layer in layers if layer not in kept]
        if missed:
            raise UserError(
                f"The encoder {type(self.network).__name__} does not come by its layer "
                f"{missed[0]!r}. Choose another.",
                Status.USAGE,
            )
        return [kept[layer] for layer in layers]

    def module_of(self, layer: str) -> str:
        """Return the dotted name of the module that gives a layer.

        Raises
        ------
        UserError
            If there is none: which layers there are.
        """
        module = self.names.get(layer, layer)
        there = [name for name, _ in self.network.named_modules() if name]
        if module not in there:
            raise UserError(
                f"The encoder {type(self.network).__name__} has no layer {layer!r}. It "
                f"has {', '.join(self.names or there)}"
                f"{', and modules by their own names' if self.names else ''}.",
                Status.USAGE,
            )
        return module

    @torch.inference_mode()
    def features(
        self, pictures: np.ndarray, layer: str, scale: float = 1.0
    ) -> np.ndarray:
        """Return the features of one layer, (n, n_features), float32.

        Parameters
        ----------
        pictures : array of shape (n, 3, H, W)
            In [0, 1], at the size that the network gets.
        layer : str
            A module by its dotted name; the encoder's own names where it has some.
        scale : float
            What pixel values are multiplied by before the normalisation.
        """
        mean, std = (
            torch.tensor(part).view(1, 3, 1, 1) for part in (self.mean, self.std)
        )
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = torch.from_numpy(
                np.ascontiguousarray(pictures[start : start + BATCH])
            )
            batch = (batch.float() * scale - mean) / std
            parts.append(self._layer(batch, layer).flatten(1).float().numpy())
        return np.concatenate(parts)

    def _layer(self, batch: torch.Tensor, layer: str) -> torch.Tensor:
        if self.forward is not None:
            return self.forward(self.network, batch, layer)
        kept: list[torch.Tensor] = []
        module = self.network.get_submodule(layer)
        # A copy, because a later layer may work in place.
        hook = module.register_forward_hook(
            lambda _m, _i, out: kept.append(out.clone())
        )
        try:
            self.network(batch)
        finally:
            hook.remove()
        return kept[0]


def read_state(path: Path, member: str = ".pt") -> dict[str, torch.Tensor]:
    """Read a state dict without pickle.

    Parameters
    ----------
    path : Path
        The file.
    member : str, optional
        What the name of a file in an archive ends with, where ``path`` is a ``.zip``.

    Raises
    ------
    UserError
        If the file is damaged or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        source = BytesIO(read_member(path, member)) if path.suffix == ".zip" else path
        state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises much that differs by version
        raise UserError(
            f"{path}: cannot be read as weights ({type(error).__name__}). It may be "
            "truncated; fetch it again."
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds {type(state).__name__}, expected weights.")
    return state


def read_member(path: Path, ending: str) -> bytes:
    """Return what is in the file of an archive whose name ends so.

    Raises
    ------
    KeyError
        If there is none.
    """
    with ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(ending)]
        if not names:
            raise KeyError(f"no file that ends in {ending}")
        return archive.read(names[0])


def load_state(
    network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path
) -> None:
    """Let a network take over all of a state dict, and nothing else.

    Raises
    ------
    UserError
        If names or shapes differ.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{path}: these weights do not fit {type(network).__name__}: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    network.eval()


def unfilled(make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Make a network all of whose weights are loaded afterwards; none are drawn."""
    with torch.device("meta"):
        network = make()
    return network.to_empty(device="cpu")


def drawn_apart(make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Make a network, whose first weights leave global randomness as it is."""
    with torch.random.fork_rng(devices=[]):
        return make()


def pretrained(model: Any, path: Path, **options: Any) -> Any:
    """Load a class of transformers or diffusers from a folder.

    Both put their models into evaluation mode.

    Raises
    ------
    UserError
        If the folder lacks something, is damaged, or its weights do not fit.
    """
    try:
        # New layers draw random weights before the saved ones come.
        with _quietly(), torch.random.fork_rng(devices=[]):
            return model.from_pretrained(path, local_files_only=True, **options)
    except Exception as error:  # the libraries raise much that differs by version
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path}: cannot be read as weights of {model.__name__} "
            f"({first[0]}). It may be truncated; fetch it again."
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from telling at length what of CLIP a tower does not take."""
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()

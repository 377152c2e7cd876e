"""What a run may use: a device, memory, and the folder of weights."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bids_recon.errors import Status, UserError
from bids_recon.weights import (
    Weights,
    find,
    provenance_of,
    stamp_of,
    weights_called,
)

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("bids_recon")

T = TypeVar("T")

SMALL_DEVICE = 10 * 2**30
"""A device with less memory than this holds a diffusion model only in pieces."""

NO_DEVICE = "there is none on this machine."

OTHER_BUILD = (
    "install torch from https://download.pytorch.org/whl/cu126, or take the image that "
    "is built with it (docs/containers.md)."
)

MEM_MB = 2000
"""What batches are made for where nothing is said."""


class AbsentWeightsError(UserError):
    """Pretrained weights that are needed are not here."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights.absent, Status.NO_INPUT)
        self.name = weights.name


@dataclass
class Machine:
    """Where methods compute, and where they find pretrained weights.

    Parameters
    ----------
    device : {'auto', 'cpu', 'cuda', 'mps'}
        ``auto`` takes a GPU where there is one.
    weights_dir : Path, optional
        Where weights are, besides the caches of torch and the hub.
    mem_mb : int, MB
        What a batch may take.
    memory : Path, optional
        Where checksums of weights are remembered between runs.
    """

    device: str = "auto"
    weights_dir: Path | None = None
    mem_mb: int = MEM_MB
    used: dict[str, str] = field(default_factory=dict)
    memory: Path | None = None

    def weights(self, name: str) -> Path:
        """Return the file or folder of weights, and note that they were used.

        ``name`` is that of ``weights.yml``, a repository of the hub, or a folder.

        Raises
        ------
        AbsentWeightsError
            If they are not here: what to do.
        """
        weights = weights_called(name)
        path = find(weights, self.weights_dir)
        if path is None:
            raise AbsentWeightsError(weights)
        if name not in self.used:
            self.used[name] = provenance_of(weights, path)
        return path

    def stamp(self, name: str) -> str:
        """Return what changes when weights change, and note that they were used.

        Raises
        ------
        AbsentWeightsError
            If they are not here.
        """
        return stamp_of(self.weights(name), self.memory)

    @property
    def torch_device(self) -> "torch.device":
        """The device that was asked for.

        Raises
        ------
        UserError
            If it is not there; the message says what is.
        """
        import torch

        why_no_cuda = _why_no_cuda()
        there = ["cpu"]
        if torch.backends.mps.is_available():
            there.insert(0, "mps")
        if why_no_cuda is None:
            there.insert(0, "cuda")
        wanted = there[0] if self.device == "auto" else self.device
        if self.device == "auto" and why_no_cuda not in (None, NO_DEVICE):
            _tell_once(wanted, str(why_no_cuda))
        if wanted not in there:
            why = why_no_cuda if wanted == "cuda" else NO_DEVICE
            raise UserError(
                f"--device {wanted}: {why} This run can have {' and '.join(there)}; "
                "with --device auto the first of them is taken.",
                Status.USAGE,
            )
        return torch.device(wanted)

    @property
    def dtype(self) -> "torch.dtype":
        """Half precision on a GPU, single on a CPU."""
        import torch

        return torch.float32 if self.torch_device.type == "cpu" else torch.float16

    @property
    def is_small(self) -> bool:
        """Whether a diffusion model does not fit the device as a whole."""
        import torch

        if self.torch_device.type != "cuda":
            return False
        return torch.cuda.get_device_properties(0).total_memory < SMALL_DEVICE

    @contextmanager
    def holding(self, network: T) -> Iterator[T]:
        """Have a network on the device for a while, and nothing of it after."""
        import torch

        network.to(self.torch_device)
        try:
            with torch.inference_mode():
                yield network
        finally:
            network.to("cpu")
            if self.torch_device.type == "cuda":
                torch.cuda.empty_cache()

    def batch_size(self, mb_per_item: float) -> int:
        """Return how many items of a batch fit into the memory."""
        return max(1, int(self.mem_mb / 2 / mb_per_item))


@cache
def _why_no_cuda() -> str | None:
    """Say why no NVIDIA GPU can be used; ``None`` if one can.

    torch says that a GPU is there also where it has no kernels for it.
    """
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_there = torch.cuda.is_available()
    if not is_there:
        said = " ".join(str(warning.message) for warning in caught)
        if "driver" in said and "too old" in said:
            return (
                "the driver of the NVIDIA GPU is too old for this build of torch "
                f"(CUDA {torch.version.cuda}). Update it, or {OTHER_BUILD}"
            )
        if torch.version.cuda is None and Path("/dev/nvidiactl").exists():
            return f"this build of torch has no CUDA. For a GPU {OTHER_BUILD}"
        return NO_DEVICE
    found = torch.cuda.get_device_capability()
    kernels = _architectures(torch.cuda.get_arch_list())
    if kernels and found < min(kernels):
        return (
            f"{torch.cuda.get_device_name()} (compute capability {found[0]}.{found[1]})"
            f" is too old for this build of torch, whose oldest is "
            f"{min(kernels)[0]}.{min(kernels)[1]}. For older cards {OTHER_BUILD}"
        )
    return None


@cache
def _tell_once(taken: str, why: str) -> None:
    logger.warning("--device auto takes %s: %s", taken, why)


def _architectures(names: list[str]) -> list[tuple[int, int]]:
    """Return the compute capabilities of ``sm_75``, ``sm_120a`` and the like."""
    found = [re.fullmatch(r"sm_(\d+)(\d)[a-z]*", name) for name in names]
    return [(int(match[1]), int(match[2])) for match in found if match]


def in_batches(
    function: Callable[[Any], Any], items: Any, size: int
) -> Iterator[tuple[slice, Any]]:
    """Yield what a function makes of batches; where memory runs out, of half of them.

    Parameters
    ----------
    function : callable
        Items to results.
    items : sequence
        Anything with a length that can be sliced.
    size : int
        Of the first batch.

    Yields
    ------
    slice, result
        Which items, and what was made of them.

    Raises
    ------
    UserError
        If there is no memory even for one item.
    """
    start = 0
    while start < len(items):
        part = slice(start, min(start + size, len(items)))
        try:
            result = function(items[part])
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            if part.stop - part.start == 1:
                raise out_of_memory() from error
            size = (part.stop - part.start) // 2
            continue
        yield part, result
        start = part.stop


def ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of numpy or torch means that memory ran out."""
    # torch's own class is not named, so that it need not be loaded.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(
        word in str(error).lower() for word in words
    )


def out_of_memory() -> UserError:
    """Return what a user is told when not even one item fits."""
    return UserError(
        "The memory is used up by a single picture. Use another --device, smaller "
        "pictures (pictures: {max_size: ...} in the recipe), or a machine with more "
        "memory; the same command goes on where it was.",
        Status.FAILED,
    )

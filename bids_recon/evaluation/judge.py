"""Pictures as a metric wants them: resized, and seen through a network."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from bids_recon import __version__
from bids_recon.errors import UserError
from bids_recon.evaluation.profiles import MetricSpec, Step
from bids_recon.files import write_whole
from bids_recon.machine import Machine
from bids_recon.networks import ENCODERS
from bids_recon.pictures import Pictures, as_bytes, as_floats, open_picture, size_of
from bids_recon.registry import check_name, load


class PictureFiles:
    """Picture files of one size, each read when it is asked for.

    Parameters
    ----------
    paths : sequence of Path
        The pictures; the first says the size of all.

    Raises
    ------
    UserError
        If a picture has another size, or is none.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.shape = (len(self.paths), 3, *size_of(self.paths[0]))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | np.ndarray) -> "PictureFiles":
        return PictureFiles([self.paths[r] for r in np.arange(len(self))[rows]])

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            values = as_floats(np.asarray(open_picture(path)))
            if values.shape[:2] != self.shape[2:]:
                raise UserError(
                    f"{path}: the picture has {values.shape[1]} x {values.shape[0]} "
                    f"pixels, and {self.paths[0].name} another size. Run again with "
                    "--stages generate evaluate."
                )
            yield values.transpose(2, 0, 1)


AnyPictures: TypeAlias = np.ndarray | Pictures | PictureFiles
"""(n, 3, H, W) in [0, 1], in memory or in files."""


@dataclass(frozen=True)
class Prepared:
    """Pictures at the sizes that a metric asks for, each made when it is asked for.

    Parameters
    ----------
    judge : Judge
        Who resizes them.
    pictures : array of shape (n, 3, H, W), Pictures or PictureFiles
        What they are made of.
    spec : MetricSpec
        The metric.
    seen_size : (height, width)
        Of the pictures that were seen.
    """

    judge: "Judge"
    pictures: AnyPictures
    spec: MetricSpec
    seen_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.judge.prepare(self.pictures[rows], self.spec, self.seen_size)


LPIPS = ("alexnet", "lpips-alex")
"""The weights of the learned perceptual distance."""

LARGE = 2**27
"""Arrays of more bytes than this are kept in a file while they are needed."""


class Judge:
    """Resizes pictures and computes features, and remembers what it can.

    Parameters
    ----------
    weights_dir : Path, optional
        Where weights are, besides the caches of torch and the hub.
    cache : Path, optional
        Where features of pictures that were seen are kept, by content.
    memory : Path, optional
        Where checksums of weights are remembered between runs.
    """

    def __init__(
        self,
        weights_dir: Path | None = None,
        cache: Path | None = None,
        memory: Path | None = None,
    ) -> None:
        self.machine = Machine(weights_dir=weights_dir, memory=memory)
        self.cache = cache
        self._networks: dict[str, Any] = {}

    @property
    def used(self) -> dict[str, str]:
        """The weights that were used, and where they came from."""
        return self.machine.used

    def prepare(
        self, pictures: AnyPictures, spec: MetricSpec, seen_size: tuple[int, int]
    ) -> np.ndarray:
        """Return pictures (n, 3, H, W) at the sizes that a metric asks for."""
        for step in spec.prepare:
            pictures = _resized(pictures, step, seen_size)
        return pictures if isinstance(pictures, np.ndarray) else _read(pictures)

    def features(
        self,
        pictures: AnyPictures,
        spec: MetricSpec,
        seen_size: tuple[int, int],
        remember: bool = False,
    ) -> np.ndarray:
        """Return what a metric compares, (n, n_features); pixels without a network.

        Raises
        ------
        AbsentWeightsError
            If the weights of its network are not here.
        """
        if spec.network is None:
            return self.prepare(pictures, spec, seen_size).reshape(len(pictures), -1)
        encoder = self._network(spec.network)
        target = self._cached(pictures, spec) if remember else None
        if target is not None and target.is_file():
            return np.load(target, mmap_mode="r")
        prepared = Prepared(self, pictures, spec, seen_size)
        features = encoder.features(prepared, spec.layer, spec.scale)
        if target is not None:
            write_whole(target, lambda part: np.save(part, features))
        return features

    def lpips(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the learned perceptual distance of prepared pairs, (n,)."""
        if "lpips" not in self._networks:
            # Weights first: where they are absent, torch need not be loaded.
            paths = [self.machine.weights(name) for name in LPIPS]
            from bids_recon.networks.lpips import Lpips

            self._networks["lpips"] = Lpips(*paths)
        return self._networks["lpips"].distance(a, b)

    def _network(self, name: str) -> Any:
        if name not in self._networks:
            check_name(ENCODERS, "network", name)
            # Weights first: where they are absent, torch need not be loaded.
            weights = self.machine.weights(name)
            self._networks[name] = load(ENCODERS, "network", name)(weights)
        return self._networks[name]

    def _cached(self, pictures: AnyPictures, spec: MetricSpec) -> Path | None:
        if self.cache is None:
            return None
        stamp = self.machine.stamp(spec.network)
        digest = sha256()
        for picture in pictures:
            digest.update(np.ascontiguousarray(picture, dtype=np.float32))
        digest.update(f"{pictures.shape} {spec} {stamp} {__version__}".encode())
        return self.cache / f"{spec.network}_{digest.hexdigest()[:16]}.npy"


def _resized(
    pictures: AnyPictures, step: Step, seen_size: tuple[int, int]
) -> AnyPictures:
    size = seen_size if step.engine == "seen" else (step.size, step.size)
    if pictures.shape[2:] == size:
        return pictures
    result = _empty((len(pictures), 3, *size))
    resize = _with_torch if step.engine == "tensor" else _with_pillow
    for row, picture in enumerate(pictures):
        result[row] = resize(np.asarray(picture, dtype=np.float32), size, step)
    return result


def _read(pictures: Pictures | PictureFiles) -> np.ndarray:
    result = _empty(pictures.shape)
    for row, picture in enumerate(pictures):
        result[row] = picture
    return result


def _empty(shape: tuple[int, ...]) -> np.ndarray:
    if 4 * int(np.prod(shape)) <= LARGE:
        return np.empty(shape, dtype=np.float32)
    # The file has no name, and goes when the array does.
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)


def _with_pillow(picture: np.ndarray, size: tuple[int, int], step: Step) -> np.ndarray:
    pixels = as_bytes(picture).transpose(1, 2, 0)
    method = getattr(Image.Resampling, step.filter.upper())
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(size[::-1], method)
    return as_floats(np.asarray(image)).transpose(2, 0, 1)


def _with_torch(picture: np.ndarray, size: tuple[int, int], step: Step) -> np.ndarray:
    import torch

    return torch.nn.functional.interpolate(
        torch.from_numpy(picture)[None],
        size=size,
        mode="bilinear",
        align_corners=False,
        antialias=step.antialias,
    )[0].numpy()

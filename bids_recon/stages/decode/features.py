"""All pictures of a participant, and what feature spaces make of them."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from bids_recon import __version__
from bids_recon.dataset.locks import locked
from bids_recon.datatypes import FeatureSpace, Targets, fresh
from bids_recon.files import (
    is_as_noted,
    new_array,
    note_checksum,
    write_text,
)
from bids_recon.pictures import Pictures
from bids_recon.plan.methods import machine_of, space_of
from bids_recon.plan.plan import Plan, load_plan_pictures, load_prior
from bids_recon.recipe import Recipe

logger = logging.getLogger("bids_recon")

COMPARED = 4096
"""Features that pictures are compared by, where a space has more."""

COPIED = 256
"""Pictures whose features are copied at a time."""

SAY_EVERY = 30.0
"""Seconds between two lines on how far a long computation is."""


@dataclass(frozen=True)
class Gallery:
    """Pictures and captions.

    Parameters
    ----------
    pictures : Pictures of shape (n_stimuli, 3, H, W)
        Memory-mapped.
    captions : tuple of tuple of str
        Of each; empty where there are none.
    cache : Path, optional
        The folder in which the features of pretrained spaces are kept.
    keys : tuple of str
        What tells each picture from others, where features are kept.
    unseen : Pictures of shape (n_prior, 3, H, W), optional
        Pictures that were never shown.
    unseen_keys : tuple of str
        As ``keys``.
    together : tuple of FeatureSpace
        Spaces of which those that have ``shared`` in common are computed at once.
    """

    pictures: Pictures
    captions: tuple[tuple[str, ...], ...] = ()
    cache: Path | None = None
    keys: tuple[str, ...] = ()
    unseen: Pictures | None = None
    unseen_keys: tuple[str, ...] = ()
    together: tuple[FeatureSpace, ...] = ()

    @property
    def prior(self) -> Pictures:
        """Pictures that were never shown (n_prior, 3, H, W); often none."""
        return self.pictures[:0] if self.unseen is None else self.unseen

    @classmethod
    def of(cls, plan: Plan, recipe: Recipe) -> "Gallery":
        """Return the pictures of a plan at a recipe's size."""
        pictures = load_plan_pictures(plan, recipe)
        captions = tuple(plan.captions.values())
        keys = tuple(plan.pixel_checksums(list(plan.pictures.values())))
        unseen = load_prior(plan, pictures) if plan.prior else None
        unseen_keys = tuple(plan.pixel_checksums(plan.prior))
        if unseen is not None and unseen.values.dtype != np.uint8:
            unseen_keys = tuple(f"{key} in grey" for key in unseen_keys)
        machine = machine_of(plan.settings)
        spaces = (space_of(step, machine) for step in recipe.decode.values())
        together = tuple(space for space in spaces if hasattr(space, "shared"))
        return cls(
            pictures, captions, plan.features, keys, unseen, unseen_keys, together
        )

    def prior_features(self, space: FeatureSpace) -> np.ndarray:
        """Return the features of pictures that were never shown, (n_prior, *shape)."""
        if len(self.prior) and getattr(space, "pretrained", False):
            gallery = replace(
                self, pictures=self.prior, captions=(), keys=self.unseen_keys
            )
            return gallery._kept(space)
        shape = space.encode(self.pictures[:1]).shape[1:]
        return space.encode(self.prior) if len(self.prior) else np.empty((0, *shape))

    def targets(self, space: FeatureSpace, picture: np.ndarray) -> Targets:
        """Return the features of the picture of each trial.

        Those of a pretrained space are computed once for all pictures, and kept.
        """
        if getattr(space, "pretrained", False):
            return Targets(self._kept(space), picture)
        distinct, rows = np.unique(picture, return_inverse=True)
        return Targets(space.encode(self.pictures[distinct]), rows)

    def _kept(self, space: FeatureSpace) -> np.ndarray:
        of_captions = getattr(space, "reads", "pictures") == "captions"
        items = self.captions if of_captions else self.pictures
        if self.cache is None:
            return space.encode(items)
        keys = self.keys
        if of_captions:
            keys = [sha256(repr(own).encode()).hexdigest() for own in self.captions]
        target = self._target(space, keys)
        if is_as_noted(target):
            return np.load(target, mmap_mode="r")
        spaces = {self._target(own, keys): own for own in self._group(space)}
        # Other jobs may want the same features at once, or some of them.
        with locked([path.with_suffix(".lock") for path in spaces]):
            left = {path: own for path, own in spaces.items() if not is_as_noted(path)}
            if left:
                encode_to(left, items, keys)
            for path in left:
                note_checksum(path)
        return np.load(target, mmap_mode="r")

    def _group(self, space: FeatureSpace) -> list[FeatureSpace]:
        """Return a space, and those that are computed at once with it."""
        alike = [
            other
            for other in self.together
            if getattr(space, "shared", None) == other.shared
        ]
        return list({repr(own): own for own in (space, *alike)}.values())

    def _target(self, space: FeatureSpace, keys: Sequence[str]) -> Path:
        """Return where the features of pictures are kept; its end names these."""
        how = sha256(repr(space).encode())
        # Another version may make other features of the same.
        how.update(f"{space.machine.stamp(space.weights)} {__version__} ".encode())
        how.update(str(self.pictures.shape[2:]).encode())
        what = sha256(" ".join(keys).encode())
        names = (type(space).__name__, how.hexdigest()[:16], what.hexdigest()[:16])
        return self.cache / f"{'-'.join(names)}.npy"


def encode_to(
    spaces: Mapping[Path, FeatureSpace], items: Sequence, keys: Sequence[str]
) -> None:
    """Write the features of all items, some at a time; one that was killed goes on.

    Those that lie there already, of another participant, are copied. Nobody else may
    write to any of the paths meanwhile.

    Parameters
    ----------
    spaces : mapping of Path to FeatureSpace
        Where features are found when all are there, and a pretrained space, or several
        that have ``shared`` in common.
    items : sequence
        Pictures, or captions.
    keys : sequence of str
        What tells each item from others.
    """
    paths, n = list(spaces), len(keys)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    parts = [_Part(path) for path in paths]
    # What one of the files lacks is computed for all of them.
    left = sorted(set().union(*(part.begin(keys) for part in parts)))
    logger.info("features %s: %d of %d to compute", paths[0].stem, len(left), n)
    tell = teller(f"features {paths[0].stem}", n, n - len(left))
    if left:
        of_pictures = isinstance(items, Pictures)
        chosen = items[np.array(left)] if of_pictures else [items[r] for r in left]
        for rows, found in _batches(list(spaces.values()), chosen):
            for part, values in zip(parts, found, strict=True):
                part.write(np.array(left[rows]), values, n)
                part.note(left[rows.stop :])
            tell(n - len(left) + rows.stop)
    for part in parts:
        part.finish(keys)


class _Part:
    """A file of features that is not finished, and a note of the rows it lacks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values = path.with_name(f"unfinished-{path.name}")
        self.left = self.values.with_suffix(".json")

    def begin(self, keys: Sequence[str]) -> list[int]:
        """Go on, or begin with rows that other files have; return which are left."""
        left = self._noted()
        if left is None:
            # A note is never beside values of which it does not speak.
            self.left.unlink(missing_ok=True)
            self.values.unlink(missing_ok=True)
            left = self._copied(keys)
        self.is_new = not self.values.is_file()
        return left

    def write(self, rows: np.ndarray, values: np.ndarray, n: int) -> None:
        """Write some rows of n."""
        if self.is_new:
            out = new_array(self.values, (n, *values.shape[1:]))
            self.is_new = False
        else:
            out = np.lib.format.open_memmap(self.values, "r+")
        out[rows] = values
        out.flush()

    def note(self, left: Sequence[int]) -> None:
        """Note which rows are left."""
        write_text(self.left, json.dumps({"Left": list(left)}))

    def finish(self, keys: Sequence[str]) -> None:
        """Give the file its name."""
        write_text(self.path.with_suffix(".json"), json.dumps(list(keys)))
        self.values.replace(self.path)
        self.left.unlink(missing_ok=True)

    def _noted(self) -> list[int] | None:
        """Return which rows are left; ``None`` where it is not said."""
        if not self.values.is_file():
            return None
        try:
            return json.loads(self.left.read_text(encoding="utf-8"))["Left"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _copied(self, keys: Sequence[str]) -> list[int]:
        """Begin with rows that other files have; return which are left."""
        left = np.ones(len(keys), dtype=bool)
        kind = self.path.stem.rpartition("-")[0]
        for index in sorted(self.path.parent.glob(f"{kind}-*.json")):
            other = index.with_suffix(".npy")
            place = {key: row for row, key in enumerate(json.loads(index.read_text()))}
            rows = np.flatnonzero([key in place for key in keys] & left)
            if not len(rows) or not is_as_noted(other):
                continue
            known = np.array([place[keys[row]] for row in rows])
            values = np.load(other, mmap_mode="r")
            if not self.values.is_file():
                new_array(self.values, (len(keys), *values.shape[1:]))
            for start in range(0, len(rows), COPIED):
                some = slice(start, start + COPIED)
                out = np.lib.format.open_memmap(self.values, "r+")
                out[rows[some]] = fresh(values)[known[some]]
                out.flush()
            left[rows] = False
        return np.flatnonzero(left).tolist()


def _batches(
    spaces: Sequence[FeatureSpace], items: object
) -> Iterator[tuple[slice, Sequence[np.ndarray]]]:
    if hasattr(spaces[0], "shared"):
        yield from spaces[0].batches_of(spaces, items)
        return
    for rows, values in spaces[0].batches(items):
        yield rows, (values,)


def teller(what: str, n: int, done: int = 0) -> Callable[[int], None]:
    """Return what says, now and then, how far something is and how long it takes."""
    begun = last = time.monotonic()
    first = done

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < SAY_EVERY or done >= n:
            return
        last = now
        left = (now - begun) / (done - first) * (n - done)
        logger.info("%s: %d of %d, about %s left", what, done, n, _duration(left))

    return tell


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    )

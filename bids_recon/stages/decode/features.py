"""All pictures of a participant, and what feature spaces make of them."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

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
from bids_recon.weights import stamp_of

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
        # Other jobs may want the same features at once.
        with locked([min(spaces).with_suffix(".lock")]):
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
        how.update(stamp_of(space.machine.weights(space.weights)).encode())
        how.update(str(self.pictures.shape[2:]).encode())
        what = sha256(" ".join(keys).encode())
        names = (type(space).__name__, how.hexdigest()[:16], what.hexdigest()[:16])
        return self.cache / f"{'-'.join(names)}.npy"


def encode_to(
    spaces: Mapping[Path, FeatureSpace], items: Sequence, keys: Sequence[str]
) -> None:
    """Write the features of all items, some at a time; one that was killed goes on.

    Those that lie there already, of another participant, are copied.

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
    paths = list(spaces)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    parts = [path.with_name(f"unfinished-{path.name}") for path in paths]
    note, names = parts[0].with_suffix(".json"), [path.name for path in paths]
    noted = _noted(note, names) if all(part.is_file() for part in parts) else None
    if noted is None:
        noted = {"Files": names, "Left": _copied(paths, parts, keys), "Done": 0}
    left, first = np.array(noted["Left"], dtype=int), noted["Done"]
    some, n = left[first:], len(keys)
    logger.info("features %s: %d of %d to compute", paths[0].stem, len(some), n)
    tell = teller(f"features {paths[0].stem}", n, n - len(some))
    chosen = items[some] if isinstance(items, Pictures) else [items[r] for r in some]
    for rows, found in _batches(list(spaces.values()), chosen) if len(some) else ():
        for part, values in zip(parts, found, strict=True):
            if part.is_file():
                out = np.lib.format.open_memmap(part, "r+")
            else:
                out = new_array(part, (len(keys), *values.shape[1:]))
            out[some[rows]] = values
            out.flush()
        noted["Done"] = first + rows.stop
        write_text(note, json.dumps(noted))
        tell(n - len(left) + noted["Done"])
    for part, path in zip(parts, paths, strict=True):
        write_text(path.with_suffix(".json"), json.dumps(list(keys)))
        part.replace(path)
    note.unlink(missing_ok=True)


def _copied(
    paths: Sequence[Path], parts: Sequence[Path], keys: Sequence[str]
) -> list[int]:
    """Begin new files with rows that other files have; return which rows are left."""
    for part in parts:
        part.unlink(missing_ok=True)
    left = np.ones(len(keys), dtype=bool)
    kind = paths[0].stem.rpartition("-")[0]
    for index in sorted(paths[0].parent.glob(f"{kind}-*.json")):
        end = index.stem.rpartition("-")[2]
        others = [
            path.with_name(f"{path.stem.rpartition('-')[0]}-{end}.npy")
            for path in paths
        ]
        place = {key: row for row, key in enumerate(json.loads(index.read_text()))}
        rows = np.flatnonzero([key in place for key in keys] & left)
        if not len(rows) or not all(map(is_as_noted, others)):
            continue
        known = np.array([place[keys[row]] for row in rows])
        for other, part in zip(others, parts, strict=True):
            values = np.load(other, mmap_mode="r")
            if not part.is_file():
                new_array(part, (len(keys), *values.shape[1:]))
            for start in range(0, len(rows), COPIED):
                some = slice(start, start + COPIED)
                out = np.lib.format.open_memmap(part, "r+")
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


def _noted(note: Path, names: list[str]) -> dict[str, Any] | None:
    """Return how far unfinished files are; ``None`` where it is not said."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        return noted if noted["Files"] == names and "Left" in noted else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


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

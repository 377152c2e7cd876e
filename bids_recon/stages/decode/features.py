"""All pictures of a participant, and what feature spaces make of them."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from bids_recon.dataset.locks import locked
from bids_recon.datatypes import FeatureSpace, Targets
from bids_recon.files import is_as_noted, new_array, note_checksum, write_whole
from bids_recon.plan.methods import machine_of, space_of
from bids_recon.plan.plan import Plan, load_plan_pictures, load_prior
from bids_recon.recipe import Recipe
from bids_recon.weights import stamp_of

logger = logging.getLogger("bids_recon")

COMPARED = 4096
"""Features that pictures are compared by, where a space has more."""

SAY_EVERY = 30.0
"""Seconds between two lines on how far a long computation is."""


@dataclass(frozen=True)
class Gallery:
    """Pictures and captions.

    Parameters
    ----------
    pictures : array of shape (n_stimuli, 3, H, W)
        Memory-mapped.
    captions : tuple of tuple of str
        Of each; empty where there are none.
    cache : Path, optional
        The folder in which the features of pretrained spaces are kept.
    unseen : array of shape (n_prior, 3, H, W), optional
        Pictures that were never shown.
    together : tuple of FeatureSpace
        Spaces of which those that have ``shared`` in common are computed at once.
    """

    pictures: np.ndarray
    captions: tuple[tuple[str, ...], ...] = ()
    cache: Path | None = None
    unseen: np.ndarray | None = None
    together: tuple[FeatureSpace, ...] = ()

    @property
    def prior(self) -> np.ndarray:
        """Pictures that were never shown (n_prior, 3, H, W); often none."""
        return self.pictures[:0] if self.unseen is None else self.unseen

    @classmethod
    def of(cls, plan: Plan, recipe: Recipe) -> "Gallery":
        """Return the pictures of a plan at a recipe's size."""
        pictures = load_plan_pictures(plan, recipe)
        captions = tuple(plan.captions.values())
        unseen = load_prior(plan, pictures) if plan.prior else None
        machine = machine_of(plan.settings)
        spaces = (space_of(step, machine) for step in recipe.decode.values())
        together = tuple(space for space in spaces if hasattr(space, "shared"))
        return cls(pictures, captions, plan.work / "features", unseen, together)

    def prior_features(self, space: FeatureSpace) -> np.ndarray:
        """Return the features of pictures that were never shown, (n_prior, *shape)."""
        if len(self.prior) and getattr(space, "pretrained", False):
            gallery = Gallery(self.prior, (), self.cache, None, self.together)
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
        target = self._target(space)
        if is_as_noted(target):
            return np.load(target, mmap_mode="r")
        group = self._group(space)
        first = min(map(self._target, group.values()))
        # Jobs of one participant may want the same features at once.
        with locked([first.with_suffix(".lock")]):
            left = {
                self._target(own): own
                for own in group.values()
                if not is_as_noted(self._target(own))
            }
            if left:
                encode_to(tuple(left), tuple(left.values()), items)
            for path in left:
                note_checksum(path)
        return np.load(target, mmap_mode="r")

    def _group(self, space: FeatureSpace) -> dict[str, FeatureSpace]:
        """Return a space, and those that are computed at once with it."""
        alike = [
            other
            for other in self.together
            if getattr(space, "shared", None) == other.shared
        ]
        return {repr(own): own for own in (space, *alike)}

    def _target(self, space: FeatureSpace) -> Path:
        return self.cache / f"{type(space).__name__}-{self._digest(space)}.npy"

    def _digest(self, space: FeatureSpace) -> str:
        digest = sha256(repr(space).encode())
        digest.update(stamp_of(space.machine.weights(space.weights)).encode())
        digest.update(repr(self.captions).encode())
        if isinstance(self.pictures, np.memmap):
            # The name of the file says what is in it.
            digest.update(Path(self.pictures.filename).name.encode())
        else:
            digest.update(np.ascontiguousarray(self.pictures).tobytes())
        return digest.hexdigest()[:16]


def encode_to(
    paths: Sequence[Path], spaces: Sequence[FeatureSpace], items: object
) -> None:
    """Write the features of all items, some at a time; one that was killed goes on.

    Parameters
    ----------
    paths : sequence of Path
        Where they are found when all are there, for each space.
    spaces : sequence of FeatureSpace
        A pretrained one, or several that have ``shared`` in common.
    items : sequence
        Pictures, or captions.
    """
    parts = [path.with_name(f"unfinished-{path.name}") for path in paths]
    note = parts[0].with_suffix(".json")
    names = [path.name for path in paths]
    done = _done(note, names) if all(part.is_file() for part in parts) else 0
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    tell = teller(f"features {paths[0].stem}", len(items), done)
    first = done
    for rows, found in _batches(spaces, items[first:]):
        for part, values in zip(parts, found, strict=True):
            if done == 0:
                out = new_array(part, (len(items), *values.shape[1:]))
            else:
                out = np.lib.format.open_memmap(part, "r+")
            out[first + rows.start : first + rows.stop] = values
            out.flush()
        done = first + rows.stop
        text = json.dumps({"Done": done, "Files": names})
        write_whole(note, lambda new, text=text: new.write_text(text))
        tell(done)
    for part, path in zip(parts, paths, strict=True):
        part.replace(path)
    note.unlink(missing_ok=True)


def _batches(
    spaces: Sequence[FeatureSpace], items: object
) -> Iterator[tuple[slice, Sequence[np.ndarray]]]:
    if hasattr(spaces[0], "shared"):
        yield from spaces[0].batches_of(spaces, items)
        return
    for rows, values in spaces[0].batches(items):
        yield rows, (values,)


def _done(note: Path, names: list[str]) -> int:
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        return int(noted["Done"]) if noted["Files"] == names else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


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

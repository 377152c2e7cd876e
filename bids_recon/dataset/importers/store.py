"""Where a release lies: in a folder of this machine, or in a bucket."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from bids_recon.dataset.importers.ranges import Range, join
from bids_recon.dataset.importers.target import Source
from bids_recon.errors import Status, UserError
from bids_recon.files import absolute_path, check_regular, not_fetched


class Store(Protocol):
    """Where the files of a release are, by their paths below its root."""

    remote: bool
    fetched: int

    def where(self, key: str) -> str:
        """Return the place of a file, for messages."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""

    def exists(self, key: str) -> bool:
        """Tell whether there is a file."""

    def size(self, key: str) -> int:
        """Return the bytes of a file."""

    def source(self, key: str) -> Source:
        """Return what tells whether a file changed."""

    def file(self, key: str) -> Path:
        """Return a file, whole, on this machine."""

    def drop(self, key: str) -> None:
        """Forget a fetched file, of which all that is wanted was written elsewhere."""

    def read(self, key: str, ranges: Sequence[Range]) -> list[bytes]:
        """Return some bytes of a file."""

    def open(self, key: str) -> Any:
        """Open a file for what reads here and there."""


class Folder:
    """A release on this machine.

    Parameters
    ----------
    root : Path
        Where it lies.

    Raises
    ------
    UserError
        If there is no such folder.
    """

    remote = False

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            what = "is no folder" if root.exists() else "there is no such folder"
            raise UserError(f"{root}: {what}.", Status.NO_INPUT)
        self.root = root
        self.fetched = 0

    def where(self, key: str) -> str:
        """Return the place of a file, for messages."""
        return str(self.root / key)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        place = self.root / folder
        return sorted(p.name for p in place.iterdir()) if place.is_dir() else []

    def exists(self, key: str) -> bool:
        """Tell whether there is a file; a link whose content is missing is told."""
        path = self.root / key
        if path.is_symlink() and not path.exists():
            raise not_fetched(path)
        return path.is_file()

    def size(self, key: str) -> int:
        """Return the bytes of a file."""
        return check_regular(self.root / key).st_size

    def source(self, key: str) -> Source:
        """Return what tells whether a file changed."""
        return Source.of(self.root / key)

    def file(self, key: str) -> Path:
        """Return a file."""
        check_regular(self.root / key)
        return self.root / key

    def drop(self, key: str) -> None:
        """Leave a file where it is: it is the user's."""

    def read(self, key: str, ranges: Sequence[Range]) -> list[bytes]:
        """Return some bytes of a file.

        Raises
        ------
        UserError
            If it ends before them.
        """
        found = []
        with self.file(key).open("rb") as stream:
            for start, stop in ranges:
                stream.seek(start)
                found.append(stream.read(stop - start))
                if len(found[-1]) != stop - start:
                    raise UserError(_ends(self.where(key), stop))
        return found

    def open(self, key: str) -> Any:
        """Open a file for what reads here and there."""
        return self.file(key).open("rb")


def open_store(source: str, cache: Path) -> Store:
    """Return where a release lies.

    Raises
    ------
    UserError
        If it is nowhere.
    """
    if "://" not in source:
        return Folder(absolute_path(source))
    from bids_recon.dataset.importers.bucket import Bucket

    return Bucket(source, cache)


def read_joined(
    store: Store, key: str, ranges: Sequence[Range]
) -> dict[Range, memoryview]:
    """Return the bytes of many small ranges, read in few requests."""
    ranges = sorted(set(ranges))
    if not ranges:
        return {}
    found: dict[Range, memoryview] = {}
    joined = join(ranges)
    blocks = iter(zip(joined, store.read(key, joined), strict=True))
    (first, last), block = next(blocks)
    for start, stop in ranges:
        while stop > last:
            (first, last), block = next(blocks)
        found[start, stop] = memoryview(block)[start - first : stop - first]
    return found


def _ends(where: str, stop: int) -> str:
    return (
        f"{where}: the file is cut short: it ends before byte {stop:,}. Fetch it again."
    )

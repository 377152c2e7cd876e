"""A release in a bucket of S3, read by ranges, and kept where it is read whole."""

import gc
import io
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bids_recon.dataset.importers.ranges import PIECE, Range, in_words, split
from bids_recon.dataset.importers.target import Source
from bids_recon.errors import Status, UserError
from bids_recon.files import PART, write_text

logger = logging.getLogger("bids_recon")

TRIES = 6
"""How often something is asked for before it is given up."""

FIRST_WAIT = 0.2
"""Seconds before the second try; each further wait is twice as long."""

AT_ONCE = 16
"""Requests under way at the same time."""


class Bucket:
    """A release in a bucket of S3, read without an account.

    What is read whole is kept below ``cache``, and goes on where it was cut off.

    Parameters
    ----------
    address : str
        ``s3://bucket``, and perhaps a folder in it.
    cache : Path
        Where files are kept.

    Raises
    ------
    UserError
        If the library that reads buckets is missing, or the address is another kind.
    """

    remote = True

    def __init__(self, address: str, cache: Path) -> None:
        kind, _, place = address.partition("://")
        if kind != "s3" or not place.strip("/"):
            raise UserError(
                f"{address}: expected a folder, or an address such as s3://bucket.",
                Status.USAGE,
            )
        try:
            import s3fs
        except ImportError as error:
            raise UserError(
                f"{address}: reading buckets needs s3fs. Install it with: pip install "
                "'bids-recon[import]'",
                Status.USAGE,
            ) from error
        self.address = address.rstrip("/")
        self.root = place.strip("/")
        self.cache = cache
        self.fetched = 0
        self._infos: dict[str, dict[str, Any]] = {}
        self._fs = s3fs.S3FileSystem(
            anon=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                "connect_timeout": 20,
                "read_timeout": 60,
            },
        )
        # It is asked again here, where all kinds of failures are seen.
        self._fs.retries = 1

    def where(self, key: str) -> str:
        """Return the address of a file, for messages."""
        return f"{self.address}/{key}"

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        try:
            found = self._ask(folder, lambda path: self._fs.ls(path, detail=False))
        except FileNotFoundError:
            return []
        return sorted(PurePosixPath(path).name for path in found)

    def exists(self, key: str) -> bool:
        """Tell whether there is a file."""
        try:
            return self._info(key)["type"] == "file"
        except FileNotFoundError:
            return False

    def size(self, key: str) -> int:
        """Return the bytes of a file."""
        return int(self._known(key)["size"])

    def source(self, key: str) -> Source:
        """Return what tells whether a file changed."""
        info = self._known(key)
        return Source(self.where(key), (info["size"], str(info.get("ETag", ""))))

    def file(self, key: str) -> Path:
        """Return a file, fetched whole; what was cut off goes on.

        Raises
        ------
        UserError
            If it cannot be fetched, or kept.
        """
        path = self.cache / key
        size, tag = self.source(key).stamp
        noted = path.with_name(f"{path.name}.etag")
        if path.is_file() and path.stat().st_size == size:
            if noted.is_file() and noted.read_text("utf-8") == tag:
                return path
            path.unlink()
        code = "".join(c for c in tag if c.isalnum())
        begun = path.with_name(f"{PART}{path.name}.{code}")
        if size >= PIECE:
            logger.info("Fetching %s (%s)", self.where(key), in_words(size))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with begun.open("ab") as stream:
                for first in range(stream.tell(), size, PIECE * AT_ONCE):
                    last = min(first + PIECE * AT_ONCE, size)
                    for block in self.read(key, split((first, last))):
                        stream.write(block)
            begun.replace(path)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror or error}). Check the "
                "permissions and the space left. The same command goes on where it "
                "was.",
                Status.CANNOT_WRITE,
            ) from error
        write_text(noted, tag)
        return path

    def drop(self, key: str) -> None:
        """Forget a fetched file, of which all that is wanted was written elsewhere."""
        path = self.cache / key
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.etag").unlink(missing_ok=True)

    def read(self, key: str, ranges: Sequence[Range]) -> list[bytes]:
        """Return some bytes of a file, several requests at once.

        Raises
        ------
        UserError
            If the bucket does not give them.
        """
        if not ranges:
            return []
        found: list[Any] = [None] * len(ranges)

        def fetch(path: str) -> None:
            left = [i for i, block in enumerate(found) if block is None]
            blocks = self._fs.cat_ranges(
                [path] * len(left),
                [ranges[i][0] for i in left],
                [ranges[i][1] for i in left],
                on_error="return",
                batch_size=AT_ONCE,
            )
            problem: Exception | None = None
            for i, block in zip(left, blocks, strict=True):
                length = ranges[i][1] - ranges[i][0]
                if isinstance(block, bytes) and len(block) == length:
                    found[i] = block
                    self.fetched += length
                elif isinstance(block, bytes):
                    problem = OSError(f"{len(block)} bytes for the {length} asked for")
                else:
                    problem = block
            if problem is not None:
                raise problem

        try:
            self._ask(key, fetch)
        except FileNotFoundError as error:
            raise self._missing(key) from error
        return found

    def open(self, key: str) -> Any:
        """Open a file for what reads here and there."""
        return _Ranges(self, key)

    def _known(self, key: str) -> dict[str, Any]:
        try:
            return self._info(key)
        except FileNotFoundError as error:
            raise self._missing(key) from error

    def _missing(self, key: str) -> UserError:
        return UserError(f"{self.where(key)}: no such file.", Status.NO_INPUT)

    def _info(self, key: str) -> dict[str, Any]:
        if key not in self._infos:
            self._infos[key] = self._ask(key, self._fs.info)
        return self._infos[key]

    def _ask(self, key: str, question: Callable[[str], Any]) -> Any:
        """Ask until there is an answer, or none is to be expected.

        Raises
        ------
        FileNotFoundError
            If there is no such file, or folder.
        UserError
            If the bucket refuses, or gives no answer.
        """
        where = self.where(key).rstrip("/")
        wait = FIRST_WAIT
        for left in reversed(range(TRIES)):
            try:
                return question(f"{self.root}/{key}".rstrip("/"))
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise UserError(
                    f"{where}: access is refused (403, {error}). Is the address right? "
                    "Without an account, only what is open to all can be read.",
                    Status.NO_INPUT,
                ) from error
            # What a network makes of a request is whatever its libraries raise.
            except Exception as error:
                if not left:
                    raise UserError(
                        f"{where}: no answer in {TRIES} tries ({_short(error)}). Check "
                        "the connection. The same command goes on where it was.",
                        Status.NO_INPUT,
                    ) from error
            time.sleep(wait)
            wait *= 2
        raise AssertionError


class _Ranges(io.RawIOBase):
    """A file of a bucket, of which no byte is read but those asked for."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._size = bucket.size(key)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}
        self._at = base[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        # h5py calls this and holds its lock. The thread that fetches must not collect
        # garbage of h5py's meanwhile, which would wait for that lock for ever.
        collects = gc.isenabled()
        gc.disable()
        try:
            (block,) = self._bucket.read(self._key, [(self._at, stop)])
        finally:
            if collects:
                gc.enable()
        buffer[: len(block)] = block
        self._at = stop
        return len(block)


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).split("\n")[0][:200]

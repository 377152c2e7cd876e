"""Files: checked before they are read, hashed, and written whole or not at all."""

import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

from bids_recon.errors import Status, UserError

PART = ".bids-recon-part-"
"""What the name of a file begins with as long as it is being written."""


def absolute_path(text: str) -> Path:
    """Return an absolute path; nothing is said about whether it exists."""
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside ``path`` and rename, so that no half-written file has its name.

    Raises
    ------
    UserError
        If the place cannot be written to.
    """
    part = _part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def cannot_be_written(place: Path | str, error: OSError) -> UserError:
    """Return what to raise where the system lets nothing be written."""
    check = "the permissions of the output and work directories"
    if error.errno == errno.ENOSPC:
        check = "the space left, and whether the disk holds any more files"
    elif error.errno == errno.EDQUOT:
        check = "your quota, of space and of the number of files"
    return UserError(
        f"{place}: cannot be written ({error.strerror or error}). Check {check}; the "
        "same command goes on where it was.",
        Status.CANNOT_WRITE,
    )


def _part_of(path: Path) -> Path:
    """Return a name beside a file that no other process, on any machine, will use."""
    from uuid import uuid4

    # Writers choose the format by the suffix. A name is at most 255 bytes long.
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    return path.with_name(f"{PART}{uuid4().hex}{suffix}")


def new_array(
    path: Path, shape: tuple[int, ...], dtype: str = "float32"
) -> "np.memmap":
    """Make a file for an array, of float32 by default, with room on the disk; map it.

    A map of a file without room ends the process when the disk is full.

    Raises
    ------
    OSError
        If there is no room.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    reserve = getattr(os, "posix_fallocate", None)
    if reserve is not None:
        with path.open("r+b") as stream:
            reserve(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
    return array


def save_arrays(arrays: "Mapping[str, np.ndarray]", path: Path) -> None:
    """Write arrays by their names, in a form that loads without pickle.

    Whom the file may be read by is as for other files; safetensors lets only the user.

    Raises
    ------
    OSError
        If the place cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(arrays), path)
        path.chmod(mode)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def write_text(path: Path, text: str) -> None:
    """Write text whole, leaving a file alone that holds it already."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    write_whole(path, lambda part: part.write_bytes(text.encode()))


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What may have the name of a file and is none; reading some of them never ends."""


def check_regular(path: Path) -> os.stat_result:
    """Check that a path leads to a file before it is opened, and return its status.

    Raises
    ------
    UserError
        If there is nothing, a link whose content was not fetched, or no plain file,
        such as a pipe, a device or a folder.
    """
    try:
        status = path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(
                f"{path}: this link leads back to itself. Put the file itself there."
            ) from error
        if path.is_symlink():
            raise not_fetched(path) from error
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise UserError(
            f"{path}: {'no such file' if missing else f'cannot be read ({error})'}.",
            Status.NO_INPUT,
        ) from error
    except ValueError as error:
        raise UserError(f"{path!r} is no path of a file ({error}).") from error
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UserError(f"{path}: expected a file, found {kind}.")
    return status


def read_bytes(path: Path) -> bytes:
    """Return what a foreign file holds.

    Raises
    ------
    UserError
        If it is no file that can be read.
    """
    check_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}).", Status.NO_INPUT
        ) from error


def read_text(path: Path) -> str:
    """Return the text of a foreign file, which must be UTF-8; a mark of it is dropped.

    Raises
    ------
    UserError
        If it is no file that can be read, or is in another encoding.
    """
    data = read_bytes(path)
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise UserError(
            f"{path}: line {line} holds a zero byte, so that this is no text in UTF-8. "
            "Save it as text in UTF-8."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}: line {line} is not in UTF-8 (byte {data[error.start]:#04x}), as "
            "BIDS requires. Save the file in UTF-8."
        ) from error


def check_gzip(path: Path) -> None:
    """Read a compressed file to its end, where its checksum and its length stand.

    Raises
    ------
    UserError
        If what it holds is not what was once compressed.
    """
    import gzip
    import zlib

    check_regular(path)
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path}: the file is cut short or damaged: it does not agree with the "
            f"checksum at its end ({error}). Fetch or make it again."
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def note_checksum(path: Path) -> None:
    """Write beside a file that is kept for later what its checksum is."""
    write_text(_noted(path), sha256_of(path))


def is_as_noted(path: Path) -> bool:
    """Tell whether a kept file is there, and is what was kept."""
    try:
        noted = _noted(path).read_text(encoding="utf-8")
        return sha256_once(path) == noted
    except (OSError, UnicodeDecodeError):
        return False


def _noted(path: Path) -> Path:
    return path.with_suffix(".sha256")


def sha256_once(path: Path) -> str:
    """Return the SHA-256 of a file, computed once for each change of it."""
    stamp = path.stat()
    return _sha256_now(path, stamp.st_size, stamp.st_mtime_ns)


@cache
def _sha256_now(path: Path, size: int, changed: int) -> str:  # noqa: ARG001
    return sha256_of(path)


class Remembered:
    """What was computed of files, remembered by their size and time of change.

    Parameters
    ----------
    path : Path or None
        Where it is remembered between runs; ``None`` where nothing may be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            known = json.loads(path.read_text(encoding="utf-8")) if path else {}
        except (OSError, ValueError, RecursionError):
            known = {}
        self._known = known if isinstance(known, dict) else {}

    def of(
        self, files: Mapping[str, Path], compute: Callable[[Path], str], what: str = ""
    ) -> dict[str, str]:
        """Return name -> what is computed, for name -> path.

        Parameters
        ----------
        files : mapping of str to Path
            The files.
        compute : callable
            Computes it of one file.
        what : str
            What tells it from other things that are remembered of the same files.

        Raises
        ------
        UserError
            If one is no plain file.
        """
        result, changed = {}, False
        for name, path in files.items():
            stat = check_regular(path)
            stamp = [stat.st_size, stat.st_mtime_ns]
            entry = self._known.get(f"{what}{path}")
            if not (isinstance(entry, list) and entry[:2] == stamp and entry[2:]):
                entry = [*stamp, compute(path)]
                self._known[f"{what}{path}"] = entry
                changed = True
            result[name] = entry[2]
        if changed and self.path is not None:
            write_text(self.path, json.dumps(self._known, sort_keys=True))
        return result


def not_fetched(path: Path) -> UserError:
    """Return what to raise for a link whose content is not there, as in a clone."""
    return UserError(
        f"{path}: this is a link whose content was not fetched. Fetch it first (for "
        f"instance with: datalad get {path.name}).",
        Status.NO_INPUT,
    )

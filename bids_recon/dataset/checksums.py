"""SHA-256 of inputs and of what earlier stages wrote."""

import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from bids_recon.errors import Status, UserError
from bids_recon.files import check_gzip, check_regular, sha256_of, write_text
from bids_recon.pictures import open_picture


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file that an earlier stage wrote.

    Raises
    ------
    UserError
        If it is not there.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: an earlier stage writes this, and it is not there. Run without "
            "--stages and --reports-only once.",
            Status.NO_INPUT,
        )
    return sha256_of(path)


def checksums(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files that earlier stages wrote, by their names."""
    return {path.name: checksum(path) for path in dict.fromkeys(paths)}


class Checksums:
    """SHA-256 of input files, remembered by size and time of change.

    A compressed file is read to its end once, so that it agrees with the checksum that
    it carries: those who read images stop before it.

    Parameters
    ----------
    path : Path or None
        Where they are remembered between runs; ``None`` where nothing may be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        try:
            known = json.loads(path.read_text(encoding="utf-8")) if path else {}
        except (OSError, ValueError, RecursionError):
            known = {}
        self._known = known if isinstance(known, dict) else {}

    def of(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Return name -> checksum for name -> path.

        Raises
        ------
        UserError
            If a file is not there, such as a link whose content was not fetched, or a
            compressed file is not what its own checksum says.
        """
        return self._remembered(files, "", _of_content)

    def of_pixels(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Return name -> checksum of size and 8-bit RGB pixels, for name -> picture.

        Files of other formats, or with other metadata, have the same one where they
        show the same.

        Raises
        ------
        UserError
            If a file is no picture that can be read.
        """
        return self._remembered(files, "pixels of ", _of_pixels)

    def _remembered(
        self, files: Mapping[str, Path], what: str, compute: Callable[[Path], str]
    ) -> dict[str, str]:
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


def _of_content(path: Path) -> str:
    if path.name.endswith(".gz"):
        check_gzip(path)
    return sha256_of(path)


def _of_pixels(path: Path) -> str:
    picture = open_picture(path)
    return sha256(f"{picture.size} ".encode() + picture.tobytes()).hexdigest()

"""SHA-256 of inputs and of what earlier stages wrote."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from bids_recon.errors import Status, UserError
from bids_recon.files import Remembered, check_gzip, sha256_of
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
        self._remembered = Remembered(path)

    def of(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Return name -> checksum for name -> path.

        Raises
        ------
        UserError
            If a file is not there, such as a link whose content was not fetched, or a
            compressed file is not what its own checksum says.
        """
        return self._remembered.of(files, _of_content)

    def of_pixels(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Return name -> checksum of size and 8-bit RGB pixels, for name -> picture.

        Files of other formats, or with other metadata, have the same one where they
        show the same.

        Raises
        ------
        UserError
            If a file is no picture that can be read.
        """
        return self._remembered.of(files, _of_pixels, "pixels of ")


def _of_content(path: Path) -> str:
    if path.name.endswith(".gz"):
        check_gzip(path)
    return sha256_of(path)


def _of_pixels(path: Path) -> str:
    picture = open_picture(path)
    return sha256(f"{picture.size} ".encode() + picture.tobytes()).hexdigest()

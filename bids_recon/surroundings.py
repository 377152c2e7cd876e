"""What a program expects around it, and may lack on a cluster or in a container.

A user whom no file names has no home, no name, and no place for the caches of
libraries; a root that is read-only has no place for temporary files.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from bids_recon.errors import Status, UserError

CACHES = (
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "MPLCONFIGDIR",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
)
"""Where libraries write, apart from the home. Those they read weights from stay."""

TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")
"""Where Python looks for a place for temporary files if no variable names one."""


@contextmanager
def made_up_for() -> Iterator[None]:
    """Give libraries for a while what the user has not: a name, a home, caches."""
    os.environ.setdefault("USER", "bids-recon")
    for stream in (sys.stdout, sys.stderr):
        # A locale that lacks a character must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if _has_home() and not _closed_caches():
        yield
    elif has_temporary_place():
        with temporary_folder() as folder:
            _move_home(folder)
            yield
    else:
        # A run has a folder of its own, which temporary_files_in takes.
        yield


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Have temporary files, a home and caches in a folder for a while.

    Raises
    ------
    UserError
        If it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".bids-recon-tmp-", dir=folder))
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}), and there is no other "
            "folder for temporary files. Choose another --work-dir, or name a folder "
            "in TMPDIR.",
            Status.CANNOT_WRITE,
        ) from error
    os.environ["TMPDIR"] = tempfile.tempdir = str(place)
    _move_home(place)
    try:
        yield
    finally:
        tempfile.tempdir = None
        rmtree(place, ignore_errors=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for a while.

    Raises
    ------
    UserError
        If there is no place for temporary files.
    """
    if not has_temporary_place():
        raise UserError(
            "There is no folder for temporary files that can be written to, neither "
            "/tmp nor another. Name one in TMPDIR.",
            Status.CANNOT_WRITE,
        )
    with tempfile.TemporaryDirectory(prefix="bids-recon-") as name:
        yield Path(name)


def container() -> dict[str, str] | None:
    """Return what this runs in, as BIDS' ``GeneratedBy`` says it; ``None`` if nowhere.

    An image of ours names itself in ``BIDS_RECON_CONTAINER``; Apptainer and Singularity
    name the file they run.
    """
    tag = os.environ.get("BIDS_RECON_CONTAINER")
    names = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
    image = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if not tag and not image:
        return None
    found = {"Type": "singularity" if image else "docker"}
    return found | {"Tag": tag or Path(str(image)).name}


def has_temporary_place() -> bool:
    """Tell whether there is a folder for temporary files, such as ``/tmp``."""
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError:
        return False
    # Where all else fails, Python takes the folder it was started in.
    named = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    meant = {
        # As Python spells it, which takes .. out.
        Path(os.path.abspath(name))  # noqa: PTH100
        for name in (*filter(None, named), *TEMPORARY)
    }
    return place in meant or place != Path.cwd()


def _has_home() -> bool:
    try:
        home = Path.home()
    except RuntimeError:
        return False
    return home.is_dir() and os.access(home, os.W_OK | os.X_OK)


def _closed_caches() -> list[str]:
    """Return the variables of caches that name a place which cannot be written to."""
    return [name for name in CACHES if not _could_write(os.environ.get(name))]


def _could_write(place: str | None) -> bool:
    if not place:
        return True
    path = Path(place)
    while not path.exists() and path != path.parent:
        path = path.parent
    return os.access(path, os.W_OK | os.X_OK)


def _move_home(folder: Path) -> None:
    """Have the home, and caches that cannot be written to, in a folder."""
    closed = _closed_caches()
    if not _has_home():
        os.environ["HOME"] = str(folder)
    for name in closed:
        os.environ[name] = str(folder / name.lower())

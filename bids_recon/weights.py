"""Pretrained weights by name: where they come from, find, fetch, check."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.files import Remembered, sha256_of, sha256_once, write_whole


@dataclass(frozen=True)
class Weights:
    """One entry of ``weights.yml``.

    Parameters
    ----------
    name : str
        How recipes and profiles call it.
    size : int or None, MB
        How large it is.
    licence : str
        Under which terms it comes.
    needed_by : str
        Which recipes and profiles need it.
    urls : tuple of str
        Addresses of files; several go into one folder.
    sha256 : mapping of str to str
        Of files whose checksum is known.
    hub : str or None
        A repository of the Hugging Face hub.
    files : tuple of str
        Patterns of the files that are taken of it.
    revision : str or None
        The commit, where it is known.
    folder : str or None
        The folder of its files, where that is called otherwise.
    saved_as : str or None
        The name of its file, where the address does not end in one.
    """

    name: str
    size: int | None
    licence: str
    needed_by: str = ""
    urls: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    hub: str | None = None
    files: tuple[str, ...] = ()
    revision: str | None = None
    folder: str | None = None
    saved_as: str | None = None

    @property
    def source(self) -> str:
        """Where it comes from."""
        return self.hub or " ".join(self.urls)

    @property
    def is_folder(self) -> bool:
        """Whether it is more than one file."""
        return self.hub is not None or len(self.urls) > 1

    @property
    def file(self) -> str:
        """The name of the file, or of the folder, that holds it."""
        if self.is_folder:
            return self.folder or self.name.replace("/", "--")
        return self.saved_as or file_name(self.urls[0])

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the files in its folder, where these are known."""
        return tuple(file_name(url) for url in self.urls) if self.is_folder else ()

    @property
    def described(self) -> str:
        """Its name, size and licence."""
        size = f"{self.size} MB, " if self.size else ""
        return f"{self.name} ({size}{self.licence})"

    @property
    def absent(self) -> str:
        """A sentence for where it is needed and not there."""
        return absent([self])


def file_name(url: str) -> str:
    """Return what an address ends in."""
    return url.rsplit("/", 1)[-1]


def first_digits(url: str) -> str | None:
    """Return the digits of a file's SHA-256 that torchvision puts into its name."""
    last = file_name(url).removesuffix(".pth").rsplit("-", 1)[-1]
    is_hash = len(last) == 8 and all(c in "0123456789abcdef" for c in last)
    return last if is_hash and "pytorch.org" in url else None


def absent(missing: list[Weights]) -> str:
    """Say which weights are missing and the one command that fetches them."""
    named = ", ".join(weights.described for weights in missing)
    names = " ".join(weights.name for weights in missing)
    return (
        f"The weights {named} are not here. Fetch them with: bids-recon-weights fetch "
        f"{names} --to DIR, and pass --weights-dir DIR."
    )


@cache
def known_weights() -> dict[str, Weights]:
    """Return all entries of ``weights.yml`` by name."""
    data: dict[str, Any] = yaml.safe_load(
        files("bids_recon").joinpath("weights.yml").read_text(encoding="utf-8")
    )
    return {
        name: Weights(
            name=name,
            needed_by=entry.pop("for"),
            urls=tuple(entry.pop("urls", ()))
            or tuple(filter(None, [entry.pop("url", None)])),
            files=tuple(entry.pop("files", ())),
            **entry,
        )
        for name, entry in data.items()
    }


def weights_called(name: str) -> Weights:
    """Return an entry, or a repository of the hub, a folder or a file called so.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    known = known_weights()
    if name in known:
        return known[name]
    if os.path.isdir(name) or _is_file(name) or _is_repository(name):  # noqa: PTH112
        return Weights(name, None, "see where it came from", hub=name)
    raise UserError(
        f"There are no weights called {name!r}. {did_you_mean(name, known)} Others are "
        "named by their repository of the hub (OWNER/NAME), their folder or their "
        f"file ({', '.join(FILES)}).",
        Status.USAGE,
    )


FILES = (".safetensors", ".pt", ".pth")
"""What files of weights of one's own are called; all are read without pickle."""


def _is_file(name: str) -> bool:
    return name.endswith(FILES) and os.path.isfile(name)  # noqa: PTH113


def _is_repository(name: str) -> bool:
    """Tell whether a repository of the hub could be called so."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def find(weights: Weights, weights_dir: Path | None) -> Path | None:
    """Return the file or folder of weights that are here, or ``None``.

    Looked up in the folder given, in that of ``BIDS_RECON_WEIGHTS``, which an image
    names, and then in the caches of torch (``TORCH_HOME``) and of the Hugging Face hub
    (``HF_HOME``). The network is not used.
    """
    of_image = os.environ.get("BIDS_RECON_WEIGHTS")
    folders = [weights_dir, Path(of_image) if of_image else None]
    places = [folder / weights.file for folder in folders if folder]
    if weights.urls:
        default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
        home = Path(os.environ.get("TORCH_HOME", default)).expanduser()
        places.append(home / "hub" / "checkpoints" / weights.file)
    elif weights.name == weights.hub:
        places.insert(0, Path(weights.name))
    found = next((place for place in places if _is_whole(weights, place)), None)
    return found or (_in_hub_cache(weights) if weights.hub else None)


def _is_whole(weights: Weights, place: Path) -> bool:
    if not weights.is_folder or _is_file(str(place)):
        return place.is_file()
    return place.is_dir() and all((place / part).is_file() for part in weights.parts)


def _in_hub_cache(weights: Weights) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for name in ("config.json", "unet/config.json", "image_unet/config.json"):
        found = try_to_load_from_cache(
            str(weights.hub), name, revision=weights.revision
        )
        if isinstance(found, str):
            return Path(found).parents[name.count("/")]
    return None


def fetch(weights: Weights, folder: Path) -> Path:
    """Fetch weights into a folder; each file whole or not at all.

    Raises
    ------
    UserError
        If they cannot be reached, or are not what is known of them.
    """
    target = folder / weights.file
    if weights.hub:
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(
                weights.hub,
                revision=weights.revision,
                local_dir=target,
                allow_patterns=list(weights.files) or None,
            )
        except OSError as error:
            raise _unreachable(weights, error) from error
        return target
    for url in weights.urls:
        path = target / file_name(url) if weights.is_folder else target
        write_whole(path, partial(_download, weights, url))
    return target


def _download(weights: Weights, url: str, part: Path) -> None:
    try:
        with urlopen(url) as answer, part.open("wb") as stream:
            while block := answer.read(1 << 20):
                stream.write(block)
    except OSError as error:
        raise _unreachable(weights, error) from error
    _check_file(weights, url, part)


def _unreachable(weights: Weights, error: OSError) -> UserError:
    return UserError(
        f"{weights.source}: cannot be fetched ({error}). Is there a "
        "network? Fetch it elsewhere and put it into the folder as "
        f"{weights.file}.",
        Status.NO_INPUT,
    )


def _check_file(weights: Weights, url: str, path: Path) -> bool:
    """Compare a file with its checksum; tell whether one is known."""
    known = weights.sha256.get(file_name(url)) or first_digits(url)
    if known is None:
        return False
    found = sha256_of(path)
    if not found.startswith(known):
        raise UserError(
            f"{path}: not the weights {weights.name}: their SHA-256 begins with "
            f"{known[:8]}, that of the file with {found[:8]}. It may "
            "be truncated; fetch it again."
        )
    return True


def check(weights: Weights, weights_dir: Path | None) -> tuple[Path | None, bool]:
    """Compare weights with what is known of them.

    Returns
    -------
    tuple of Path and bool
        Where they are, and whether a checksum of all their files is known.

    Raises
    ------
    UserError
        If a file is not what its name says.
    """
    path = find(weights, weights_dir)
    if path is None:
        return None, False
    compared = [
        _check_file(weights, url, path / file_name(url) if weights.is_folder else path)
        for url in weights.urls
    ]
    return path, bool(compared) and all(compared)


def stamp_of(path: Path, memory: Path | None = None) -> str:
    """Return what changes when weights change: names and contents of their files.

    1.7 GB take 1.8 s (one core of an AMD EPYC, file in memory), once for each change of
    size or time: checksums are kept while the program runs, and in ``memory`` between
    runs. Hidden files, such as what the client of the hub notes, do not count.

    Parameters
    ----------
    path : Path
        The file or folder.
    memory : Path, optional
        Where checksums are remembered.
    """
    path = path.absolute()
    own = path.rglob("*") if path.is_dir() else [path]
    # Folders of a model hold files of the same name.
    names = {str(file.relative_to(path)): file for file in own if file.is_file()}
    shown = {
        name: names[name]
        for name in sorted(names)
        if not any(part.startswith(".") for part in Path(name).parts)
    }
    found = Remembered(memory).of(shown, sha256_once)
    return sha256(repr(list(found.items())).encode()).hexdigest()[:16]


def provenance_of(weights: Weights, path: Path) -> str:
    """Return where weights came from, and the revision or checksum that was found."""
    if weights.urls:
        paths = [path / part for part in weights.parts] or [path]
        return f"{weights.source} sha256 {' '.join(sha256_once(p) for p in paths)}"
    revision = _resolved_revision(path)
    return f"{weights.source}{f' revision {revision}' if revision else ''}"


def _resolved_revision(path: Path) -> str | None:
    """Return the commit of the hub that a folder holds, as its client notes it."""
    if path.parent.name == "snapshots":
        return path.name
    notes = sorted((path / ".cache" / "huggingface" / "download").rglob("*.metadata"))
    return notes[0].read_text(encoding="utf-8").split("\n", 1)[0] if notes else None

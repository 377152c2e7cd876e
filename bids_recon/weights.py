"""Pretrained weights by name: where they come from, find, fetch, check."""

import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.files import sha256_of, write_whole


@dataclass(frozen=True)
class Weights:
    """One entry of ``weights.yml``.

    Parameters
    ----------
    name : str
        How recipes and profiles call it.
    size : int, MB
        How large it is.
    licence : str
        Under which terms it comes.
    url : str or None
        The address of a single file.
    hub : str or None
        A repository of the Hugging Face hub, of which all files are taken.
    """

    name: str
    size: int
    licence: str
    url: str | None = None
    hub: str | None = None

    @property
    def file(self) -> str:
        """The name of the file, or of the folder, that holds it."""
        return self.url.rsplit("/", 1)[-1] if self.url else self.name

    @property
    def digits(self) -> str | None:
        """The first digits of its SHA-256, where the name of the file holds them."""
        last = self.file.removesuffix(".pth").rsplit("-", 1)[-1]
        is_hash = len(last) == 8 and all(c in "0123456789abcdef" for c in last)
        return last if is_hash and self.url and "pytorch.org" in self.url else None

    @property
    def absent(self) -> str:
        """A sentence for where it is needed and not there."""
        return absent([self])


def absent(missing: list[Weights]) -> str:
    """Say which weights are missing and the one command that fetches them."""
    named = ", ".join(f"{w.name} ({w.size} MB, {w.licence})" for w in missing)
    names = " ".join(weights.name for weights in missing)
    return (
        f"The weights {named} are not here. Fetch them with: bids-recon-weights fetch "
        f"{names} --to DIR, and pass --weights-dir DIR."
    )


@cache
def known_weights() -> dict[str, Weights]:
    """Return all entries of ``weights.yml`` by name."""
    data: dict[str, Any] = yaml.safe_load(
        files("bids_recon").joinpath("weights.yml").read_text()
    )
    return {name: Weights(name=name, **entry) for name, entry in data.items()}


def weights_called(name: str) -> Weights:
    """Return an entry.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    known = known_weights()
    if name not in known:
        raise UserError(
            f"There are no weights called {name!r}. {did_you_mean(name, known)}",
            Status.USAGE,
        )
    return known[name]


def find(weights: Weights, weights_dir: Path | None) -> Path | None:
    """Return the file or folder of weights that are here, or ``None``.

    Looked up in the folder given, and then in the caches of torch (``TORCH_HOME``) and
    of the Hugging Face hub (``HF_HOME``). The network is not used.
    """
    places = [weights_dir / weights.file] if weights_dir else []
    if weights.url:
        default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
        home = Path(os.environ.get("TORCH_HOME", default)).expanduser()
        places.append(home / "hub" / "checkpoints" / weights.file)
    found = next((place for place in places if place.exists()), None)
    if found is None and weights.hub:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(weights.hub, "config.json")
        found = Path(config).parent if isinstance(config, str) else None
    return found


def fetch(weights: Weights, folder: Path) -> Path:
    """Fetch weights into a folder, whole or not at all.

    Raises
    ------
    UserError
        If they cannot be reached, or are not what their name says.
    """
    target = folder / weights.file
    if weights.hub:
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(weights.hub, local_dir=target)
        except OSError as error:
            raise _unreachable(weights, error) from error
    else:
        write_whole(target, lambda part: _download(weights, part))
    return target


def _download(weights: Weights, part: Path) -> None:
    try:
        with urlopen(weights.url) as answer, part.open("wb") as stream:
            while block := answer.read(1 << 20):
                stream.write(block)
    except OSError as error:
        raise _unreachable(weights, error) from error
    _check_digits(weights, part)


def _unreachable(weights: Weights, error: OSError) -> UserError:
    return UserError(
        f"{weights.url or weights.hub}: cannot be fetched ({error}). Is there a "
        "network? Fetch it elsewhere and put it into the folder as "
        f"{weights.file}.",
        Status.NO_INPUT,
    )


def _check_digits(weights: Weights, path: Path) -> None:
    if weights.digits is None:
        return
    found = sha256_of(path)
    if not found.startswith(weights.digits):
        raise UserError(
            f"{path}: not the weights {weights.name}: their SHA-256 begins with "
            f"{weights.digits}, that of the file with {found[:8]}. It may "
            "be truncated; fetch it again."
        )


def check(weights: Weights, weights_dir: Path | None) -> Path | None:
    """Return where weights are, after comparing them with what is known of them.

    Raises
    ------
    UserError
        If a file is not what its name says.
    """
    path = find(weights, weights_dir)
    if path is not None and path.is_file():
        _check_digits(weights, path)
    return path

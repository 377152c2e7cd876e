"""Names of all outputs, and the files at the root that describe them."""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize

from bids.layout.writing import build_path

from bids_recon import __version__
from bids_recon.errors import Status, UserError
from bids_recon.files import write_json, write_text
from bids_recon.surroundings import container

BIDS_VERSION = "1.10.0"

LONGEST = 70
"""Characters of a name of ours in a file name, which has 255 bytes for all of them."""

LONGEST_STEM = 200
"""Of a picture's name, beside which there are numbers only."""

_FUNC = (
    "sub-{subject}[/ses-{session}]/func/sub-{subject}[_ses-{session}][_task-{task}]"
    "[_acq-{acquisition}][_ce-{ceagent}][_rec-{reconstruction}][_dir-{direction}]"
    "[_run-{run}][_echo-{echo}][_space-{space}]"
)
_SUBJECT = "sub-{subject}/func/sub-{subject}[_task-{task}][_space-{space}]"
_RECON = "sub-{subject}/recon/sub-{subject}[_task-{task}]_label-{label}_desc-{desc}"
_FIGURE = "sub-{subject}/figures/sub-{subject}[_task-{task}]"

PATTERNS = {
    "responses": _FUNC + "_stat-effect_desc-{desc}_statmap{extension|.nii.gz}",
    "trials": _FUNC + "_desc-{desc}_events{extension|.tsv}",
    "mask": _SUBJECT + "_label-{label}_desc-used_mask{extension|.nii.gz}",
    "reference": _SUBJECT + "_desc-mean_boldref{extension|.nii.gz}",
    "ceiling": _SUBJECT + "_stat-{stat}_desc-{desc}_statmap{extension|.nii.gz}",
    "nodes": _SUBJECT + "_seg-{seg}_dseg{extension|.nii.gz}",
    "spurious": _RECON + "_spurious{extension|.tsv}",
    "decoding": _RECON + "_decoding{extension|.tsv}",
    "weights": _SUBJECT
    + "_label-{label}_stat-{stat}_desc-{desc}_statmap{extension|.nii.gz}",
    "relmat": _SUBJECT + "_seg-{seg}_meas-{meas}[_desc-{desc}]_relmat{extension|.tsv}",
    "generator": _RECON + "_generator{extension|.safetensors}",
    "recon": _RECON + "_recon{extension|.tsv}",
    "pictures": _RECON + "_recon",
    "seen": "sub-{subject}/recon/sub-{subject}[_task-{task}]_seen",
    "loss": _RECON + "_loss{extension|.tsv}",
    "learning": _RECON + "_learning{extension|.tsv}",
    "null": _RECON + "_null{extension|.npz}",
    "metrics": _RECON + "_metrics{extension|.tsv}",
    "decoder": _RECON + "_decoder{extension|.safetensors}",
    "figure": _FIGURE + "[_label-{label}]_desc-{desc}_{suffix}{extension|.svg}",
}
"""Every output by a plain name, as pybids' ``build_path`` understands it."""

IGNORED = (
    *("*.html", "logs", "work", "figures", "recon", "group_*"),
    *("*_desc-trial*", "*_boldref.*", "*_relmat.*"),
    *("*_stat-weight_*", "*_stat-pattern_*", "*_stat-gradient_*", "*_stat-attention_*"),
)
"""What BIDS has no rule for yet; ``docs/outputs.md`` describes it."""


def output_path(output_dir: Path, kind: str, **entities: Any) -> Path:
    """Return where an output of a kind lies; entities may be ``None``."""
    given = {name: value for name, value in entities.items() if value is not None}
    given |= {
        name: camel_case(given[name]) for name in ("label", "desc") & given.keys()
    }
    pattern = PATTERNS[kind]
    default = re.search(r"\{extension\|([^}]+)\}", pattern)
    if default:
        extension = given.pop("extension", default.group(1))
        pattern = pattern.replace(default.group(0), extension)
    return output_dir / build_path(given, [pattern], strict=True)


def camel_case(name: str, longest: int = LONGEST) -> str:
    """Return a name as it stands in a file name: ``brain-diffuser``, brainDiffuser.

    A name without any letter of A to Z or digit becomes a short code that is always the
    same; one that is longer than ``longest`` is cut, and ends in such a code.
    """
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", name) if part]
    camel = "".join(parts[:1] + [part[0].upper() + part[1:] for part in parts[1:]])
    if camel and len(camel) <= longest:
        return camel
    # One name has several spellings in Unicode.
    code = sha256(normalize("NFC", name).encode()).hexdigest()[:10]
    return f"{camel[: longest - len(code) - 1]}x{code}"


def check_distinct(what: str, names: Iterable[str]) -> None:
    """Refuse names that would be one in file names, where some ignore case.

    Raises
    ------
    UserError
        If two are.
    """
    seen: dict[str, str] = {}
    for name in names:
        form = camel_case(name).lower()
        if form in seen:
            both = f"{name!r}" if seen[form] == name else f"{seen[form]!r} and {name!r}"
            raise UserError(
                f"Two {what} are called {both}; their outputs would have the same "
                "names. Ask for one of them, or rename one.",
                Status.USAGE,
            )
        seen[form] = name


def write_descriptions(
    output_dir: Path, links: Mapping[str, Path], raw: Mapping[str, Any]
) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore``.

    Parameters
    ----------
    output_dir : Path
        The derivative dataset.
    links : mapping of str to Path
        The datasets it was made from, by their names in BIDS URIs.
    raw : mapping
        The description of the raw dataset.
    """
    description = {
        "Name": "bids-recon: reconstructed pictures",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [_maker()],
        "SourceDatasets": [_source(name, path, raw) for name, path in links.items()],
        "DatasetLinks": {name: path.resolve().as_uri() for name, path in links.items()},
        "HowToAcknowledge": "Please cite what logs/CITATION.md lists.",
    }
    if "License" in raw:
        description["License"] = raw["License"]
    write_json(output_dir / "dataset_description.json", description)
    write_text(output_dir / ".bidsignore", "\n".join(IGNORED) + "\n")


def _maker() -> dict[str, Any]:
    maker: dict[str, Any] = {"Name": "bids-recon", "Version": __version__}
    inside = container()
    return {**maker, "Container": inside} if inside else maker


def _source(name: str, path: Path, raw: Mapping[str, Any]) -> dict[str, str]:
    source = {"URL": path.resolve().as_uri()}
    if name == "raw" and raw.get("DatasetDOI"):
        source["DOI"] = str(raw["DatasetDOI"])
    return source

"""Connectivity relative to the mean of all participants."""

import json
from pathlib import Path

import pandas as pd

from bids_recon.dataset.tables import table_text
from bids_recon.errors import UserError
from bids_recon.files import write_json, write_text
from bids_recon.rois.connectivity import TANGENT, tangent
from bids_recon.settings import Settings
from bids_recon.stages.connectivity.stage import WORDS, read_relmat

COVARIANCE = "_meas-covariance"


def write_tangents(settings: Settings) -> list[str]:
    """Write tangent matrices of participants whose covariances are there.

    Returns
    -------
    list of str
        What was done, or why not, in sentences.
    """
    output_dir = settings.output_dir
    wanted = {label.removeprefix("sub-") for label in settings.participant_label}
    groups: dict[str, list[Path]] = {}
    pattern = f"sub-*/func/sub-*{COVARIANCE}*_relmat.tsv"
    for path in sorted(output_dir.glob(pattern)):
        subject = path.name.split("_")[0]
        if wanted and subject.removeprefix("sub-") not in wanted:
            continue
        groups.setdefault(path.name.removeprefix(subject), []).append(path)
    return [_write(name, paths) for name, paths in groups.items() if len(paths) > 1]


def _write(name: str, paths: list[Path]) -> str:
    what = name.strip("_").removesuffix("_relmat.tsv")
    try:
        found = [read_relmat(path) for path in paths]
    except UserError as error:
        return f"No tangent connectivity of {what}: {error.message}"
    other = next((r for r in found if list(r.names) != list(found[0].names)), None)
    if other is not None:
        lacking = sorted(set(found[0].names) ^ set(other.names))
        return (
            f"No tangent connectivity of {what}: participants have other regions "
            f"({', '.join(lacking[:5])})."
        )
    try:
        matrices = tangent([relmat.values for relmat in found])
    except UserError as error:
        return f"No tangent connectivity of {what}: {error.message}"
    for path, matrix in zip(paths, matrices, strict=True):
        data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        target = path.with_name(path.name.replace(COVARIANCE, f"_meas-{TANGENT}"))
        matrix = (matrix + matrix.T) / 2
        columns = list(found[0].names)
        write_text(target, table_text(pd.DataFrame(matrix, columns=columns)))
        kept = {k: v for k, v in data.items() if k not in ("BidsRecon", "Sources")}
        describe = {
            **kept,
            "Description": f"{WORDS[TANGENT]}: {len(paths)} of them.",
            "RelationshipMeasure": WORDS[TANGENT],
            "ValidDiagonal": True,
            "MadeOf": [one.name for one in paths],
        }
        write_json(target.with_suffix(".json"), describe)
    return f"Tangent connectivity of {what}: {len(paths)} participants."

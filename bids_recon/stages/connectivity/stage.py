"""Connectivity as an output of its own: a matrix of the nodes, from training data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import output_path
from bids_recon.dataset.images import open_image, voxel_positions
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.tables import table_text
from bids_recon.engine import Result
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.files import write_text
from bids_recon.plan.methods import graph_of
from bids_recon.plan.plan import Analysis, Plan, split_settings
from bids_recon.rois.connectivity import (
    CORRELATIONS,
    MEASURES,
    TANGENT,
    connectivity,
    mean_correlation,
)
from bids_recon.rois.graphs import NODES, SOURCES
from bids_recon.stages.connectivity.nodes import Rois, load_nodes, nodes_path, seg_of
from bids_recon.stages.connectivity.series import (
    bold_series,
    cleaned_series,
    node_means,
    trial_series,
)
from bids_recon.stages.decode.fold_data import Material, fold_data, load_material
from bids_recon.stages.decode.room import Room
from bids_recon.stages.responses import Variant, response_files
from bids_recon.stages.rois import load_mask, roi_path

WORDS = {
    "pearson": "Pearson correlation",
    "shrunk": "Correlation of Ledoit and Wolf's covariance",
    "partial": "Partial correlation of Ledoit and Wolf's covariance",
    "covariance": "Ledoit and Wolf's covariance",
    "tangent": "Covariance in the tangent space at the mean of participants",
}

SOURCE_WORDS = {
    "trials": "responses to training trials",
    "bold": "BOLD cleaned of confounds and drifts",
    "background": "BOLD cleaned of confounds, drifts and what trials evoke",
}


@dataclass(frozen=True)
class Asked:
    """A matrix that is asked for.

    Parameters
    ----------
    measure, source, nodes : str
        As in ``rois.graphs.Graph``.
    """

    measure: str
    source: str = "trials"
    nodes: str = "regions"

    @classmethod
    def parse(cls, text: str) -> "Asked":
        """Read the form of ``--connectivity``: ``MEASURE[:SOURCE[:NODES]]``.

        Raises
        ------
        UserError
            If the text is not of that form.
        """
        parts = text.split(":")
        known = ((*MEASURES, TANGENT), SOURCES, NODES)
        for part, names in zip(parts, known, strict=False):
            if part not in names:
                raise UserError(
                    f"--connectivity {text!r}: there is no {part!r}. "
                    f"{did_you_mean(part, names)}",
                    Status.USAGE,
                )
        if len(parts) > len(known):
            raise UserError(
                f"--connectivity {text!r} is not of the form MEASURE[:SOURCE[:NODES]], "
                "such as pearson, partial:background or pearson:trials:voxels.",
                Status.USAGE,
            )
        # The tangent space is over participants; what each gives is its covariance.
        measure = "covariance" if parts[0] == TANGENT else parts[0]
        return cls(measure, *parts[1:])

    @property
    def desc(self) -> str | None:
        """What tells it from the usual in a file name."""
        parts = [] if self.source == "trials" else [self.source]
        parts += [] if self.nodes == "regions" else [self.nodes]
        return " ".join(parts) or None


def relmats_of(plan: Plan) -> list[tuple[Analysis, Rois, Asked]]:
    """Return which matrices recipes and ``--connectivity`` ask for."""
    if plan.applies:
        return []
    found: dict[Path, tuple[Analysis, Rois, Asked]] = {}
    asked = [Asked.parse(text) for text in plan.settings.connectivity]
    for analysis in plan.analyses:
        for name, step in analysis.recipe.decode.items():
            how = graph_of(step)
            own = list(asked)
            if how is not None:
                own.insert(0, Asked(how.connectivity, how.source, how.nodes))
            for one in own:
                rois = analysis.rois[name]
                path = relmat_path(plan, rois, one)
                found.setdefault(path, (analysis, rois, one))
    return list(found.values())


def relmat_path(plan: Plan, rois: Rois, asked: Asked, measure: str = "") -> Path:
    """Return where a matrix lies."""
    return output_path(
        plan.settings.output_dir,
        "relmat",
        subject=plan.subject,
        task=plan.task,
        space=plan.space,
        seg=seg_of(rois),
        meas=measure or asked.measure,
        desc=asked.desc,
    )


def connectivity_stage(
    plan: Plan, analysis: Analysis, rois: Rois, asked: Asked
) -> Result:
    """Write how alike nodes are in training data, if that was not done yet."""
    path = relmat_path(plan, rois, asked)
    variant = Variant.of(plan, analysis.recipe)
    files = [response_files(plan, run, variant) for run in plan.runs]
    local = [roi_path(plan, roi) for roi in rois]
    local += [file.values for file in files] + [file.trials for file in files]
    local += [nodes_path(plan, rois)] if asked.nodes == "regions" else []
    record = Record(
        stage="connectivity",
        settings={
            "measure": asked.measure,
            "source": asked.source,
            "nodes": asked.nodes,
            "split": split_settings(plan, analysis.recipe),
            "responses": analysis.recipe.source.get("responses", {}),
        },
        inputs=checksums(local),
        seed=plan.settings.seed,
    )
    sidecar = Sidecar(path.with_suffix(".json"), {"relmat": path})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    material = load_material(plan, analysis, Room())
    names, found = _of_folds(plan, analysis, material, rois, asked)
    matrix = mean_correlation(found) if asked.measure in CORRELATIONS else found[0]
    if asked.measure not in CORRELATIONS:
        matrix = np.mean(found, axis=0)
    write_text(path, table_text(pd.DataFrame(matrix, columns=names)))
    folds = len(found)
    describe = {
        "Description": (
            f"{WORDS[asked.measure]} of {SOURCE_WORDS[asked.source]}, rows and columns "
            "in the same order."
            + (
                f" Mean over the training sets of {folds} folds, by Fisher's z; the "
                "decoders of each fold used its own."
                if folds > 1 and asked.measure in CORRELATIONS
                else f" Mean over the training sets of {folds} folds."
                if folds > 1
                else ""
            )
        ),
        "RelationshipMeasure": WORDS[asked.measure],
        "Weighted": True,
        "Directed": False,
        "ValidDiagonal": asked.measure == "covariance",
        "NonNegative": "no",
        "NodeNames": names,
        "NodeFile": nodes_path(plan, rois).name if asked.nodes == "regions" else None,
        "Positions": _positions(plan, rois, asked).round(2).tolist(),
        "Split": material.split.rule,
    }
    sidecar.write(record, describe, [])
    return Result(True, reason)


def _of_folds(
    plan: Plan, analysis: Analysis, material: Material, rois: Rois, asked: Asked
) -> tuple[list[str], list[np.ndarray]]:
    """Return the names of nodes, and the matrix of each fold's training data."""
    union = np.logical_or.reduce([load_mask(plan, roi) for roi in analysis.roi_sets])
    own = np.logical_or.reduce([load_mask(plan, roi) for roi in rois])[union]
    if asked.nodes == "regions":
        nodes = load_nodes(plan, rois, union)
        names, node = list(nodes.names), nodes.node
    else:
        node = np.where(own, np.cumsum(own) - 1, -1)
        names = [f"voxel {number}" for number in range(int(own.sum()))]
    series = None
    if asked.source != "trials":
        variant = Variant.of(plan, analysis.recipe)
        series = bold_series(plan, variant, union, node)
    found = []
    for fold in material.split.folds:
        if series is None:
            train = fold_data(material, fold, analysis.recipe).train
            runs = trial_series(node_means(train.values, node), train.trials)
        else:
            trials = material.responses.trials.iloc[fold.train]
            runs = cleaned_series(series, trials, asked.source == "background")
        found.append(connectivity(runs, asked.measure))
    return names, found


def _positions(plan: Plan, rois: Rois, asked: Asked) -> np.ndarray:
    """Return where nodes lie, the means over their voxels (n_nodes, 3), in mm."""
    union = np.logical_or.reduce([load_mask(plan, roi) for roi in rois])
    xyz = voxel_positions(union, open_image(roi_path(plan, rois[0])).affine)
    if asked.nodes == "voxels":
        return xyz
    members = load_nodes(plan, rois, union).members()
    return np.stack([xyz[own].mean(axis=0) for own in members.values()])


@dataclass(frozen=True)
class Relmat:
    """A matrix that was written.

    Parameters
    ----------
    values : array of shape (n_nodes, n_nodes)
        The measure.
    names : sequence of str
        Of the nodes.
    positions : array of shape (n_nodes, 3), mm
        Where they lie.
    words : str
        What the measure is.
    description : str
        What it was made of.
    """

    values: np.ndarray
    names: Sequence[str]
    positions: np.ndarray
    words: str
    description: str


def read_relmat(path: Path) -> Relmat:
    """Read a matrix and its sidecar.

    Raises
    ------
    UserError
        If they are not as they were written.
    """
    try:
        data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        names = list(data["NodeNames"])
        values = np.loadtxt(path, delimiter="\t", skiprows=1, ndmin=2)
        relmat = Relmat(
            values,
            names,
            np.array(data["Positions"]),
            str(data["RelationshipMeasure"]),
            str(data["Description"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: this matrix or its sidecar cannot be read ({error}). Run the "
            "participant level again."
        ) from error
    if values.shape != (len(names), len(names)) or not np.isfinite(values).all():
        raise UserError(
            f"{path}: expected numbers for {len(names)} x {len(names)} nodes, found "
            f"{values.shape[0]} x {values.shape[1]}, or values that are no numbers. "
            "Run the participant level again."
        )
    return relmat

"""Regions as nodes of a graph, kept as a segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.derivatives import camel_case, output_path
from bids_recon.dataset.images import open_image
from bids_recon.dataset.segmentations import read_labels
from bids_recon.dataset.sidecar import Record, Sidecar, sidecar_path
from bids_recon.engine import Result
from bids_recon.files import write_text, write_whole
from bids_recon.plan.methods import graph_of
from bids_recon.plan.plan import Analysis, Plan
from bids_recon.plan.regions import node_masks, region_files
from bids_recon.rois.graphs import check_nodes
from bids_recon.settings import RoiSet
from bids_recon.stages.rois import load_mask, roi_path

Rois = tuple[RoiSet, ...]


@dataclass(frozen=True)
class Nodes:
    """Which voxels are of which node.

    Parameters
    ----------
    names : tuple of str
        Of the nodes, in order.
    node : array of shape (n_voxels,)
        The node of each voxel; -1 for none.
    """

    names: tuple[str, ...]
    node: np.ndarray

    def members(self, chosen: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the positions of the voxels of each node that has some.

        Parameters
        ----------
        chosen : array, optional
            The voxels that are used, among which positions count.
        """
        node = self.node if chosen is None else self.node[chosen]
        found = {
            name: np.flatnonzero(node == number)
            for number, name in enumerate(self.names)
        }
        return {name: own for name, own in found.items() if len(own)}


def seg_of(rois: Sequence[RoiSet]) -> str:
    """Return how nodes are called in file names."""
    return camel_case(" ".join(roi.name for roi in rois))


def nodes_path(plan: Plan, rois: Rois) -> Path:
    """Return where the segmentation of the nodes lies."""
    return output_path(
        plan.settings.output_dir,
        "nodes",
        subject=plan.subject,
        task=plan.task,
        space=plan.space,
        seg=seg_of(rois),
    )


def rois_of_graphs(plan: Plan, analysis: Analysis) -> list[Rois]:
    """Return the regions that are nodes in an analysis; decoders know theirs."""
    if plan.applies:
        return []
    found = [
        analysis.rois[name]
        for name, step in analysis.recipe.decode.items()
        if (how := graph_of(step)) is not None and how.nodes == "regions"
    ]
    return list(dict.fromkeys(found))


def nodes_stage(plan: Plan, rois: Rois) -> Result:
    """Write the nodes of a graph as a segmentation, if that was not done yet."""
    path = nodes_path(plan, rois)
    table = path.with_name(path.name.replace(".nii.gz", ".tsv"))
    sources = sorted(
        {p for roi in rois for files in region_files(plan, roi) for p in files}
    )
    record = Record(
        stage="nodes",
        settings={roi.name: list(roi.labels) for roi in rois},
        inputs={
            **plan.checksums(sources),
            **checksums([roi_path(plan, roi) for roi in rois]),
        },
        seed=plan.settings.seed,
    )
    sidecar = Sidecar(sidecar_path(path), {"nodes": path, "table": table})
    reason = sidecar.why_run(record)
    if reason is None:
        return Result(False, warnings=tuple(sidecar.read()["BidsRecon"]["Warnings"]))
    image = open_image(plan.runs[0].run.bold)
    used = np.logical_or.reduce([load_mask(plan, roi) for roi in rois])
    values, names, notes = np.zeros(used.shape, np.int16), [], []
    n_shared = 0
    for name, mask in node_masks(plan, rois, image).items():
        own = mask & used
        n_shared += int((own & (values > 0)).sum())
        own &= values == 0
        if own.any():
            names.append(name)
            values[own] = len(names)
        else:
            notes.append(
                f"The region {name} has no voxel with a response; graphs and "
                "connectivity go without it."
            )
    if n_shared:
        notes.append(
            f"{seg_of(rois)}: {n_shared} voxels are in two regions; they count for the "
            "first."
        )
    check_nodes(names)
    saved = nib.Nifti1Image(values, image.affine)
    write_whole(path, saved.to_filename)
    lines = [f"{index}\t{name}" for index, name in enumerate(names, 1)]
    write_text(table, "\n".join(["index\tname", *lines]) + "\n")
    describe = {
        "Description": "The regions that are nodes of graphs and of connectivity.",
        "SpatialReference": plan.runs[0].run.bold.name,
    }
    sidecar.write(record, describe, notes)
    return Result(True, reason, tuple(notes))


def load_nodes(plan: Plan, rois: Rois, within: np.ndarray) -> Nodes:
    """Return the nodes of the voxels that a mask (x, y, z) marks."""
    path = nodes_path(plan, rois)
    labels = read_labels(path.with_name(path.name.replace(".nii.gz", ".tsv")))
    values = np.asarray(open_image(path).dataobj)[within].astype(int)
    names = tuple(sorted(labels, key=labels.__getitem__))
    return Nodes(names, values - 1)

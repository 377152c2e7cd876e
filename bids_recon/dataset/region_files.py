"""Where regions are found: masks, maps of probabilities and segmentations."""

from importlib.resources import as_file, files
from pathlib import Path

from bids_recon.dataset.layout import NIFTI, Dataset, RoiFile

FREESURFER = ("aseg", "aparcaseg")
"""Descriptions of segmentations whose values are FreeSurfer's."""


def find_roi_files(dataset: Dataset, subject: str) -> list[RoiFile]:
    """Find masks and maps with a label and segmentations, in any derivative."""
    kinds = ["mask", "probseg", "dseg"]
    found = []
    for file in dataset.query(subject, "roi", suffix=kinds, extension=NIFTI):
        path, space = Path(file.path), file.entities.get("space")
        suffix, label = file.entities["suffix"], file.entities.get("label")
        if suffix == "mask" and label is None and file.entities.get("desc") == "ribbon":
            label = "ribbon"
        if suffix == "dseg":
            table = _segmentation_table(path, dataset)
            if table is not None:
                found.append(RoiFile(path, None, table, space))
        elif label is not None:
            found.append(RoiFile(path, str(label), None, space, suffix == "probseg"))
    return found + _plain_masks(dataset, subject) + _old_segmentations(dataset, subject)


def _plain_masks(dataset: Dataset, subject: str) -> list[RoiFile]:
    """Find LAION-fMRI's masks, ``sub-01/rois/V1.nii.gz``, named by their regions."""
    return [
        RoiFile(path, path.name.split(".nii")[0], None, None)
        for name in dataset.derivatives
        for path in sorted(
            (dataset.links[name] / f"sub-{subject}" / "rois").glob("*.nii*")
        )
    ]


def _old_segmentations(dataset: Dataset, subject: str) -> list[RoiFile]:
    """Find what fMRIPrep 1.0 and 1.1 wrote for each run; the first of a space serves.

    Its name is ``..._bold_space-T1w_label-aparcaseg_roi.nii.gz``.
    """
    files_ = dataset.query(subject, "roi", suffix="roi", extension=NIFTI)
    found: dict[tuple[str, str | None], RoiFile] = {}
    for file in files_:
        label, space = str(file.entities.get("label")), file.entities.get("space")
        if label in FREESURFER:
            found.setdefault(
                (label, space),
                RoiFile(Path(file.path), None, freesurfer_table(), space),
            )
    return list(found.values())


def _segmentation_table(path: Path, dataset: Dataset) -> Path | None:
    beside = path.with_name(path.name.split(".nii")[0] + ".tsv")
    if beside.is_file():
        return beside
    # fMRIPrep names the tables of its segmentations at the root of its derivative,
    # which may lie in the raw dataset.
    roots = [root for root in dataset.links.values() if path.is_relative_to(root)]
    root = max(roots, key=lambda root: len(root.parts), default=None)
    desc = [part for part in path.name.split("_") if part.startswith("desc-")]
    table = root / f"{desc[0]}_dseg.tsv" if root and desc else None
    if table is not None and table.is_file():
        return table
    known = desc and desc[0].removeprefix("desc-") in FREESURFER
    return freesurfer_table() if known else None


def freesurfer_table() -> Path:
    """Return the table of FreeSurfer's subcortical and Desikan-Killiany regions."""
    with as_file(files("bids_recon.dataset").joinpath("freesurfer.tsv")) as path:
        return path

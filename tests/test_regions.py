"""Regions from segmentations and from TemplateFlow's atlases."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def segmented(dataset):
    """A dataset whose regions stand in one segmentation with its table."""
    folder = dataset / "derivatives" / "rois" / "sub-01" / "anat"
    labels = None
    for index, name in enumerate(("V1", "V2", "V3", "ventral"), start=1):
        (path,) = folder.glob(f"*label-{name}_mask.nii.gz")
        image = nib.load(path)
        data = np.asarray(image.dataobj).astype(np.int16)
        labels = data * index if labels is None else labels + data * index
        path.unlink()
    stem = folder / "sub-01_space-T1w_seg-visual_dseg"
    nib.Nifti1Image(labels, image.affine).to_filename(f"{stem}.nii.gz")
    rows = "\n".join(f"{i}\t{n}" for i, n in enumerate(("V1", "V2", "V3", "vent"), 1))
    stem.with_suffix(".tsv").write_text(f"index\tname\n{rows}\n")
    return dataset


def test_regions_of_a_segmentation_are_joined(segmented, tmp_path, run):
    options = ("participant", "--dry-run", "--roi", "early=V1+V2", "rest=V3+vent")
    status, said = run(segmented, tmp_path / "out", *options)
    assert status == 0
    assert "early 280" in said
    assert "rest 160" in said


def test_a_segmentation_runs_from_start_to_end(segmented, tmp_path, run):
    options = ("participant", "--roi", "early=V1+V2")
    status, said = run(segmented, tmp_path / "out", *options)
    assert status == 0, said
    sidecar = next((tmp_path / "out").glob("sub-01/func/*label-early*mask.json"))
    sources = json.loads(sidecar.read_text())["Sources"]
    assert any(source.endswith("_dseg.tsv") for source in sources)


def test_a_table_without_names_is_told(segmented, tmp_path, run):
    (table,) = segmented.glob("derivatives/rois/**/*_dseg.tsv")
    table.write_text("value\tregion\n1\tV1\n")
    status, said = run(segmented, tmp_path / "out", "participant", "--roi", "V=V1")
    assert status == 65
    assert table.name in said
    assert "'index'" in said


TEMPLATE = "MNI152NLin2009cAsym"


@pytest.fixture
def templateflow(tmp_path):
    """A TemplateFlow home of which one atlas was fetched and another was not."""
    home = tmp_path / "templateflow"
    folder = home / f"tpl-{TEMPLATE}"
    folder.mkdir(parents=True)
    (folder / "template_description.json").write_text(json.dumps({"Name": "x"}))
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [-20, -95, -15]
    labels = np.zeros((14, 16, 12), np.int16)
    labels[:, :6], labels[:, 6:] = 1, 2
    stem = folder / f"tpl-{TEMPLATE}_res-01_atlas-Toy_dseg"
    nib.Nifti1Image(labels, affine).to_filename(f"{stem}.nii.gz")
    table = folder / f"tpl-{TEMPLATE}_atlas-Toy_dseg.tsv"
    table.write_text("index\tname\n1\tVis_1\n2\tFront_1\n")
    for name in ("res-01_atlas-Absent_dseg.nii.gz", "atlas-Absent_dseg.tsv"):
        (folder / f"tpl-{TEMPLATE}_{name}").touch()
    return home


@pytest.fixture
def in_template(dataset):
    """The dataset in the space of the template."""
    for path in list(dataset.glob("derivatives/**/*space-T1w*")):
        path.rename(path.with_name(path.name.replace("T1w", TEMPLATE)))
    return dataset


def with_templateflow(home, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "bids_recon", *map(str, arguments)],
        env={
            **os.environ,
            "TEMPLATEFLOW_HOME": str(home),
            "TEMPLATEFLOW_AUTOUPDATE": "off",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_atlas_is_taken_by_name(in_template, templateflow, tmp_path):
    done = with_templateflow(
        *(templateflow, in_template, tmp_path / "out", "participant", "--dry-run"),
        *("--roi", "back=Toy:Vis*", "--roi", "all=Toy:Vis_1+Toy:Front_1"),
    )
    assert done.returncode == 0, done.stderr
    brain = next(in_template.glob("derivatives/fmriprep/**/*run-01*brain_mask.nii.gz"))
    inside = nib.load(brain).get_fdata() > 0
    assert f"back {int(inside[:, :6].sum()):,}" in done.stderr
    assert f"all {int(inside.sum()):,}" in done.stderr


@pytest.mark.parametrize(
    ("roi", "words"),
    [
        ("x=Absent:Vis", "was not fetched yet"),
        ("x=Nowhere:Vis", "TemplateFlow has no atlas 'Nowhere'"),
        ("x=Toy:Vas_1", "Did you mean 'Vis_1'?"),
    ],
)
def test_an_atlas_that_cannot_be_used_is_told(
    in_template, templateflow, tmp_path, roi, words
):
    done = with_templateflow(
        templateflow, in_template, tmp_path / "out", "participant", "--roi", roi
    )
    assert done.returncode in (64, 66), done.stderr
    assert words in done.stderr


def test_an_atlas_needs_a_template_space(dataset, templateflow, tmp_path):
    done = with_templateflow(
        templateflow, dataset, tmp_path / "out", "participant", "--roi", "x=Toy:Vis_1"
    )
    assert done.returncode == 64
    assert "T1w, which is no template" in done.stderr

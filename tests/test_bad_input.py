"""Everything that users break: a sentence, the right status, and nothing lost."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bids_recon.dataset.layout import Dataset
from bids_recon.dataset.runs import find_runs
from bids_recon.errors import UserError
from bids_recon.settings import Settings

ROI = ("--roi", "V=V1")


@pytest.fixture
def broken(dataset, tmp_path, run):
    """Run on the dataset that the test broke, and check what every failure keeps."""

    def call(status, *words, options=ROI, output="out"):
        before = {
            path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()
        }
        found, said = run(dataset, tmp_path / output, "participant", *options)
        assert found == status, said
        assert "Traceback" not in said
        assert "defect" not in said
        for word in words:
            assert str(word) in said, said
        after = {
            path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()
        }
        assert before == after
        parts = list(tmp_path.rglob(".part-*"))
        assert not parts
        return said

    return call


def bold_of(dataset, run=1):
    return next(
        dataset.glob(f"derivatives/fmriprep/**/*run-0{run}*preproc_bold.nii.gz")
    )


def change_image(path, change):
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    affine, header = image.affine.copy(), image.header.copy()
    changed = change(data, affine, header)
    data = data if changed is None else changed
    nib.Nifti1Image(data, affine, header).to_filename(path)


def change_events(dataset, change, run=1):
    path = next(dataset.glob(f"sub-01/func/*run-0{run}_events.tsv"))
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(path, sep="\t", index=False)
    return path


def test_output_dir_equal_to_bids_dir(dataset, run):
    status, said = run(dataset, dataset, "participant")
    assert status == 64
    assert "the input is never written to" in said
    assert "derivatives/bids-recon" in said


def test_output_dir_that_is_a_raw_dataset(dataset, tmp_path, run):
    other = shutil.copytree(dataset, tmp_path / "other")
    status, said = run(dataset, other, "participant")
    assert status == 64
    assert "made by others" in said


def test_no_dataset_description(dataset, broken):
    (dataset / "dataset_description.json").unlink()
    broken(16, "dataset_description.json", "--skip-bids-validation")
    broken(0, options=(*ROI, "--skip-bids-validation"))


@pytest.mark.parametrize("text", ["{", '{"Name": "x"}'])
def test_a_broken_dataset_description(dataset, broken, text):
    (dataset / "dataset_description.json").write_text(text)
    broken(16, "dataset_description.json")


def test_no_such_dataset(tmp_path, run):
    status, said = run(tmp_path / "nowhere", tmp_path / "out", "participant")
    assert status == 66
    assert "nowhere" in said


def test_a_participant_that_does_not_exist(broken):
    options = (*ROI, "--participant-label", "sub-02")
    broken(18, "there is no participant 02", options=options)


@pytest.mark.parametrize("label", ["01", "sub-01"])
@pytest.mark.parametrize("spelling", ["--participant-label", "--participant_label"])
def test_a_participant_with_and_without_prefix(broken, spelling, label):
    broken(0, options=(*ROI, "--dry-run", spelling, label))


def test_filters_that_select_nothing(broken):
    broken(18, "select none of its 2 runs", options=(*ROI, "--task-id", "rest"))
    broken(18, "select none of its 2 runs", options=(*ROI, "--run-id", "7"))


@pytest.mark.parametrize("run_id", ["1", "01", "run-1"])
def test_a_run_may_be_named_with_and_without_zeros(broken, run_id):
    said = broken(0, options=(*ROI, "--dry-run", "--run-id", run_id))
    assert "runs: 1, in space" in said


def test_a_filter_file(dataset, broken, tmp_path):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"bold": {"run": 2}}))
    said = broken(0, options=(*ROI, "--dry-run", "--bids-filter-file", path))
    assert "runs: 1, in space" in said
    path.write_text(json.dumps({"bald": {"run": 2}}))
    options = (*ROI, "--bids-filter-file", path)
    broken(64, "Did you mean 'bold'?", options=options)
    path.write_text("{")
    broken(64, "not valid JSON", options=options)
    path.write_text(json.dumps({"bold": {"ech": 2}}))
    broken(64, "bold: ech: there is no entity 'ech'", options=options)


def test_no_derivatives_at_all(dataset, broken):
    shutil.rmtree(dataset / "derivatives")
    broken(66, "there are no derivatives", "run fMRIPrep")


def test_a_derivative_that_does_not_exist(broken, tmp_path):
    options = (*ROI, "--derivatives", f"fmriprep={tmp_path / 'nowhere'}")
    broken(66, "nowhere is not a BIDS derivative", options=options)


def test_derivatives_without_preprocessed_bold(dataset, broken):
    for path in dataset.glob("derivatives/fmriprep/**/*preproc_bold*"):
        path.unlink()
    broken(66, "no preprocessed BOLD", "desc-preproc_bold.nii.gz")


def test_openneuros_minimal_output_is_told(shared, tmp_path):
    listing = shared / "datasets" / "ds001506-text" / "fmriprep-minimal-FILELIST.txt"
    names = [
        name
        for name in listing.read_text().split("\n")
        if name.startswith("sub-01/") and ("/func/" in name or "/anat/" in name)
    ]
    fmriprep = tmp_path / "dataset" / "derivatives" / "fmriprep"
    for name in names:
        path = fmriprep / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith(".json") else "")
    description = {"Name": "x", "BIDSVersion": "1.4.0", "DatasetType": "derivative"}
    (fmriprep / "dataset_description.json").write_text(json.dumps(description))
    raw = tmp_path / "dataset" / "dataset_description.json"
    raw.write_text(json.dumps({"Name": "x", "BIDSVersion": "1.4.0"}))
    settings = Settings(tmp_path / "dataset", tmp_path / "out", "participant")
    with pytest.raises(UserError) as caught:
        find_runs(Dataset(settings), "01")
    assert caught.value.status == 66
    for words in ("minimal level", "--level full", "desc-preproc_bold"):
        assert words in str(caught.value)


def test_several_spaces_and_none_chosen(dataset, broken):
    for path in list(dataset.glob("derivatives/fmriprep/**/*space-T1w*")):
        other = path.name.replace("space-T1w", "space-MNI152NLin2009cAsym")
        shutil.copy(path, path.with_name(other))
    broken(64, "MNI152NLin2009cAsym, T1w", "--space T1w")
    broken(0, options=(*ROI, "--dry-run", "--space", "T1w"))
    broken(18, "'T1W'", options=(*ROI, "--space", "T1W"))
    # The regions are in T1w only.
    options = (*ROI, "--space", "MNI152NLin2009cAsym")
    broken(65, "in space T1w", options=options)


def test_no_events(dataset, broken):
    for path in dataset.glob("sub-01/func/*_events.tsv"):
        path.unlink()
    broken(66, "none of its 2 runs has events", "sub-01_task-digits_run-01_events.tsv")


def test_one_run_without_events_is_left_out_and_counted(dataset, broken):
    next(dataset.glob("sub-01/func/*run-01_events.tsv")).unlink()
    said = broken(0, options=(*ROI, "--dry-run"))
    assert "1 runs without events" in said


def test_pictures_that_do_not_exist(dataset, broken):
    for path in sorted(dataset.glob("stimuli/digits/*.png"))[:7]:
        path.unlink()
    said = broken(66, "7 of 24 pictures", "and 2 more", "--stimuli DIR")
    assert said.count(".png") >= 5


def test_no_folder_of_pictures(dataset, broken):
    shutil.rmtree(dataset / "stimuli")
    broken(66, "no folder of pictures", "--stimuli DIR")


def test_a_picture_outside_the_folder(dataset, broken):
    change_events(dataset, lambda t: t.assign(stim_file="../dataset_description.json"))
    broken(65, "leaves the folder")


def test_a_picture_that_is_none(dataset, broken):
    path = next(dataset.glob("stimuli/digits/*.png"))
    path.write_text("<html>")
    broken(65, "not a picture that can be read", path.name)


def test_no_picture_in_any_event(dataset, broken):
    for run in (1, 2):
        change_events(dataset, lambda t: t.assign(trial_type="rest"), run)
    broken(18, "none of its events shows a picture", "--trials")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_image(dataset, broken, keep):
    path = bold_of(dataset)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    broken(65, path.name, "Fetch or make it again")


def test_an_image_that_is_none(dataset, broken):
    path = bold_of(dataset)
    path.write_bytes(gzip.compress(b"not an image"))
    broken(65, path.name, "not a readable NIfTI image")


def test_a_three_dimensional_image(dataset, broken):
    change_image(bold_of(dataset), lambda data, affine, header: data[..., 0])
    broken(65, "expected a 4-D image")


def test_a_link_whose_content_was_not_fetched(dataset, broken):
    path = bold_of(dataset)
    path.unlink()
    path.symlink_to("../../nowhere/MD5E-key.nii.gz")
    broken(66, path.name, "datalad get")


def test_broken_links_that_are_not_needed_do_not_matter(dataset, broken):
    func = dataset / "sub-01" / "func"
    for run in (1, 2):
        name = f"sub-01_task-digits_run-0{run}_bold.nii.gz"
        (func / name).symlink_to("../../.git/annex/nowhere.nii.gz")
    anat = dataset / "sub-01" / "anat"
    anat.mkdir()
    (anat / "sub-01_T1w.nii.gz").symlink_to("../../.git/annex/nowhere.nii.gz")
    broken(0)


def mask_of(dataset):
    return next(dataset.glob("derivatives/fmriprep/**/*run-01*brain_mask.nii.gz"))


def test_a_brain_mask_without_voxels(dataset, broken):
    change_image(mask_of(dataset), lambda data, affine, header: data * 0)
    broken(65, mask_of(dataset).name, "has no voxel", options=(*ROI, "--dry-run"))
    broken(65, mask_of(dataset).name, "has no voxel")


def test_a_brain_mask_with_another_grid(dataset, broken):
    change_image(mask_of(dataset), lambda data, affine, header: data[:-1])
    broken(65, mask_of(dataset).name, "its grid", "is not that of")


def test_no_brain_mask_and_no_brain(dataset, broken):
    for path in dataset.glob("derivatives/fmriprep/**/*brain_mask.nii.gz"):
        path.unlink()
    for path in dataset.glob("derivatives/fmriprep/**/*preproc_bold.nii.gz"):
        image = nib.load(path)
        data = np.zeros(image.shape, dtype=np.float32)
        nib.Nifti1Image(data, image.affine, image.header).to_filename(path)
    broken(65, "no brain mask", "desc-brain_mask", "no brain stands out")


def region_of(dataset, label="V1"):
    return next(dataset.glob(f"derivatives/rois/**/*label-{label}_mask.nii.gz"))


def test_a_region_without_voxels(dataset, broken):
    change_image(region_of(dataset), lambda data, affine, header: data * 0)
    broken(65, "regions V1 have no voxel")


def test_a_region_on_another_grid_is_brought_to_the_bold(dataset, broken):
    def finer(data, affine, header):
        affine[:3, :3] /= 2
        affine[:3, 3] -= 0.75
        return data.repeat(2, 0).repeat(2, 1).repeat(2, 2)

    n_voxels = int(nib.load(region_of(dataset)).get_fdata().sum())
    change_image(region_of(dataset), finer)
    said = broken(0, options=(*ROI, "--dry-run"))
    assert f"V {n_voxels}" in said


def test_a_region_that_does_not_exist_gets_the_line_to_write(broken):
    options = ("--roi", "early=V1d+V2")
    broken(66, "no region 'V1d'", "Did you mean 'V1'?", "--roi V1d=", options=options)


def test_a_recipe_whose_region_is_missing(broken, tmp_path):
    recipe = tmp_path / "mine.yml"
    recipe.write_text(
        "name: mine\nextends: eigenimage\ndecode: {eigenimage: {rois: [early]}}\n"
    )
    options = ("--recipe", recipe)
    broken(66, "no region 'early'", "V1, V2, V3, ventral", options=options)
    options = ("--recipe", recipe, "--roi", "early=V1+V2")
    broken(0, options=options)


def test_bad_voxels_are_dropped_and_counted(dataset, broken, tmp_path):
    inside = np.argwhere(nib.load(region_of(dataset)).get_fdata() > 0)

    def spoil(data, affine, header):
        data[tuple(inside[0])] = np.nan
        data[tuple(inside[1])] = 7.0

    change_image(bold_of(dataset), spoil)
    broken(0, "2 voxels are constant or not a number; dropped")
    mask = next((tmp_path / "out").glob("sub-01/func/*label-V_desc-used_mask.nii.gz"))
    assert nib.load(mask).get_fdata().sum() == len(inside) - 2
    assert "2 voxels are constant" in (tmp_path / "out" / "sub-01.html").read_text()


def test_all_voxels_bad(dataset, broken):
    change_image(bold_of(dataset), lambda data, affine, header: data * 0 + 5)
    broken(65, "no voxel of the brain mask has a signal")


def test_sidecar_and_header_disagree_on_the_repetition_time(dataset, broken):
    path = bold_of(dataset).with_name(bold_of(dataset).name.replace(".nii.gz", ".json"))
    path.write_text(json.dumps({"RepetitionTime": 1.5}))
    broken(65, "1.5 s, the header 2 s", bold_of(dataset).name)
    path.write_text(json.dumps({"RepetitionTime": "two"}))
    broken(65, "RepetitionTime: expected a number, found 'two'")


def test_no_repetition_time_anywhere(dataset, broken):
    path = bold_of(dataset).with_name(bold_of(dataset).name.replace(".nii.gz", ".json"))
    path.write_text("{}")

    def forget(data, affine, header):
        header["pixdim"][4] = 0

    change_image(bold_of(dataset), forget)
    broken(65, "RepetitionTime")


def test_events_after_the_end_of_the_run_are_dropped_and_counted(dataset, broken):
    def later(table):
        table.loc[table.index[-2:], "onset"] = ["9000", "9008"]
        return table

    change_events(dataset, later)
    said = broken(0, options=(*ROI, "--dry-run"))
    assert "2 events begin after the end of their run and were dropped" in said
    assert "10 trial" in said


def test_runs_with_different_affines(dataset, broken):
    def move(data, affine, header):
        affine[0, 3] += 3

    change_image(bold_of(dataset, 2), move)
    broken(65, bold_of(dataset, 2).name, "its grid", "must be on one grid")


def test_a_table_with_a_wrong_column_type(dataset, broken):
    def spoil(table):
        table.loc[3, "onset"] = "soon"
        return table

    path = change_events(dataset, spoil)
    broken(65, path.name, "'onset'", "line 5", "'soon'")


def test_confounds_of_another_length(dataset, broken):
    path = next(dataset.glob("derivatives/fmriprep/**/*run-01*timeseries.tsv"))
    lines = path.read_text().split("\n")
    path.write_text("\n".join(lines[:-5]) + "\n")
    broken(65, path.name, "rows for the")


def test_confounds_without_the_columns_needed(dataset, broken):
    path = next(dataset.glob("derivatives/fmriprep/**/*run-01*timeseries.tsv"))
    path.write_text("global_signal\n" + "1\n" * 100)
    broken(65, path.name, "motion")


def test_missing_confounds_are_told(dataset, broken):
    for path in dataset.glob("derivatives/fmriprep/**/*timeseries*"):
        path.unlink()
    broken(0, "no table of confounds")


def test_equal_pictures_under_two_names_are_one(dataset, broken):
    first, second, third = sorted(dataset.glob("stimuli/digits/*.png"))[:3]
    shutil.copy(first, second)
    # The same pixels in a file that differs: a name inside, and another format.
    text = PngInfo()
    text.add_text("Title", "the same")
    with Image.open(first) as picture:
        picture.save(second, pnginfo=text)
        picture.convert("RGB").save(third.with_suffix(".bmp"))
    third.unlink()
    said = broken(0, options=(*ROI, "--dry-run"))
    assert "22 distinct" in said
    assert "2 pictures have the pixels of another one" in said


def test_a_constant_picture_gives_numbers(dataset, broken, tmp_path):
    path = next(dataset.glob("stimuli/digits/*.png"))
    Image.new("L", (8, 8), 128).save(path)
    broken(0, "1 of 24 pictures that were seen are constant")
    metrics = next((tmp_path / "out").glob("sub-01/recon/*_metrics.tsv"))
    assert pd.read_csv(metrics, sep="\t")["value"].notna().all()


def test_a_split_that_leaks_is_refused(dataset, broken):
    for number in (1, 2):
        change_events(
            dataset,
            lambda t, n=number: t.assign(
                split="train" if n == 1 else "test",
                stim_file=sorted(set(t["stim_file"]))[0] if n == 1 else t["stim_file"],
            ),
            number,
        )
    first = pd.read_csv(next(dataset.glob("sub-01/func/*run-01*.tsv")), sep="\t")
    shown = first["stim_file"][0]
    change_events(dataset, lambda t: t.assign(stim_file=shown), 2)
    broken(64, "puts 1 pictures into training and test")


def test_the_same_run_in_two_derivatives(dataset, broken):
    shutil.copytree(dataset / "derivatives/fmriprep", dataset / "derivatives/other")
    broken(64, "are the same run twice", "--derivatives")
    options = (*ROI, "--dry-run", "-d", f"f={dataset}/derivatives/fmriprep")
    broken(0, options=(*options, f"r={dataset}/derivatives/rois"))


def test_no_place_to_write(dataset, tmp_path, run):
    (tmp_path / "file").write_text("in the way")
    status, said = run(dataset, tmp_path / "file" / "out", "participant", *ROI)
    assert status == 73
    assert "cannot be written" in said


def test_group_without_participants(dataset, tmp_path, run):
    status, said = run(dataset, tmp_path / "out", "group")
    assert status == 66
    assert "Run the participant level first" in said


def test_memory_that_is_too_small(broken):
    broken(64, "--mem-mb 10", "needs about", options=(*ROI, "--mem-mb", "10"))

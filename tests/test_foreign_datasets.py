"""Datasets as others make them: read as they mean it, or told what to do."""

import os
import re
import shutil
import sqlite3

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

DRY = ("participant", "--dry-run")


@pytest.fixture
def dry(dataset, tmp_path, run):
    """Say what would run on the dataset that the test changed."""

    def call(expected, *options):
        status, said = run(dataset, tmp_path / "out", *DRY, *options)
        assert status == expected, said
        assert "Traceback" not in said
        assert "np." not in said
        return said

    return call


def events_of(dataset, run=1):
    return next(dataset.glob(f"sub-01/**/*run-0{run}_events.tsv"))


def change(path, **columns):
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table.assign(**columns).to_csv(path, sep="\t", index=False)


def rename(dataset, old, new):
    for path in sorted(dataset.rglob(f"*{old}*"), key=lambda p: -len(p.parts)):
        path.rename(path.with_name(path.name.replace(old, new)))


def localiser(dataset, **columns):
    """Make the second run one of another task."""
    rename(dataset, "task-digits_run-02", "task-localiser_run-02")
    change(events_of(dataset, 2), **columns)


class TestTasksWithoutPictures:
    def test_names_of_no_picture(self, dataset, dry):
        localiser(dataset, stim_file="body")
        said = dry(0, "--roi", "V=V1")
        assert "runs: 1" in said
        assert "The events of the task localiser name no picture" in said
        assert "-t localiser" in said

    def test_no_column_of_pictures(self, dataset, dry):
        path = events_of(dataset, 2)
        localiser(dataset)
        path = events_of(dataset, 2)
        table = pd.read_csv(path, sep="\t")[["onset", "duration"]]
        table.to_csv(path, sep="\t", index=False)
        assert "its 1 runs were left out" in dry(0, "--roi", "V=V1")
        said = dry(65, "--roi", "V=V1", "-t", "localiser", "digits")
        assert "no column names the picture" in said
        assert "-t TASK" in said

    def test_its_grid_does_not_matter(self, dataset, dry):
        localiser(dataset, stim_file="body")
        for path in dataset.glob("derivatives/fmriprep/**/*localiser*.nii.gz"):
            image = nib.load(path)
            data = np.asarray(image.dataobj)[1:]
            nib.Nifti1Image(data, image.affine, image.header).to_filename(path)
        dry(0, "--roi", "V=V1")

    def test_one_that_was_asked_for_is_told(self, dataset, dry):
        localiser(dataset, stim_file="body")
        for tasks in (("localiser",), ("digits", "localiser")):
            assert "pictures that the events name" in dry(66, "-t", *tasks)

    def test_some_missing_pictures_are_told(self, dataset, dry):
        localiser(dataset)
        table = pd.read_csv(events_of(dataset, 2), sep="\t")
        (dataset / "stimuli" / table["stim_file"][0]).unlink()
        said = dry(66)
        assert "do not exist" in said
        assert "-t TASK" in said

    def test_no_task_at_all_is_told(self, dataset, dry):
        localiser(dataset, stim_file="body")
        change(events_of(dataset, 1), stim_file="tool")
        assert "2 of 2 pictures" in dry(66)


class TestLabels:
    @pytest.mark.parametrize("asked", ["01", "1", "ses-01", "ses-001"])
    def test_zeros_on_the_left_do_not_matter(self, dataset, dry, asked):
        rename(dataset, "sub-01_task", "sub-01_ses-01_task")
        assert "runs: 2" in dry(0, "--session-label", asked)
        assert "select none" in dry(18, "--session-label", "2")

    def test_where_both_are_there_the_one_written_so_is_meant(self, dataset, dry):
        rename(dataset, "sub-01_task-digits_run-01", "sub-01_ses-1_task-digits_run-01")
        rename(dataset, "sub-01_task-digits_run-02", "sub-01_ses-01_task-digits_run-02")
        assert "ses-1_task" in (one := dry(0, "--session-label", "1"))
        assert "ses-01_task" not in one
        assert "runs: 2" in dry(0, "--session-label", "001")


class TestSplitColumn:
    def test_one_value_missing_is_told(self, dataset, tmp_path, run):
        path = events_of(dataset)
        table = pd.read_csv(path, sep="\t", dtype=str)
        values = ["train", "test"] * (len(table) // 2)
        change(path, split=["n/a", *values[1:]])
        change(events_of(dataset, 2), split=values)
        status, said = run(dataset, tmp_path / "out", "participant", "--roi", "V=V1")
        assert status == 65
        assert "the column 'split' of the events is n/a for 1 of 24 trials" in said
        assert "run 01, onset 8 s" in said

    def test_a_value_is_no_path_and_no_markup(self, dataset, tmp_path, run):
        evil = [
            "../../../evil",
            "<script>alert(1)</script>",
            "CON",
            "a/b:c*?",
            "ü" * 300,
        ]
        for number in (1, 2):
            path = events_of(dataset, number)
            table = pd.read_csv(path, sep="\t", dtype=str)
            shown = sorted(set(table["stim_file"]))
            part = {name: evil[i % len(evil)] for i, name in enumerate(shown)}
            change(path, part=table["stim_file"].map(part))
        both = [pd.read_csv(events_of(dataset, n), sep="\t") for n in (1, 2)]
        table = pd.concat(both).drop_duplicates("stim_file")
        fold = dict(zip(table["stim_file"], table["part"], strict=True))
        for number in (1, 2):
            own = pd.read_csv(events_of(dataset, number), sep="\t")["stim_file"]
            change(events_of(dataset, number), part=own.map(fold))
        out = tmp_path / "deep" / "er" / "out"
        before = {p for p in tmp_path.rglob("*") if out not in (p, *p.parents)}
        options = ("--roi", "V=V1", "--split", "column:part")
        status, said = run(dataset, out, "participant", *options)
        assert status == 0, said
        after = {p for p in tmp_path.rglob("*") if out not in (p, *p.parents)}
        assert after - before <= {out.parent, out.parent.parent}
        page = (out / "sub-01.html").read_text()
        assert "<script>alert(1)" not in page
        (table,) = out.glob("sub-01/recon/*_recon.tsv")
        assert set(pd.read_csv(table, sep="\t")["split"]) == set(evil)


class TestDatabase:
    def test_each_dataset_has_its_own_index(self, dataset, tmp_path, run):
        database = tmp_path / "index"
        options = (*DRY, "--roi", "V=V1", "--bids-database-dir", database)
        assert run(dataset, tmp_path / "out", *options)[0] == 0
        other = shutil.copytree(dataset, tmp_path / "other")
        rename(other, "sub-01", "sub-77")
        status, said = run(other, tmp_path / "out", *options)
        assert status == 0, said
        assert "sub-77" in said
        assert "sub-01" not in said

    @pytest.mark.parametrize("damage", ["text", "tables", "half", "pipe"])
    def test_a_damaged_index_is_made_anew(self, dataset, tmp_path, run, damage):
        database = tmp_path / "index"
        options = (*DRY, "--roi", "V=V1", "--bids-database-dir", database)
        _, first = run(dataset, tmp_path / "out", *options)
        for path in database.rglob("*.sqlite"):
            if damage == "text":
                path.write_text("nothing")
            elif damage == "half":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            elif damage == "tables":
                with sqlite3.connect(path) as index:
                    index.execute("delete from layout_info")
                index.close()
            else:
                path.unlink()
                os.mkfifo(path)
        status, said = run(dataset, tmp_path / "out", *options)
        assert status == 0, said
        assert "made anew" in said
        last = run(dataset, tmp_path / "out", *options)
        assert last == (0, first) or "made anew" not in last[1]
        assert "runs: 2" in last[1]

    def test_a_kept_index_gives_what_a_fresh_one_gives(self, dataset, tmp_path, run):
        options = (*DRY, "--roi", "V=V1")
        fresh = run(dataset, tmp_path / "out", *options)
        kept = (*options, "--bids-database-dir", tmp_path / "index")
        for _ in range(2):
            status, said = run(dataset, tmp_path / "out", *kept)
            assert (status, _plain(said)) == (fresh[0], _plain(fresh[1]))


def _plain(said):
    """Return what was said without the time of day."""
    return [line.split(" ", 1)[-1] for line in said.splitlines()]


class TestFiles:
    @pytest.mark.parametrize(
        "name",
        [
            "sub-01/func/sub-01_task-digits_run-01_bold.json",
            "derivatives/fmriprep/sub-01/func/sub-01_task-digits_bold.json",
        ],
    )
    def test_a_pipe_does_not_hang(self, dataset, dry, name):
        os.mkfifo(dataset / name)
        assert "expected a file, found a pipe" in dry(65)

    def test_a_link_to_its_own_folder_is_told(self, dataset, dry):
        (dataset / "sub-01" / "func" / "loop").symlink_to("..")
        assert "a folder that it is in" in dry(65)

    def test_a_link_to_another_folder_is_followed(self, dataset, tmp_path, dry):
        (dataset / "sub-01").rename(tmp_path / "elsewhere")
        (dataset / "sub-01").symlink_to(tmp_path / "elsewhere")
        assert "runs: 2" in dry(0)

    def test_events_that_were_not_fetched(self, dataset, dry):
        path = events_of(dataset)
        path.unlink()
        path.symlink_to("../../.git/annex/objects/nowhere.tsv")
        assert "datalad get" in dry(66)

    def test_a_derivative_without_description(self, dataset, dry):
        for path in dataset.glob("derivatives/*/dataset_description.json"):
            path.unlink()
        (dataset / "derivatives" / "notes").mkdir()
        said = dry(0, "--roi", "V=V1")
        assert (
            "derivatives/fmriprep has no dataset_description.json; it was read" in said
        )
        assert "derivatives/notes has no dataset_description.json and no images" in said


def segmentation(path, dataset, zoom=1):
    """Write V1 to V3 as labels 1 to 3, ``zoom`` times as fine as the BOLD."""
    folder = dataset / "derivatives" / "rois" / "sub-01" / "anat"
    labels = 0
    for index, name in enumerate(("V1", "V2", "V3"), start=1):
        image = nib.load(next(folder.glob(f"*label-{name}_mask.nii.gz")))
        labels = labels + np.asarray(image.dataobj).astype(np.int16) * index
    affine = image.affine.copy()
    affine[:3, :3] /= zoom
    affine[:3, 3] -= (zoom - 1) / 2 * np.diag(affine)[:3]
    for axis in range(3):
        labels = labels.repeat(zoom, axis)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(labels, affine).to_filename(path)
    return {name: int((labels == i).sum()) for i, name in enumerate("_123") if i}


@pytest.fixture
def freesurfer(dataset):
    """A segmentation as fMRIPrep leaves it, at 1 mm and without a space."""
    fmriprep = dataset / "derivatives" / "fmriprep"
    name = "anat/sub-01_desc-aparcaseg_dseg.nii.gz"
    segmentation(fmriprep / "sub-01" / name, dataset, zoom=2)
    table = "index\tname\tcolor\n1\tctx-lh-one\t#fff\n2\tctx-lh-two\t#000\n"
    (fmriprep / "desc-aparcaseg_dseg.tsv").write_text(table)
    return fmriprep


class TestRegions:
    def count(self, said, name):
        return int(re.search(rf"voxels: .*\b{name} (\d+)", said)[1])

    @pytest.mark.parametrize("outside", [False, True])
    def test_freesurfers_regions(self, dataset, freesurfer, tmp_path, dry, outside):
        options = ()
        if outside:
            moved = shutil.move(freesurfer, tmp_path / "fmriprep")
            rois = dataset / "derivatives" / "rois"
            options = ("-d", f"fmriprep={moved}", f"rois={rois}")
        said = dry(0, "--roi", "a=ctx-lh-one", "b=V1", "c=ctx-lh-two", *options)
        assert self.count(said, "a") == self.count(said, "b") > 0

    def test_a_segmentation_of_another_space_stops_no_other_region(
        self, dataset, freesurfer, dry
    ):
        rename(dataset, "space-T1w", "space-MNI152NLin2009cAsym")
        dry(0, "--roi", "b=V1")
        assert "does not say which space" in dry(65, "--roi", "a=ctx-lh-one")

    def test_half_of_a_region_is_told(self, dataset, dry):
        folder = dataset / "derivatives" / "rois" / "sub-01" / "anat"
        path = next(folder.glob("*label-V1_mask.nii.gz"))
        for name in ("hemi-L_space-T1w", "hemi-R_space-MNI152NLin2009cAsym"):
            shutil.copy(path, path.with_name(path.name.replace("space-T1w", name)))
        dry(0, "--roi", "b=V1")
        path.unlink()
        assert "this region is in space MNI152" in dry(65, "--roi", "b=V1")

    def test_what_there_is_is_named_nearest_first(self, dataset, freesurfer, dry):
        said = dry(66, "--roi", "b=ctx-lh-on")
        assert "Labels in the dataset: ctx-lh-one, ctx-lh-two" in said

    def test_a_region_without_voxels_is_told_before_anything_runs(self, dataset, dry):
        path = next(dataset.glob("derivatives/rois/**/*label-V1_mask.nii.gz"))
        image = nib.load(path)
        data = np.asarray(image.dataobj) * 0
        nib.Nifti1Image(data, image.affine).to_filename(path)
        assert "the regions V1 have no voxel" in dry(65, "--roi", "b=V1")

    def test_masks_are_checked_before_anything_runs(self, dataset, dry):
        path = next(dataset.glob("derivatives/fmriprep/**/*run-02*brain_mask.nii.gz"))
        image = nib.load(path)
        nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine).to_filename(path)
        assert "its grid" in dry(65)


def test_damaged_bold_fails_its_run(dataset, tmp_path, run):
    import gzip

    path = next(dataset.glob("derivatives/fmriprep/**/*run-01*preproc_bold.nii.gz"))
    packed = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    packed[len(packed) // 2] ^= 0x10
    path.write_bytes(packed)
    status, said = run(dataset, tmp_path / "out", "participant", "--roi", "V=V1")
    assert status == 65
    assert "does not agree with the checksum" in said
    assert path.name in said


def test_trials_that_last_no_time_are_counted_once(dataset, tmp_path, run):
    for number in (1, 2):
        change(events_of(dataset, number), duration="0")
    status, said = run(dataset, tmp_path / "out", "participant", "--roi", "V=V1")
    assert status == 0, said
    assert "null duration" not in said
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert page.count("24 trials last 0 s") == 1


def test_confounds_that_pandas_would_shift(dataset, tmp_path, run):
    options = ("participant", "--roi", "V=V1", "--stages", "responses")
    assert run(dataset, tmp_path / "a", *options)[0] == 0
    for path in dataset.glob("derivatives/fmriprep/**/*timeseries.tsv"):
        header, *rows = path.read_text().rstrip("\n").split("\n")
        path.write_text("\n".join([header, *(f"{row}\t" for row in rows)]) + "\n")
    assert run(dataset, tmp_path / "b", *options)[0] == 0
    one, two = (
        np.load(next((tmp_path / name).glob("work/**/*run-01*values.npy")))
        for name in "ab"
    )
    np.testing.assert_array_equal(one, two)


def test_pictures_of_any_name(dataset, tmp_path, dry):
    names = ["図.png", "<b>bold.png", "100 %.png"]
    table = pd.read_csv(events_of(dataset), sep="\t", dtype=str)
    old = list(dict.fromkeys(table["stim_file"]))[:3]
    renamed = dict(zip(old, names, strict=True))
    for before, name in renamed.items():
        shutil.copy(dataset / "stimuli" / before, dataset / "stimuli" / name)
    for number in (1, 2):
        path = events_of(dataset, number)
        shown = pd.read_csv(path, sep="\t", dtype=str)["stim_file"]
        change(path, stim_file=shown.replace(renamed))
    assert "pictures: 24 distinct" in dry(0)


def test_a_picture_of_sixteen_bits_is_no_brighter(dataset, tmp_path, run):
    path = next(dataset.glob("stimuli/digits/*.png"))
    values = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
    Image.fromarray(values).save(path)
    options = ("participant", "--roi", "V=V1", "--split", "kfold:3")
    status, said = run(dataset, tmp_path / "out", *options)
    assert status == 0, said
    (cache,) = (tmp_path / "out" / "work" / "pictures").glob("pictures-*.npy")
    pictures = np.load(cache)
    assert (pictures.reshape(24, -1).max(axis=1) < 0.05 * 255).sum() == 1


def test_laions_real_names(dataset, finished, tmp_path, run):
    betas = dataset / "derivatives" / "betas" / "sub-01" / "ses-01" / "func"
    betas.mkdir(parents=True)
    shutil.copy(finished / "dataset_description.json", betas.parents[2])
    old = next(finished.glob("sub-01/func/*run-01*desc-trial_statmap.nii.gz"))
    events = pd.read_csv(
        next(finished.glob("sub-01/func/*run-01*desc-trial_events.tsv")), sep="\t"
    )
    stem = "sub-01_ses-01_task-images"
    name = f"{stem}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
    shutil.copy(old, betas / name)
    table = pd.DataFrame(
        {
            "session": "ses-01",
            "run": 1,
            "beta_index": range(len(events)),
            "label": events["stimulus"],
        }
    )
    path = betas / f"{stem}_desc-SingletrialBetas_trials.tsv"
    table.to_csv(path, sep="\t", index=False)
    shutil.rmtree(dataset / "derivatives" / "fmriprep")
    shutil.rmtree(dataset / "sub-01")
    status, said = run(dataset, tmp_path / "out", *DRY, "--roi", "V=V1")
    assert status == 0, said
    assert f"{len(events)} trial" in said
    path.unlink()
    status, said = run(dataset, tmp_path / "out", *DRY, "--roi", "V=V1")
    assert status == 66
    assert path.name in said

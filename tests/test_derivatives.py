"""Derivatives as they come: old names, other programs, maps, no masks."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from test_foreign_datasets import change, events_of, rename, segmentation

DRY = ("participant", "--dry-run")


@pytest.fixture
def dry(dataset, tmp_path, run):
    def call(expected, *options):
        status, said = run(dataset, tmp_path / "out", *DRY, *options)
        assert status == expected, said
        assert "Traceback" not in said
        return said

    return call


def count(said, name):
    return int(re.search(rf"voxels: .*\b{name} ([\d,]+)", said)[1].replace(",", ""))


def responses(out):
    return np.load(next(out.glob("work/**/*run-01*values.npy")))


class TestFmriprepBeforeBids:
    """fMRIPrep 1.0 and 1.1, as BOLD5000 ships it."""

    @pytest.fixture
    def old(self, dataset):
        fmriprep = dataset / "derivatives" / "fmriprep"
        (fmriprep / "dataset_description.json").unlink()
        names = {
            "space-T1w_desc-preproc_bold": "bold_space-T1w_preproc",
            "space-T1w_desc-brain_mask": "bold_space-T1w_brainmask",
            "desc-confounds_timeseries": "bold_confounds",
        }
        for before, name in names.items():
            rename(fmriprep, before, name)
        for path in fmriprep.glob("**/*_bold_confounds.tsv"):
            table = pd.read_csv(path, sep="\t")
            table.columns = [
                re.sub("trans_", "", name).upper()
                if re.fullmatch("trans_[xyz]", name)
                else "Rot" + name[-1].upper()
                if re.fullmatch("rot_[xyz]", name)
                else {"csf": "CSF", "white_matter": "WhiteMatter"}.get(name, name)
                for name in table
            ]
            table.to_csv(path, sep="\t", index=False, na_rep="n/a")
        return fmriprep

    def test_it_gives_what_todays_names_give(
        self, small_dataset, dataset, old, tmp_path, run
    ):
        assert not list(old.glob("**/*desc-preproc*"))
        options = ("participant", "--roi", "V=V1", "--stages", "responses")
        for source, out in ((small_dataset, "new"), (dataset, "old")):
            status, said = run(source, tmp_path / out, *options)
            assert status == 0, said
        np.testing.assert_array_equal(
            responses(tmp_path / "new"), responses(tmp_path / "old")
        )

    def test_its_segmentations_are_on_the_grid_of_the_bold(self, dataset, old, dry):
        (bold,) = old.glob("**/*run-01_bold_space-T1w_preproc.nii.gz")
        name = bold.name.replace("preproc", "label-aparcaseg_roi")
        image = nib.load(bold)
        labels = np.zeros(image.shape[:3], dtype=np.int16)
        mask = nib.load(next(old.glob("**/*run-01_bold_space-T1w_brainmask.nii.gz")))
        inside = np.argwhere(np.asarray(mask.dataobj))[:7]
        labels[tuple(inside.T)] = 1021
        nib.Nifti1Image(labels, image.affine).to_filename(bold.with_name(name))
        said = dry(0, "--roi", "V1=ctx-lh-pericalcarine")
        assert count(said, "V1") == 7

    def test_confounds_of_fmriprep_20(self, small_dataset, dataset, tmp_path, run):
        fmriprep = dataset / "derivatives" / "fmriprep"
        rename(fmriprep, "desc-confounds_timeseries", "desc-confounds_regressors")
        options = ("participant", "--roi", "V=V1", "--stages", "responses")
        for source, out in ((small_dataset, "new"), (dataset, "old")):
            assert run(source, tmp_path / out, *options)[0] == 0
        np.testing.assert_array_equal(
            responses(tmp_path / "new"), responses(tmp_path / "old")
        )


def test_runs_with_old_and_new_names_are_all_read(dataset, dry):
    fmriprep = dataset / "derivatives" / "fmriprep"
    old = "run-01_bold_space-T1w"
    rename(fmriprep, "run-01_space-T1w_desc-preproc_bold", f"{old}_preproc")
    rename(fmriprep, "run-01_space-T1w_desc-brain_mask", f"{old}_brainmask")
    said = dry(0, "--roi", "V=V1")
    assert "runs: 2" in said
    assert "no brain mask" not in said


class TestMasks:
    def test_one_is_made_of_the_mean_bold(self, dataset, tmp_path, run):
        """The brain of the simulation is bright, and zeros lie around it."""
        fmriprep = dataset / "derivatives" / "fmriprep"
        brain = None
        for path in fmriprep.glob("**/*brain_mask.nii.gz"):
            brain = np.asarray(nib.load(path).dataobj).astype(bool)
            path.unlink()
        options = ("participant", "--roi", "V=V1", "--stages", "responses", "report")
        status, said = run(dataset, tmp_path / "out", *options)
        assert status == 0, said
        made = np.load(next((tmp_path / "out").glob("work/**/*run-01*mask.npy")))
        both = (made & brain).sum()
        assert both / (made | brain).sum() > 0.5
        page = (tmp_path / "out" / "sub-01.html").read_text()
        assert "2 runs have no brain mask" in page

    def test_the_mask_has_the_resolution_of_the_bold(self, dataset, dry):
        fmriprep = dataset / "derivatives" / "fmriprep"
        for kind in ("desc-preproc_bold", "desc-brain_mask"):
            rename(fmriprep, f"space-T1w_{kind}", f"space-T1w_res-2_{kind}")
        for path in fmriprep.glob("**/*res-2*.nii.gz"):
            image = nib.load(path)
            data = np.asarray(image.dataobj)[1:]
            other = path.with_name(path.name.replace("res-2", "res-1"))
            nib.Nifti1Image(data, image.affine, image.header).to_filename(other)
        said = dry(64)
        assert "They differ in res (1 and 2)" in said
        assert '{"bold": {"res": "1"}}' in said
        chosen = dataset.parent / "filter.json"
        for resolution in ("1", "2"):
            chosen.write_text(json.dumps({"bold": {"res": resolution}}))
            assert "runs: 2" in dry(0, "--bids-filter-file", chosen)


class TestRegions:
    def probabilities(self, dataset, space="space-T1w_"):
        folder = dataset / "derivatives" / "rois" / "sub-01" / "anat"
        path = next(folder.glob("*label-V1_mask.nii.gz"))
        image = nib.load(path)
        values = np.asarray(image.dataobj).astype(np.float32)
        inside = np.argwhere(values > 0)
        # 20 voxels above 0.3, of which 8 above 0.5.
        values[:] = 0
        values[tuple(inside[:20].T)] = 0.4
        values[tuple(inside[:8].T)] = 0.9
        target = folder / f"sub-01_{space}label-prob_probseg.nii.gz"
        nib.Nifti1Image(values, image.affine).to_filename(target)

    @pytest.mark.parametrize(("label", "n"), [("prob", 8), ("prob@0.3", 20)])
    def test_probabilities_have_a_threshold(self, dataset, dry, label, n):
        self.probabilities(dataset)
        assert count(dry(0, "--roi", f"p={label}"), "p") == n

    @pytest.mark.parametrize("text", ["2", "-1", "x", "nan", ""])
    def test_a_threshold_that_is_none_is_told(self, dataset, dry, text):
        self.probabilities(dataset)
        said = dry(64, "--roi", f"p=prob@{text}")
        assert "expected a probability" in said

    def test_percent_are_no_probabilities(self, dataset, dry):
        self.probabilities(dataset)
        path = next(dataset.glob("derivatives/rois/**/*probseg.nii.gz"))
        image = nib.load(path)
        values = np.asarray(image.dataobj) * 100
        nib.Nifti1Image(values, image.affine).to_filename(path)
        assert "found values from 0 to 90" in dry(65, "--roi", "p=prob")

    def test_a_region_of_two_rows_has_the_voxels_of_both(self, dataset, dry):
        anat = dataset / "derivatives" / "fmriprep" / "sub-01" / "anat"
        path = anat / "sub-01_space-T1w_desc-both_dseg.nii.gz"
        segmentation(path, dataset)
        table = "index\tname\n1\tA\n2\tA\n3\tB\n"
        path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(table)
        said = dry(0, "--roi", "a=A", "b=V1", "c=V2")
        assert count(said, "a") == count(said, "b") + count(said, "c")

    def test_a_threshold_of_a_mask_is_told(self, dataset, dry):
        assert "no map of probabilities" in dry(66, "--roi", "p=V1@0.5")

    def test_the_ribbon_and_segmentations_without_a_table(self, dataset, dry):
        anat = dataset / "derivatives" / "fmriprep" / "sub-01" / "anat"
        segmentation(anat / "sub-01_desc-ribbon_mask.nii.gz", dataset, zoom=2)
        segmentation(anat / "sub-01_desc-aseg_dseg.nii.gz", dataset, zoom=2)
        said = dry(0, "--roi", "r=ribbon", "w=Left-Cerebral-White-Matter", "b=V2")
        # The made-up segmentation holds 1, 2 and 3, and 2 is V2.
        assert count(said, "w") == count(said, "b") > 0
        assert count(said, "r") > count(said, "b")

    def test_laions_masks_are_named_by_their_regions(self, dataset, dry):
        rois = dataset / "derivatives" / "rois" / "sub-01" / "anat"
        folder = dataset / "derivatives" / "atlases" / "sub-01" / "rois"
        folder.mkdir(parents=True)
        shutil.copy(next(rois.glob("*label-V1_mask.nii.gz")), folder / "hV1.nii.gz")
        said = dry(0, "--roi", "a=hV1", "b=V1")
        assert count(said, "a") == count(said, "b") > 0


def test_laions_mask_is_that_of_its_responses(dataset, finished, tmp_path, run):
    """sub-01_task-images_space-T1w_desc-meanR2gt15mask_mask.nii.gz."""
    betas = dataset / "derivatives" / "glmsingle-tedana" / "sub-01"
    func = betas / "ses-01" / "func"
    func.mkdir(parents=True)
    old = next(finished.glob("sub-01/func/*run-01*desc-trial_statmap.nii.gz"))
    stem = "sub-01_ses-01_task-images"
    name = f"{stem}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
    shutil.copy(old, func / name)
    events = next(finished.glob("sub-01/func/*run-01*desc-trial_events.tsv"))
    shown = pd.read_csv(events, sep="\t")["stimulus"]
    table = pd.DataFrame({"beta_index": range(len(shown)), "label": shown})
    path = func / f"{stem}_desc-SingletrialBetas_trials.tsv"
    table.to_csv(path, sep="\t", index=False)
    image = nib.load(old)
    mask = np.zeros(image.shape[:3], dtype=np.uint8)
    inside = np.argwhere(np.isfinite(np.asarray(image.dataobj)).all(axis=3))
    mask[tuple(inside[:50].T)] = 1
    name = "sub-01_task-images_space-T1w_desc-meanR2gt15mask_mask.nii.gz"
    nib.Nifti1Image(mask, image.affine).to_filename(betas / name)
    for folder in (dataset / "derivatives" / "fmriprep", dataset / "sub-01"):
        shutil.rmtree(folder)
    status, said = run(dataset, tmp_path / "out", *DRY)
    assert status == 0, said
    assert count(said, "brain") == 50


class TestWhatIsNotRead:
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("task-digits_space-T1w_desc-denoised_bold.nii.gz", "XCP-D"),
            ("task-digits_space-fsLR_den-91k_bold.dtseries.nii", "CIFTI"),
            ("task-digits_hemi-L_space-fsnative_bold.func.gii", "GIFTI"),
            ("task-digits_desc-hmc_boldref.nii.gz", "--level full"),
        ],
    )
    def test_it_is_named_with_what_to_do(self, dataset, dry, name, words):
        folder = dataset / "derivatives" / "fmriprep" / "sub-01" / "func"
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / f"sub-01_{name}").touch()
        said = dry(66)
        assert words in said
        assert name in said


def names_of(dataset):
    tables = [pd.read_csv(events_of(dataset, run), sep="\t") for run in (1, 2)]
    return sorted(set(pd.concat(tables)["stim_file"]))


class TestSplits:
    def test_a_table_of_sides(self, dataset, tmp_path, run):
        names = names_of(dataset)
        sides = ["train"] * 16 + ["test"] * 6 + ["n/a"] * 2
        table = pd.DataFrame({"stimulus": names, "split": sides})
        table.to_csv(tmp_path / "sides.tsv", sep="\t", index=False)
        options = ("--roi", "V=V1", "--split", f"file:{tmp_path / 'sides.tsv'}")
        status, said = run(dataset, tmp_path / "out", "participant", *options)
        assert status == 0, said
        (recon,) = (tmp_path / "out").glob("sub-01/recon/*_recon.tsv")
        tested = set(pd.read_csv(recon, sep="\t")["stimulus"])
        assert tested == set(names[16:22])
        described = json.loads(recon.with_suffix(".json").read_text())
        assert "by the file" in described["SplitDescription"]
        assert "trials are on neither side" in described["SplitDescription"]
        # Another split in the same file is another result.
        table["split"] = table["split"].replace({"train": "test", "test": "train"})
        table.to_csv(tmp_path / "sides.tsv", sep="\t", index=False)
        assert run(dataset, tmp_path / "out", "participant", *options)[0] == 0
        tested = set(pd.read_csv(recon, sep="\t")["stimulus"])
        assert tested == set(names[:16])

    def test_laions_json_names_more_pictures_than_were_shown(
        self, dataset, tmp_path, dry
    ):
        names = [name.split("/")[-1] for name in names_of(dataset)]
        variant = {"train_ids": [*names[:12], "never.jpg"], "test_ids": names[12:]}
        path = tmp_path / "tau.json"
        path.write_text(json.dumps({"name": "tau", "variants": [variant]}))
        said = dry(0, "--roi", "V=V1", "--split", f"file:{path}")
        assert "names the side of 24 of the 24 pictures" in said

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('{"variants": []}', "expected one entry of 'variants'"),
            ('{"train": ["a"], "test": "b"}', "expected a list of pictures"),
            ('{"train": ["a.png"], "test": ["b.png"]}', "none of its 2 pictures"),
            ('{"train": ["a.png"], "test": ["a.png"]}', "on two sides"),
            ('{"train": [], "test": []}', "names no picture"),
            ('{"train": ["../a.png"], "test": ["b.png"]}', "it leaves the folder"),
            ("[]", "expected"),
        ],
    )
    def test_a_file_that_is_none_is_told(self, dataset, tmp_path, run, text, words):
        path = tmp_path / "split.json"
        path.write_text(text)
        options = (*DRY, "--split", f"file:{path}")
        status, said = run(dataset, tmp_path / "out", *options)
        assert status != 0
        assert words in said
        assert path.name in said
        assert "Traceback" not in said

    def test_a_file_that_is_not_there(self, dataset, tmp_path, dry):
        assert "nothing.tsv" in dry(66, "--split", f"file:{tmp_path}/nothing.tsv")

    def test_no_paper_is_known(self, dry):
        assert "no paper's split is known" in dry(64, "--split", "paper")

    def faces(self, dataset):
        """Give the events the columns and values of a known dataset."""
        for number in (1, 2):
            path = events_of(dataset, number)
            shown = pd.read_csv(path, sep="\t", dtype=str)["stim_file"]
            names = names_of(dataset)
            side = shown.map(lambda name, n=names: n.index(name) < 16)
            kind = side.map({True: "train_face", False: "test_face"})
            change(path, trial_type=kind, oneback="0")

    def test_the_papers_split_is_the_default(self, dataset, tmp_path, run):
        self.faces(dataset)
        options = ("participant", "--roi", "V=V1")
        for name, more in (("default", ()), ("asked", ("--split", "paper"))):
            assert run(dataset, tmp_path / name, *options, *more)[0] == 0
        tables = [
            next((tmp_path / name).glob("sub-01/recon/*_recon.tsv")).read_text()
            for name in ("default", "asked")
        ]
        assert tables[0] == tables[1]
        page = (tmp_path / "default" / "sub-01.html").read_text()
        assert "by VanRullen and Reddy 2019" in page

    def test_a_side_without_trials(self, dataset, dry):
        self.faces(dataset)
        for number in (1, 2):
            change(events_of(dataset, number), trial_type="train_face")
        assert "runs: 2" in dry(0)
        said = dry(64, "--split", "paper")
        assert "no trial is on the side of test" in said

    def test_a_picture_on_both_sides_is_refused(self, dataset, dry):
        self.faces(dataset)
        one, two = (
            pd.read_csv(events_of(dataset, run), sep="\t", dtype=str) for run in (1, 2)
        )
        train = one.loc[one["trial_type"] == "train_face", "stim_file"].iloc[0]
        change(
            events_of(dataset, 2),
            trial_type=["test_face", *two["trial_type"][1:]],
            stim_file=[train, *two["stim_file"][1:]],
        )
        said = dry(64)
        assert "1 pictures into training and test" in said


def test_pictures_that_events_spell_are_drawn(dataset, tmp_path, run):
    """ds000255: no files of pictures, but 144 digits in a column."""
    names = names_of(dataset)
    random = np.random.default_rng(1)
    spelt = {n: "".join(map(str, random.integers(0, 2, 144))) for n in names}
    for number in (1, 2):
        path = events_of(dataset, number)
        table = pd.read_csv(path, sep="\t", dtype=str)
        shown = table["stim_file"]
        test = shown.isin(names[18:])
        kind = test.map({True: "stimulus_shape", False: "stimulus_random"})
        table = table[["onset", "duration"]].assign(
            trial_type=kind, stimulus_pattern=shown.map(spelt)
        )
        table.to_csv(path, sep="\t", index=False)
    shutil.rmtree(dataset / "stimuli")
    before = sorted(dataset.rglob("*"))
    out = tmp_path / "out"
    status, said = run(dataset, out, "participant", "--roi", "V=V1")
    assert status == 0, said
    assert sorted(dataset.rglob("*")) == before
    (recon,) = out.glob("sub-01/recon/*_recon.tsv")
    assert pd.read_csv(recon, sep="\t")["stimulus"].nunique() == 6
    pictures = np.load(next(out.glob("work/pictures/pictures-*.npy")))
    assert pictures.shape == (24, 3, 12, 12)
    drawn = {"".join(map(str, (p[0] // 255).ravel())) for p in pictures}
    assert drawn == set(spelt.values())


def test_most_rows_name_no_picture(dataset, dry):
    for number in (1, 2):
        path = events_of(dataset, number)
        shown = pd.read_csv(path, sep="\t", dtype=str)["stim_file"]
        change(path, stim_file=[*shown[:4], *(["cross"] * (len(shown) - 4))])
    said = dry(66)
    assert "rows of its events name no picture" in said
    assert "'cross' (" in said
    assert "--trials" in said

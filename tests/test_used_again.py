"""Neural recipes from start to page, and decoders that are used again."""

import json
import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from bids_recon import cli
from bids_recon.errors import UserError
from bids_recon.plan.plan import RunPlan
from bids_recon.stages.connectivity.series import RunSeries, cleaned_series
from bids_recon.stages.connectivity.stage import Asked

TINY = "width: 16, hidden: 16, channels: 2, batch_size: 8, epochs: 3"
RECIPES = {
    "tiny-gcn": f"""
extends: gcn-eigenimage
decode: {{eigenimage: {{decoder: {{name: gcn, {TINY}}}}}}}
""",
    "tiny-control": f"""
extends: gcn-eigenimage-no-edges
decode: {{eigenimage: {{decoder: {{name: gcn, {TINY}}}}}}}
""",
    "plain-ridge": """
extends: eigenimage
decode:
  eigenimage: {decoder: {name: ridge, alpha: global}, rescale: train}
""",
}
CONNECTIVITY = ("partial:background", "pearson:trials:voxels", "tangent")
ROI = ["--roi", "visual=V1+V2+V3"]


def recipe_file(folder, name, text=None):
    path = folder / f"{name}.yml"
    path.write_text(f"name: {name}\n{text or RECIPES[name]}")
    return str(path)


def call(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("again")
    for name in RECIPES:
        recipe_file(folder, name)
    return folder


@pytest.fixture(scope="module")
def options(folder):
    own = [str(folder / f"{name}.yml") for name in RECIPES]
    return ["--recipe", *own, "miyawaki2008-omp", *ROI]


@pytest.fixture(scope="module")
def fewer(folder):
    own = [str(folder / f"{name}.yml") for name in ("tiny-gcn", "plain-ridge")]
    return ["--recipe", *own, "miyawaki2008-omp", *ROI]


@pytest.fixture(scope="module")
def tested(small_dataset, folder, options):
    """Both runs, each held out in turn."""
    out = folder / "tested"
    more = ["--split", "run", "--connectivity", *CONNECTIVITY]
    assert call(small_dataset, out, "participant", *options, *more) == 0
    return out


@pytest.fixture(scope="module")
def trained(small_dataset, folder, fewer):
    """The first run, of which nothing is held out."""
    out = folder / "trained"
    more = ["--run-id", "1", "--split", "all"]
    assert call(small_dataset, out, "participant", *fewer, *more) == 0
    return out


@pytest.fixture(scope="module")
def applied(small_dataset, folder, fewer, trained):
    """The second run, by decoders of the first."""
    out = folder / "applied"
    more = ["--run-id", "2", "--model-from", trained]
    assert call(small_dataset, out, "participant", *fewer, *more) == 0
    return out


def table(out, desc, suffix):
    name = f"sub-01_task-digits_label-visual_desc-{desc}_{suffix}.tsv"
    return pd.read_csv(out / "sub-01" / "recon" / name, sep="\t")


def figure(out, name):
    return (out / "sub-01" / "figures" / f"sub-01_task-digits_{name}").read_text()


# From start to page


def test_every_table_has_a_ridge_and_the_mean(tested):
    for desc in ("tinyGcn", "tinyControl", "miyawaki2008Omp"):
        scores = table(tested, desc, "decoding")
        assert set(scores["prediction"]) == {"decoder", "ridge", "mean"}
        assert (scores.groupby("prediction").size() == 24).all()
        assert {"mse", "two_way_identification"} <= set(scores)
        page = figure(tested, f"label-visual_desc-{desc}_decoding.html")
        assert "Ridge" in page
        assert "Mean prediction" in page
    # The ridge of its own analysis is the decoder.
    ridge = table(tested, "plainRidge", "decoding")
    assert set(ridge["prediction"]) == {"decoder", "mean"}
    mean = ridge[ridge["prediction"] == "mean"]["two_way_identification"].mean()
    assert mean == pytest.approx(0.5)
    decoder = ridge[ridge["prediction"] == "decoder"]
    assert decoder["two_way_identification"].mean() > 0.8


def test_the_page_says_whether_the_graph_matters(tested):
    compared = figure(tested, "desc-compared_about.html")
    assert "tiny-gcn less tiny-control" in compared
    assert "Ridge" in compared
    assert "Mean prediction" in compared
    pattern = (
        "The graph of tiny-gcn (makes no difference that can be told from|does "
        r"(better|worse) than) no-edges: difference of the error \S+, 95 % interval"
    )
    assert re.search(pattern, compared)


def test_training_curves_and_maps_are_on_the_page(tested):
    page = (tested / "sub-01.html").read_text()
    for name in ("desc-tinyGcn_training.svg", "desc-tinyGcn_maps.svg"):
        assert f"label-visual_{name}" in page
    func = tested / "sub-01" / "func"
    mask = nib.load(
        func / "sub-01_task-digits_space-T1w_label-visual_desc-used_mask.nii.gz"
    )
    inside = np.asarray(mask.dataobj) > 0
    for stat, desc in (("gradient", "tinyGcn"), ("weight", "plainRidge")):
        name = f"sub-01_task-digits_space-T1w_label-visual_stat-{stat}_desc-{desc}"
        values = nib.load(func / f"{name}_statmap.nii.gz").get_fdata()
        np.testing.assert_array_equal(np.isfinite(values), inside)
        assert (values[inside] > 0).mean() > 0.99
        assert "Description" in json.loads((func / f"{name}_statmap.json").read_text())


def test_connectivity_is_an_output(tested):
    func = tested / "sub-01" / "func"
    stem = "sub-01_task-digits_space-T1w_seg-visual"
    matrix = pd.read_csv(func / f"{stem}_meas-pearson_relmat.tsv", sep="\t")
    assert list(matrix) == ["V1", "V2", "V3"]
    np.testing.assert_allclose(matrix.to_numpy(), matrix.to_numpy().T)
    sidecar = json.loads((func / f"{stem}_meas-pearson_relmat.json").read_text())
    assert sidecar["NodeNames"] == ["V1", "V2", "V3"]
    assert "training sets of 2 folds" in sidecar["Description"]
    # What the decoders of each fold saw, and no more, is in the mean.
    states = load_file(
        tested / "sub-01" / "recon" / "sub-01_task-digits_label-visual_"
        "desc-tinyGcn_decoder.safetensors"
    )
    own = [value for name, value in states.items() if name.endswith("/measured")]
    z = np.mean([np.arctanh(m - np.eye(3)) for m in own], axis=0)
    np.testing.assert_allclose(np.tanh(z) + np.eye(3), matrix, atol=1e-5)
    labels = pd.read_csv(func / f"{stem}_dseg.tsv", sep="\t")
    assert labels["name"].tolist() == ["V1", "V2", "V3"]
    for name in ("partial_desc-background", "pearson_desc-voxels", "covariance"):
        assert (func / f"{stem}_meas-{name}_relmat.tsv").is_file()
    page = (tested / "sub-01.html").read_text()
    assert "desc-visualPearson_relmat.svg" in page


def test_the_same_again_is_up_to_date(tested, small_dataset, options, capsys):
    more = ["--split", "run", "--connectivity", *CONNECTIVITY]
    assert call(small_dataset, tested, "participant", *options, *more) == 0
    said = capsys.readouterr().err
    assert "done in" not in said
    assert "connectivity visual pearson: up to date" in said


# Used again


@pytest.mark.parametrize("desc", ["tinyGcn", "plainRidge", "miyawaki2008Omp"])
def test_decoders_used_again_give_the_bytes_of_the_split(tested, applied, desc):
    split, again = table(tested, desc, "recon"), table(applied, desc, "recon")
    split = split[split["split"] == "task-digits_run-02"].reset_index(drop=True)
    assert len(again) == len(split) == 12
    assert again["onset"].tolist() == split["onset"].tolist()
    recon = f"sub-01/recon/sub-01_task-digits_label-visual_desc-{desc}_recon"
    for one, other in zip(split["image"], again["image"], strict=True):
        assert (tested / recon / one).read_bytes() == (
            applied / recon / other
        ).read_bytes()
    np.testing.assert_array_equal(
        again["pixel_correlation"], split["pixel_correlation"]
    )
    # The mean training picture is still the floor.
    metrics = table(applied, desc, "metrics").set_index("metric")
    assert np.isfinite(metrics.loc["mse", "floor"])


def test_the_name_of_a_run_does_not_say_that_it_was_trained_on(
    dataset, trained, applied, fewer, tmp_path
):
    for path in sorted(dataset.rglob("*run-01*")):
        path.unlink()
    for path in sorted(dataset.rglob("*run-02*")):
        path.rename(path.with_name(path.name.replace("run-02", "run-01")))
    out = tmp_path / "out"
    more = ["--model-from", trained]
    assert call(dataset, out, "participant", *fewer[:3], *ROI, *more) == 0
    name = "sub-01/recon/sub-01_task-digits_label-visual_desc-plainRidge_recon"
    ours, theirs = (sorted((root / name).glob("*.png")) for root in (out, applied))
    assert [own.read_bytes() for own in ours] == [own.read_bytes() for own in theirs]
    assert len(ours) == 12


def test_where_all_is_trained_on_nothing_is_tested(trained):
    page = (trained / "sub-01.html").read_text()
    assert "nothing was held out, and nothing is tested" in page
    assert "desc-tinyGcn_training.svg" in page
    assert not list((trained / "sub-01" / "recon").glob("*/*.png"))


def test_the_page_says_whose_decoders_were_applied(applied, trained):
    page = (applied / "sub-01.html").read_text()
    assert "nothing was learned from these" in page
    assert "0 of 12 pictures that were tested were also learned on" in page
    assert str(trained) in page
    scores = table(applied, "tinyGcn", "decoding")
    assert set(scores["prediction"]) == {"decoder", "mean"}


@pytest.fixture
def imagery(dataset):
    """A dataset whose second run is of imagery: half its items have a picture."""
    path = next((dataset / "sub-01" / "func").glob("*run-02_events.tsv"))
    events = pd.read_csv(path, sep="\t")
    stems = events["stim_file"].str.extract(r"/(.*)\.png")[0]
    items = stems.where(np.arange(len(events)) % 2 == 0, "an elephant")
    pd.DataFrame(
        {
            "onset": events["onset"],
            "duration": events["duration"],
            "event_type": 2,
            "category_name": items,
            "evaluation": 5,
        }
    ).to_csv(path, sep="\t", index=False)
    return dataset


def test_imagery_is_reconstructed_shown_and_scored_where_it_can_be(
    imagery, trained, folder, tmp_path
):
    out = tmp_path / "out"
    own = ["--recipe", folder / "tiny-gcn.yml", *ROI, "--run-id", "2"]
    assert call(imagery, out, "participant", *own, "--model-from", trained) == 0
    listed = table(out, "tinyGcn", "recon")
    assert len(listed) == 12
    scored = listed["pixel_correlation"].notna()
    assert scored.tolist() == [True, False] * 6
    assert len(list(out.glob("sub-01/recon/*_recon/*.png"))) == 12
    assert table(out, "tinyGcn", "metrics").set_index("metric").loc["mse", "n"] == 6
    page = (out / "sub-01.html").read_text()
    assert "6 of them show no picture" in page


def test_what_was_seen_and_what_was_imagined_are_not_averaged(
    imagery, trained, folder, tmp_path
):
    first, second = (
        next(imagery.glob(f"sub-01/func/*run-0{run}_events.tsv")) for run in (1, 2)
    )
    seen = pd.read_csv(first, sep="\t")["stim_file"].str.extract(r"/(.*)\.png")[0]
    events = pd.read_csv(second, sep="\t")
    events.loc[::2, "category_name"] = seen[::2]
    events.to_csv(second, sep="\t", index=False)
    out = tmp_path / "out"
    own = ["--recipe", folder / "plain-ridge.yml", *ROI]
    own += ["--test-repeats", "combined"]
    assert call(imagery, out, "participant", *own, "--model-from", trained) == 0
    listed = table(out, "plainRidge", "recon")
    both = listed[listed["pixel_correlation"].notna()]
    counts = both.groupby("stimulus")["role"].agg(set)
    assert (counts.map(len) == 2).sum() == 6
    assert set(listed["role"]) == {"trial", "imagery"}
    assert "6 images that were imagined" in (out / "sub-01.html").read_text()


def test_where_no_trial_has_a_picture_nothing_is_scored(
    imagery, trained, folder, tmp_path
):
    shutil.rmtree(imagery / "stimuli")
    out = tmp_path / "out"
    own = ["--recipe", folder / "tiny-gcn.yml", *ROI, "--run-id", "2"]
    assert call(imagery, out, "participant", *own, "--model-from", trained) == 0
    assert len(list(out.glob("sub-01/recon/*_recon/*.png"))) == 12
    assert table(out, "tinyGcn", "metrics").empty
    assert "nothing was scored" in (out / "sub-01.html").read_text()


def refused(capsys, *arguments):
    status = call(*arguments)
    said = capsys.readouterr().err
    assert status not in (0, 1)
    assert "Traceback" not in said
    assert "defect" not in said
    return " ".join(said.split())


def test_decoders_of_another_recipe_region_or_fold_are_refused(
    small_dataset, trained, tested, folder, tmp_path, capsys
):
    gcn = ["--recipe", folder / "tiny-gcn.yml"]
    common = [small_dataset, tmp_path / "out", "participant", "--run-id", "2"]
    changed = recipe_file(
        tmp_path, "tiny-gcn", RECIPES["tiny-gcn"].replace("epochs: 3", "epochs: 4")
    )
    model = ["--model-from", trained]
    said = refused(capsys, *common, "--recipe", changed, *ROI, *model)
    assert "another version of the recipe tiny-gcn" in said
    assert "epochs was 3 and is 4" in said
    said = refused(capsys, *common, *gcn, "--roi", "visual=V1+V2", *model)
    assert "visual of these decoders is V1+V2+V3, and not V1+V2" in said
    said = refused(capsys, *common, *gcn, "--roi", "V1", *model)
    assert "holds no decoders of the recipe tiny-gcn on the regions V1" in said
    assert "visual_desc-tinyGcn" in said
    said = refused(capsys, *common, *gcn, *ROI, "--model-from", tested)
    assert "decoders of 2 folds" in said
    assert "--split all" in said
    said = refused(capsys, *common, *gcn, *ROI, *model, "--split", "run")
    assert "--split says what is learned" in said
    said = refused(capsys, small_dataset, trained, "participant", *gcn, *ROI, *model)
    assert "--model-from" in said
    nowhere = tmp_path / "nowhere"
    said = refused(capsys, *common, *gcn, *ROI, "--model-from", nowhere)
    assert f"--model-from {nowhere}: there is no such folder" in said


def test_decoders_of_another_grid_or_a_changed_mask_are_refused(
    small_dataset, trained, folder, tmp_path, capsys
):
    copy = tmp_path / "trained"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("work"))
    common = [small_dataset, tmp_path / "out", "participant", "--run-id", "2"]
    common += ["--recipe", folder / "tiny-gcn.yml", *ROI, "--model-from", copy]
    path = next(copy.glob("sub-01/func/*label-visual_desc-used_mask.nii.gz"))
    mask = nib.load(path)
    values = np.asarray(mask.dataobj).copy()
    values[np.argwhere(values)[0][0]] = 0
    nib.Nifti1Image(values, mask.affine).to_filename(path)
    assert "this mask was changed" in refused(capsys, *common)
    moved = mask.affine.copy()
    moved[0, 3] += 10
    nib.Nifti1Image(values, moved).to_filename(path)
    assert "is not that of the decoders" in refused(capsys, *common)
    path.unlink()
    assert "no such file" in refused(capsys, *common)
    next(copy.glob("sub-01/recon/*tinyGcn_decoder.safetensors")).write_bytes(b"no")
    nib.Nifti1Image(values, mask.affine).to_filename(path)
    assert "decoders cannot be read from it" in refused(capsys, *common)


# Bad input


def test_a_graph_of_one_region_is_refused_before_anything_runs(
    small_dataset, folder, tmp_path, capsys
):
    own = ["--recipe", folder / "tiny-gcn.yml", "--split", "run"]
    for roi in (["--roi", "V1"], []):
        said = refused(capsys, small_dataset, tmp_path / "o", "participant", *own, *roi)
        assert "A graph needs two nodes at least, and there is 1" in said
    assert not list((tmp_path / "o").glob("sub-01/func/*"))


def test_a_region_that_is_empty_in_a_participant_is_left_out_and_told(
    dataset, folder, tmp_path, capsys
):
    path = next(dataset.glob("derivatives/rois/sub-01/anat/*label-V2_mask.nii.gz"))
    mask = nib.load(path)
    nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine).to_filename(path)
    own = ["--recipe", folder / "tiny-gcn.yml", "--split", "run", *ROI]
    out = tmp_path / "out"
    assert call(dataset, out, "participant", *own, "--stages", "responses", "rois") == 0
    said = capsys.readouterr().err
    assert "The region V2 has no voxel with a response" in said
    labels = pd.read_csv(next(out.glob("sub-01/func/*_dseg.tsv")), sep="\t")
    assert labels["name"].tolist() == ["V1", "V3"]


@pytest.fixture
def series():
    """A run of BOLD of three nodes, with trials each 20 s."""
    trials = pd.DataFrame(
        {
            "session": "n/a",
            "task": "t",
            "run": "1",
            "onset": 10 + 20.0 * np.arange(10),
            "duration": 4.0,
            "role": "trial",
            "stimulus": [f"p{n}" for n in range(10)],
        }
    )
    rng = np.random.default_rng(0)
    values = rng.standard_normal((120, 3)).astype(np.float32)
    nuisance = np.stack([np.ones(120), np.linspace(-1, 1, 120)], axis=1)
    evoked = rng.random((120, 10))
    return RunSeries(RunPlan(None, trials, 120, 2.0, 0.0), values, nuisance, evoked)


@pytest.mark.parametrize("background", [False, True])
def test_connectivity_of_bold_reads_nothing_of_test_trials(series, background):
    training = series.run.own.iloc[:6]
    (before,) = cleaned_series([series], training, background)
    # From the first trial that is not learned on, to 32 s after the end of the last.
    other = series.values.copy()
    other[65:113] = 1e3
    (after,) = cleaned_series([replace(series, values=other)], training, background)
    np.testing.assert_array_equal(before, after)
    assert len(before) == 72
    # What is left has nothing of confounds and drifts.
    known = np.r_[0:65, 113:120]
    np.testing.assert_allclose(series.nuisance[known].T @ before, 0, atol=1e-5)
    evoked = series.evoked[known][:, :6].T @ before
    assert np.allclose(evoked, 0, atol=1e-5) == background


def test_connectivity_of_bold_needs_volumes_without_test_trials(series):
    trials = series.run.trials.assign(duration=20.0)
    dense = replace(
        series,
        run=replace(series.run, trials=trials),
        **{
            name: getattr(series, name)[:40]
            for name in ("values", "nuisance", "evoked")
        },
    )
    with pytest.raises(UserError, match="too few are left: test trials are in all"):
        cleaned_series([dense], dense.run.own.iloc[1:2], False)


@pytest.mark.parametrize("wrong", ["pearsn", "pearson:eeg", "pearson:bold:voxels:x"])
def test_connectivity_that_there_is_none_of_is_refused(wrong):
    with pytest.raises(UserError, match="--connectivity"):
        Asked.parse(wrong)

"""Whole runs on simulated datasets: outputs, skipping, resuming, chance."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from bids_recon.simulate.dataset import Experiment, simulate_dataset

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")

GROUP = tuple(
    f"group{name}"
    for name in (
        *(".html", "_metrics.tsv", "_recon.tsv", "_scores.tex"),
        *("_scores.tsv", "_scores.json", "_differences.tsv", "_differences.json"),
        *("_ranks.tsv", "_ranks.json"),
    )
)
"""What the group level writes, beside its figures."""

EXPECTED = """\
.bids-recon.lock
.bidsignore
dataset_description.json
figures/desc-answers_about.html
figures/desc-cite_about.html
figures/desc-differencesArecipe_group.pdf
figures/desc-differencesArecipe_group.svg
figures/desc-differences_about.html
figures/desc-pictures_about.html
figures/desc-ranksA_group.pdf
figures/desc-ranksA_group.svg
figures/desc-ranks_about.html
figures/desc-read_about.html
figures/desc-scoresA00pixelcorrelation_group.pdf
figures/desc-scoresA00pixelcorrelation_group.svg
figures/desc-scoresA01ssim_group.pdf
figures/desc-scoresA01ssim_group.svg
figures/desc-scoresA02mse_group.pdf
figures/desc-scoresA02mse_group.svg
figures/desc-scoresA03twowayidentification_group.pdf
figures/desc-scoresA03twowayidentification_group.svg
figures/desc-scoresA04top1identification_group.pdf
figures/desc-scoresA04top1identification_group.svg
figures/desc-scores_about.html
figures/desc-table_about.html
figures/group_report.json
group.html
group_differences.json
group_differences.tsv
group_metrics.tsv
group_ranks.json
group_ranks.tsv
group_recon.tsv
group_scores.json
group_scores.tex
group_scores.tsv
logs/CITATION.bib
logs/CITATION.md
logs/sub-01.lock
logs/sub-01_times.html
logs/sub-01_times.tsv
sub-01.html
sub-01/figures/sub-01_report.json
sub-01/figures/sub-01_task-digits_desc-cite_about.html
sub-01/figures/sub-01_task-digits_desc-compared_about.html
sub-01/figures/sub-01_task-digits_desc-gallery_about.html
sub-01/figures/sub-01_task-digits_desc-quality_responses.svg
sub-01/figures/sub-01_task-digits_desc-read_about.html
sub-01/figures/sub-01_task-digits_desc-regions_mask.svg
sub-01/figures/sub-01_task-digits_desc-settings_about.html
sub-01/figures/sub-01_task-digits_desc-summary_about.html
sub-01/figures/sub-01_task-digits_label-visual_desc-eigenimage_decoding.html
sub-01/figures/sub-01_task-digits_label-visual_desc-eigenimage_heading.html
sub-01/figures/sub-01_task-digits_label-visual_desc-eigenimage_maps.svg
sub-01/figures/sub-01_task-digits_label-visual_desc-eigenimage_recon.svg
sub-01/figures/sub-01_task-digits_label-visual_desc-eigenimage_scores.html
sub-01/figures/sub-01_task-digits_label-visual_desc-eigenimage_spurious.html
sub-01/figures/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_decoding.html
sub-01/figures/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_heading.html
sub-01/figures/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_maps.svg
sub-01/figures/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_recon.svg
sub-01/figures/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_scores.html
sub-01/figures/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_spurious.html
sub-01/figures/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_weights.svg
sub-01/func/sub-01_task-digits_run-01_space-T1w_desc-trialWindow_events.json
sub-01/func/sub-01_task-digits_run-01_space-T1w_desc-trialWindow_events.tsv
sub-01/func/sub-01_task-digits_run-01_space-T1w_desc-trial_events.json
sub-01/func/sub-01_task-digits_run-01_space-T1w_desc-trial_events.tsv
sub-01/func/sub-01_task-digits_run-01_space-T1w_stat-effect_desc-trialWindow_statmap.json
sub-01/func/sub-01_task-digits_run-01_space-T1w_stat-effect_desc-trialWindow_statmap.nii.gz
sub-01/func/sub-01_task-digits_run-01_space-T1w_stat-effect_desc-trial_statmap.json
sub-01/func/sub-01_task-digits_run-01_space-T1w_stat-effect_desc-trial_statmap.nii.gz
sub-01/func/sub-01_task-digits_space-T1w_desc-mean_boldref.json
sub-01/func/sub-01_task-digits_space-T1w_desc-mean_boldref.nii.gz
sub-01/func/sub-01_task-digits_space-T1w_label-visual_desc-used_mask.json
sub-01/func/sub-01_task-digits_space-T1w_label-visual_desc-used_mask.nii.gz
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-pattern_desc-eigenimage_statmap.json
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-pattern_desc-eigenimage_statmap.nii.gz
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-pattern_desc-miyawaki2008Omp_statmap.json
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-pattern_desc-miyawaki2008Omp_statmap.nii.gz
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-weight_desc-eigenimage_statmap.json
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-weight_desc-eigenimage_statmap.nii.gz
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-weight_desc-miyawaki2008Omp_statmap.json
sub-01/func/sub-01_task-digits_space-T1w_label-visual_stat-weight_desc-miyawaki2008Omp_statmap.nii.gz
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_decoder.json
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_decoder.safetensors
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_decoding.tsv
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_metrics.json
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_metrics.tsv
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_null.npz
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_recon.json
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_recon.tsv
sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_spurious.tsv
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_decoder.json
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_decoder.safetensors
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_decoding.tsv
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_generator.safetensors
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_metrics.json
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_metrics.tsv
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_null.npz
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_recon.json
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_recon.tsv
sub-01/recon/sub-01_task-digits_label-visual_desc-miyawaki2008Omp_spurious.tsv
"""


def files_of(folder, skip=()):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in skip
    }


def validator_errors(folder):
    done = subprocess.run(
        [VALIDATOR, "--json", folder], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


def metrics_of(output_dir, subject="01", recipe="eigenimage"):
    (path,) = output_dir.glob(f"sub-{subject}/recon/*_desc-{recipe}_metrics.tsv")
    return pd.read_csv(path, sep="\t", na_values="n/a").set_index("metric")


def test_the_outputs_are_those_that_the_docs_list(finished):
    names = files_of(finished, skip=("work",))
    listed = [name for name in names if not name.endswith((".png", "settings.yml"))]
    expected = EXPECTED.split()
    second = [name.replace("run-01", "run-02") for name in expected if "run-01" in name]
    assert sorted(listed) == sorted(expected + second)
    pictures = [name for name in names if name.endswith(".png")]
    made = [name for name in pictures if "_recon/" in name]
    seen = [name for name in pictures if "_seen/seen-" in name]
    assert (len(made), len(seen)) == (2 * 24, 24)
    assert sum(name.startswith("figures/desc-seenA") for name in pictures) == 8
    assert len(pictures) == 2 * 24 + 24 + 8
    settings = [name for name in names if name.endswith("settings.yml")]
    assert len(settings) == 1


def test_the_official_validator_finds_no_error(finished):
    assert validator_errors(finished) == []


def test_a_row_and_a_picture_per_reconstruction(finished):
    table = pd.read_csv(
        finished
        / "sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_recon.tsv",
        sep="\t",
    )
    assert len(table) == 24
    assert set(table["split"]) == {"fold-01", "fold-02", "fold-03"}
    folder = (
        finished / "sub-01/recon/sub-01_task-digits_label-visual_desc-eigenimage_recon"
    )
    assert {path.name for path in folder.iterdir()} == set(table["image"])
    assert {"trial", "stimulus", "seed", "pixel_correlation", "ssim"} <= set(table)


def test_each_statmap_has_a_row_per_volume(finished):
    for path in finished.glob("sub-01/func/*_desc-trial*_statmap.nii.gz"):
        rows = pd.read_csv(
            str(path)
            .replace("_stat-effect", "")
            .replace("_statmap.nii.gz", "_events.tsv"),
            sep="\t",
        )
        assert nib.load(path).shape[3] == len(rows) == 12


def test_sidecars_say_what_outputs_were_made_from(finished):
    sidecars = [
        path
        for path in finished.glob("sub-01/**/*.json")
        if not path.name.endswith("_events.json")
    ]
    # Responses, mask and mean; decoders, pictures and scores; maps; the page.
    assert len(sidecars) == 2 * 2 + 2 + 2 * 3 + 2 * 2 + 1
    for path in sidecars:
        data = json.loads(path.read_text())["BidsRecon"]
        assert data["Inputs"], path
        assert data["Outputs"], path
        assert data["Versions"]["bids-recon"] == data["Version"]
        assert data["Seed"] == 0
    statmap = next(finished.glob("sub-01/func/*run-01*desc-trial_statmap.json"))
    sources = json.loads(statmap.read_text())["Sources"]
    assert "bids:raw:sub-01/func/sub-01_task-digits_run-01_events.tsv" in sources
    assert any(source.startswith("bids:fmriprep:sub-01/func/") for source in sources)


def test_decoders_load_without_pickle(finished):
    (path,) = finished.glob("sub-01/recon/*eigenimage_decoder.safetensors")
    arrays = load_file(path)
    assert "fold-01/eigenimage/coef" in arrays
    mask = next(finished.glob("sub-01/func/*label-visual*mask.nii.gz"))
    n_voxels = int(nib.load(mask).get_fdata().sum())
    assert len(arrays["fold-01/eigenimage/coef"]) == n_voxels


def test_even_sixteen_trials_beat_chance(finished):
    for recipe in ("eigenimage", "miyawaki2008Omp"):
        metrics = metrics_of(finished, recipe=recipe)
        assert metrics.loc["two_way_identification", "p_value"] < 0.01
        assert (
            metrics.loc["pixel_correlation", "value"]
            > metrics.loc["pixel_correlation", "floor"]
        )


def test_the_page_shows_everything_and_links_to_files_that_exist(finished):
    page = (finished / "sub-01.html").read_text()
    for words in ("Read", "Regions", "Responses", "Reconstructions", "About"):
        assert f"<h1>{words}</h1>" in page
    assert "http" not in page.replace("https://www.nipreps.org/", "")
    for piece in page.split('src="')[1:]:
        assert (finished / piece.split('"')[0]).is_file()
    group = (finished / "group.html").read_text()
    assert 'href="sub-01.html"' in group


def test_the_group_table_holds_every_participant_and_recipe(finished):
    table = pd.read_csv(finished / "group_metrics.tsv", sep="\t", dtype=str)
    assert set(table["recipe"]) == {"eigenimage", "miyawaki2008-omp"}
    assert set(table["subject"]) == {"01"}
    assert set(table["roi"]) == {"visual"}
    assert len(pd.read_csv(finished / "group_recon.tsv", sep="\t")) == 48


def test_the_same_command_skips_everything_and_changes_nothing(
    small_dataset, finished, tmp_path, run, options
):
    output_dir = shutil.copytree(finished, tmp_path / "derivatives")
    before = files_of(output_dir)
    status, said = run(small_dataset, output_dir, "participant", *options)
    assert status == 0
    assert "done in" not in said
    assert said.count("up to date, skipped") == 2 * 2 + 2 + 2 * 3 + 1
    assert files_of(output_dir, skip=("logs",)) == {
        name: data for name, data in before.items() if not name.startswith("logs/")
    }


def test_a_change_of_a_setting_runs_only_what_depends_on_it(
    small_dataset, finished, tmp_path, run, options
):
    output_dir = shutil.copytree(finished, tmp_path / "derivatives")
    options = [word if word != "kfold:3" else "kfold:4" for word in options]
    status, said = run(small_dataset, output_dir, "participant", *options)
    assert status == 0
    assert "responses trial task-digits_run-01: up to date" in said
    assert "rois visual: up to date" in said
    assert "eigenimage visual decode: done" in said
    assert "settings changed: split" in said


def test_a_lost_or_changed_output_is_made_again(
    small_dataset, finished, tmp_path, run, options
):
    output_dir = shutil.copytree(finished, tmp_path / "derivatives")
    before = files_of(output_dir, skip=("logs",))
    (lost,) = output_dir.glob("sub-01/recon/*eigenimage_recon/0001_*.png")
    lost.unlink()
    (changed,) = output_dir.glob("sub-01/recon/*miyawaki2008Omp_metrics.tsv")
    changed.write_text("nothing\n")
    status, said = run(small_dataset, output_dir, "participant", *options)
    assert status == 0
    assert f"{lost.name} is missing" in said
    assert f"{changed.name} was changed" in said
    assert files_of(output_dir, skip=("logs",)) == before


def test_reports_only_makes_the_page_anew(
    small_dataset, finished, tmp_path, run, options
):
    output_dir = shutil.copytree(finished, tmp_path / "derivatives")
    page = (output_dir / "sub-01.html").read_bytes()
    (output_dir / "sub-01.html").unlink()
    status, said = run(
        *(small_dataset, output_dir, "participant", *options, "--reports-only")
    )
    assert status == 0
    assert "decode" not in said
    assert (output_dir / "sub-01.html").read_bytes() == page


@pytest.mark.parametrize("line", [3, 5, 8, 11])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    run, small_dataset, finished, tmp_path, command, line, options
):
    output_dir = tmp_path / "derivatives"
    full = [small_dataset, output_dir, "participant", *options]
    process = subprocess.Popen([*command, *full], stderr=subprocess.PIPE, text=True)
    for _ in range(line):
        process.stderr.readline()
    process.kill()
    process.communicate()
    status, said = run(*full)
    assert status == 0, said
    skip = ("logs", "figures", *GROUP)
    resumed = files_of(output_dir, skip=skip)
    undisturbed = files_of(finished, skip=skip)
    # Where outputs lie stands in the page's settings alone, and nowhere else.
    assert resumed == undisturbed


def test_outputs_may_be_read_by_whom_new_files_may(finished, tmp_path):
    (tmp_path / "new").touch()
    usual = (tmp_path / "new").stat().st_mode
    files = [path for path in finished.rglob("*") if path.is_file()]
    other = {path.name for path in files if path.stat().st_mode != usual}
    assert not other
    assert any(path.suffix == ".safetensors" for path in files)


def test_processes_give_the_same_bytes(
    small_dataset, finished, tmp_path, command, options
):
    output_dir = tmp_path / "derivatives"
    done = subprocess.run(
        [
            *(*command, small_dataset, output_dir, "participant", *options),
            *("--n-procs", "2", "--omp-nthreads", "2"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name = "sub-01/recon"
    assert files_of(output_dir / name) == files_of(finished / name)


def test_a_dry_run_tells_and_writes_nothing(small_dataset, tmp_path, run, options):
    output_dir = tmp_path / "derivatives"
    status, said = run(small_dataset, output_dir, "participant", *options, "--dry-run")
    assert status == 0
    assert "runs: 2, in space T1w" in said
    assert "12 trial" in said
    assert "24 distinct" in said
    assert "visual 280" in said
    assert not output_dir.exists()


def test_stages_can_be_run_one_after_another(
    small_dataset, finished, tmp_path, run, options
):
    output_dir = tmp_path / "derivatives"
    status, said = run(
        *(small_dataset, output_dir, "participant", *options, "--stages", "decode")
    )
    assert status == 66
    assert "an earlier stage writes this" in said
    for stage in ("responses", "rois", "decode", "generate", "evaluate", "report"):
        status, said = run(
            *(small_dataset, output_dir, "participant", *options, "--stages", stage)
        )
        assert status == 0, said
    recon = "sub-01/recon"
    assert files_of(output_dir / recon) == files_of(finished / recon)


def test_shuffled_pictures_are_at_chance(tmp_path, run):
    experiment = Experiment(
        n_participants=1, n_runs=4, n_pictures=80, noise=0.2, shuffled=True, seed=11
    )
    simulate_dataset(tmp_path / "dataset", experiment)
    status, said = run(
        *(tmp_path / "dataset", tmp_path / "out", "participant"),
        *("--roi", "visual=V1+V2+V3"),
    )
    assert status == 0, said
    metrics = metrics_of(tmp_path / "out")
    # The standard error of 80 pictures is about 0.03.
    assert abs(metrics.loc["two_way_identification", "value"] - 0.5) < 0.1
    assert metrics.loc["two_way_identification", "p_value"] > 0.01


@pytest.mark.parametrize(
    ("pictures", "n_pictures"), [("digits", 150), ("patterns", 240)]
)
def test_at_low_noise_identification_is_near_one(tmp_path, run, pictures, n_pictures):
    experiment = Experiment(
        pictures=pictures, n_participants=1, n_pictures=n_pictures, noise=0.05
    )
    simulate_dataset(tmp_path / "dataset", experiment)
    status, said = run(
        *(tmp_path / "dataset", tmp_path / "out", "participant"),
        *("--roi", "visual=V1+V2+V3", "--split", "kfold:6"),
    )
    assert status == 0, said
    metrics = metrics_of(tmp_path / "out")
    assert metrics.loc["two_way_identification", "value"] > 0.97
    if pictures == "patterns":
        accuracy = metrics.loc["patch_accuracy"]
        assert accuracy["ci_low"] > accuracy["floor"]


def test_simulated_datasets_are_valid_bids(small_dataset):
    assert validator_errors(small_dataset) == []


@pytest.mark.parametrize("n_procs", [1, 2])
def test_a_participant_that_fails_does_not_stop_the_others(tmp_path, run, n_procs):
    simulate_dataset(
        tmp_path / "dataset",
        Experiment(n_participants=2, n_runs=2, n_pictures=12, noise=0.2),
    )
    broken = next(
        (tmp_path / "dataset").glob("derivatives/fmriprep/sub-01/**/*bold.nii.gz")
    )
    broken.write_bytes(broken.read_bytes()[:2000])
    status, said = run(
        *(tmp_path / "dataset", tmp_path / "out", "participant", "--roi", "V=V1"),
        *("--n-procs", n_procs),
    )
    assert status == 1
    assert "sub-01 failed" in said
    assert broken.name in said
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "<h1>Problems</h1>" in page
    assert broken.name in page
    assert np.isfinite(
        metrics_of(tmp_path / "out", "02").loc["pixel_correlation", "value"]
    )
    status, _ = run(tmp_path / "dataset", tmp_path / "out", "group")
    assert status == 0
    assert (
        "sub-01 has a page but no scores" in (tmp_path / "out/group.html").read_text()
    )


def test_averaging_repeats_gives_one_reconstruction_per_picture(tmp_path, run):
    simulate_dataset(
        tmp_path / "dataset",
        Experiment(n_participants=1, n_runs=2, n_pictures=12, n_repeats=2, noise=0.5),
    )
    recipe = tmp_path / "averaged.yml"
    recipe.write_text(
        "name: averaged\nextends: eigenimage\n"
        "responses: {average_repeats: {test: true}}\n"
        "decode: {eigenimage: {voxels: {name: reliability, k: 50}}}\n"
    )
    status, said = run(
        *(tmp_path / "dataset", tmp_path / "out", "participant"),
        *("--recipe", recipe, "--split", "kfold:3"),
    )
    assert status == 0, said
    (path,) = (tmp_path / "out").glob("sub-01/recon/*_desc-averaged_recon.tsv")
    table = pd.read_csv(path, sep="\t")
    assert len(table) == 12
    assert (table["n_repeats"] == 2).all()


@pytest.mark.parametrize(("how", "rows"), [("single", 24), ("combined", 12)])
def test_repeats_of_test_pictures_are_those_asked_for_in_every_recipe(
    tmp_path, run, how, rows
):
    simulate_dataset(
        tmp_path / "dataset",
        Experiment(
            "patterns",
            n_participants=1,
            n_runs=2,
            n_pictures=12,
            n_repeats=2,
            noise=0.5,
        ),
    )
    recipes = ["eigenimage", "bayes", "miyawaki2008"]
    status, said = run(
        *(tmp_path / "dataset", tmp_path / "out", "participant"),
        *("--recipe", *recipes, "--split", "kfold:3", "--roi", "V=V1"),
        *("--test-repeats", how),
    )
    assert status == 0, said
    trials = []
    for recipe in recipes:
        (path,) = (tmp_path / "out").glob(f"sub-01/recon/*_desc-{recipe}_recon.tsv")
        table = pd.read_csv(path, sep="\t")
        assert len(table) == rows
        trials.append(table[["split", "trial", "stimulus"]])
        responses = json.loads(path.with_suffix(".json").read_text())["Recipe"][
            "responses"
        ]
        assert responses["average_repeats"]["test"] == (how == "combined")
    for other in trials[1:]:
        pd.testing.assert_frame_equal(trials[0], other)
    words = {"single": "each trial by itself", "combined": "combined in one"}[how]
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert page.count(words) == len(recipes)


@pytest.fixture
def two_sessions(dataset):
    """The two runs of the dataset, as one session each, with a resting run beside."""
    for root in (dataset, dataset / "derivatives" / "fmriprep"):
        for path in list(root.glob("sub-01/func/*")):
            session = "A" if "run-01" in path.name else "B"
            name = path.name.replace("sub-01_", f"sub-01_ses-{session}_")
            target = root / "sub-01" / f"ses-{session}" / "func" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    for path in list(dataset.glob("derivatives/fmriprep/sub-01/ses-A/func/*")):
        rest = path.name.replace("task-digits_run-01", "task-rest")
        shutil.copy(path, path.with_name(rest))
    return dataset


def test_sessions_are_read_and_split(two_sessions, tmp_path, run):
    arguments = (two_sessions, tmp_path / "out", "participant", "--roi", "V=V1")
    status, said = run(*arguments, "--dry-run", "--session-label", "B")
    assert status == 0, said
    assert "runs: 1, in space T1w" in said
    status, said = run(*arguments, "--dry-run")
    assert "1 runs without events were left out" in said
    status, said = run(*arguments, "--split", "train=A/test=ses-B")
    assert status == 0, said
    func = tmp_path / "out" / "sub-01" / "ses-A" / "func"
    assert list(func.glob("sub-01_ses-A_task-digits_run-01_*_statmap.nii.gz"))
    (path,) = (tmp_path / "out").glob("sub-01/recon/*_recon.tsv")
    table = pd.read_csv(path, sep="\t", dtype=str)
    assert set(table["session"]) == {"B"}
    assert set(table["split"]) == {"test"}
    status, _ = run(two_sessions, tmp_path / "out", "group")
    assert status == 0


def test_imagery_is_estimated_and_left_for_later(dataset, tmp_path, run):
    path = next(dataset.glob("sub-01/func/*run-01_events.tsv"))
    table = pd.read_csv(path, sep="\t")
    imagined = pd.DataFrame(
        {
            "onset": table["onset"],
            "duration": 4.0,
            "event_type": 2,
            "category_name": "n01443537",
            "evaluation": 4.0,
        }
    )
    imagined.to_csv(path, sep="\t", index=False)
    status, said = run(dataset, tmp_path / "out", "participant", "--roi", "V=V1")
    assert status == 0, said
    events = next((tmp_path / "out").glob("sub-01/func/*run-01*_events.tsv"))
    assert set(pd.read_csv(events, sep="\t")["role"]) == {"imagery"}
    (path,) = (tmp_path / "out").glob("sub-01/recon/*_recon.tsv")
    assert set(pd.read_csv(path, sep="\t")["run"]) == {2}


def test_regions_that_know_categories_only_are_told(tmp_path, run, monkeypatch):
    # Ventral voxels of the simulation are driven by the category of a digit alone,
    # those of V1 by its pixels.
    experiment = Experiment(n_participants=1, n_pictures=120, n_repeats=2, noise=0.3)
    simulate_dataset(tmp_path / "dataset", experiment)
    status, said = run(
        *(tmp_path / "dataset", tmp_path / "out", "participant"),
        *("--roi", "pixels=V1+V2", "ventral=ventral", "--split", "kfold:3"),
    )
    assert status == 0, said
    told = [line for line in said.split("\n") if "from categories alone" in line]
    assert len(told) == 1
    assert "ventral" in told[0]
    checks = {}
    for path in (tmp_path / "out").glob("sub-01/recon/*_spurious.tsv"):
        label = path.name.split("label-")[1].split("_")[0]
        checks[label] = pd.read_csv(path, sep="\t").set_index("measure")["value"]
    within = "within_category_two_way"
    assert checks["pixels"][within] > 0.8
    assert checks["ventral"][within] < 0.6
    scores = pd.read_csv(
        next((tmp_path / "out").glob("sub-01/recon/*label-ventral*_metrics.tsv")),
        sep="\t",
    ).set_index("metric")
    # By the usual number, categories look like a success.
    assert scores.loc["two_way_identification", "value"] > 0.75
    assert scores.loc["two_way_identification", "ceiling"] > 0.99
    assert 0.5 < scores.loc["two_way_identification", "floor_retrieval"] < 1
    ceiling = next((tmp_path / "out").glob("sub-01/func/*stat-noiseceiling*.nii.gz"))
    percent = nib.load(ceiling).get_fdata()
    regions = tmp_path / "dataset/derivatives/rois/sub-01/anat"
    seeing = nib.load(next(regions.glob("*label-V1_mask.nii.gz"))).get_fdata() > 0
    # Voxels outside of all regions carry noise only.
    assert np.nanmedian(percent[seeing]) > np.nanmedian(percent) + 20
    page = (tmp_path / "out" / "sub-01.html").read_text()
    assert "desc-ceiling_responses.svg" in page
    # The same from a few voxels at a time.
    monkeypatch.setattr("bids_recon.stages.ceiling.VALUES_AT_ONCE", 5_000)
    words = (tmp_path / "dataset", tmp_path / "blocks", "participant")
    assert run(*words, "--stages", "responses", "--roi", "V1")[0] == 0
    again = tmp_path / "blocks" / ceiling.relative_to(tmp_path / "out")
    np.testing.assert_array_equal(nib.load(again).get_fdata(), percent)


def test_clusters_are_held_out(small_dataset, tmp_path, run):
    options = ("participant", "--roi", "V=V1", "--split", "clusters:3")
    status, said = run(small_dataset, tmp_path / "out", *options)
    assert status == 0, said
    (path,) = (tmp_path / "out").glob("sub-01/recon/*_recon.json")
    sidecar = json.loads(path.read_text())
    assert "clusters of similar" in sidecar["SplitDescription"]
    assert not sidecar["SharesPictures"]


def test_a_recipe_may_ask_for_another_profile(small_dataset, tmp_path, run):
    recipe = tmp_path / "mine.yml"
    recipe.write_text(
        "name: mine\nextends: eigenimage\nevaluate: {profiles: [deeprecon]}\n"
    )
    options = ("participant", "--roi", "V=V1", "--recipe", recipe)
    status, said = run(small_dataset, tmp_path / "out", *options)
    assert status == 0, said
    metrics = pd.read_csv(
        next((tmp_path / "out").glob("sub-01/recon/*_metrics.tsv")), sep="\t"
    )
    assert list(dict.fromkeys(metrics["profile"])) == ["bids-recon-1", "deeprecon-1"]
    values = metrics.set_index(["profile", "metric"])["value"]
    name = "pixel_correlation"
    assert values["bids-recon-1", name] == pytest.approx(values["deeprecon-1", name])
    table = pd.read_csv(
        next((tmp_path / "out").glob("sub-01/recon/*_recon.tsv")), sep="\t"
    )
    assert {name, f"{name}_deeprecon"} <= set(table)
    assert "deeprecon-1" in (tmp_path / "out" / "sub-01.html").read_text()
    recipe.write_text(
        "name: mine\nextends: eigenimage\nevaluate: {profiles: [deeprecom]}\n"
    )
    status, said = run(small_dataset, tmp_path / "out", *options)
    assert status == 64
    assert "Did you mean 'deeprecon'?" in said

"""Nested shares of the training pictures: who is learned from, outputs, refusals."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from group_tables import SIDES, write_participant
from PIL import Image
from test_docs import cells, section

from bids_recon import cli
from bids_recon.evaluation.splits import make_split
from bids_recon.evaluation.train_fraction import kept_pictures, with_train_fraction
from bids_recon.plan.recipes import least_pictures
from bids_recon.recipe_file import read_recipe
from bids_recon.stages.report.group_level.reading import read_participants
from bids_recon.stages.report.group_level.rows import by_share, comparable

SHARES = (0.1, 0.25, 0.5, 1.0)
N_TRAIN, N_TEST, N_REPEATS = 16, 6, 2


@pytest.fixture
def trials():
    """Thirty pictures, each in a trial of two runs."""
    names = [f"p{index:02d}.png" for index in range(30)]
    order = np.random.default_rng(0).permutation(60) % 30
    return pd.DataFrame(
        {
            "session": "n/a",
            "task": "t",
            "run": np.repeat(["1", "2"], 30),
            "stimulus": np.array(names)[order],
        }
    )


@pytest.mark.parametrize("rule", ["kfold:4", "run", "leave-one-picture-out"])
def test_shares_are_nested_and_the_test_side_stays(trials, rule):
    whole = make_split(rule, trials, 0)
    names = trials["stimulus"].to_numpy(str)
    splits = [with_train_fraction(whole, names, share, 3) for share in SHARES]
    assert splits[-1] is whole
    for folds in zip(*(split.folds for split in splits), strict=True):
        n_pictures = len(set(names[folds[-1].train]))
        before = set()
        for fold, share in zip(folds, SHARES, strict=True):
            np.testing.assert_array_equal(fold.test, folds[-1].test)
            assert before <= set(fold.train)
            before = set(fold.train)
            kept = set(names[fold.train])
            assert len(kept) == max(1, int(share * n_pictures + 0.5))
            # All trials of a picture stay together.
            own = np.isin(names[folds[-1].train], list(kept))
            np.testing.assert_array_equal(fold.train, folds[-1].train[own])


def test_the_sentence_says_how_many_pictures_are_learned_from(trials):
    split = make_split("kfold:4", trials, 0)
    names = trials["stimulus"].to_numpy(str)
    said = with_train_fraction(split, names, 0.125, 3).sentence
    assert said.startswith(split.sentence)
    assert "Only 12.5 % of the training pictures were learned on (3 of 22" in said


def test_other_pictures_do_not_change_which_goes_first():
    names = [f"p{index}" for index in range(40)]
    whole = kept_pictures(names, 1, 5)
    assert sorted(whole) == sorted(names)
    assert whole != kept_pictures(names, 1, 6)
    some = [name for name in whole if name not in names[:9]]
    assert kept_pictures(names[9:], 1, 5) == some
    assert kept_pictures(reversed(names), 0.25, 5) == whole[:10]


def test_variants_have_names_that_files_may_have():
    recipe = replace(read_recipe("eigenimage"), train_fraction=0.125)
    assert recipe.output_name == "eigenimage percent12p5"
    assert recipe.variant == "eigenimage, 12.5 % of training pictures"
    whole = read_recipe("eigenimage")
    assert whole.output_name == whole.variant == "eigenimage"


def test_networks_and_what_learns_from_held_out_trials_need_more_pictures():
    needed = {
        name: least_pictures(read_recipe(name))
        for name in ("eigenimage", "miyawaki2008", "cnn-eigenimage")
    }
    assert needed == {"eigenimage": 2, "miyawaki2008": 3, "cnn-eigenimage": 3}


def write_dataset(folder, test_seed=0):
    """Write responses to pictures of 8 x 8 pixels; those of test trials are drawn."""
    rng, other = np.random.default_rng(1), np.random.default_rng(100 + test_seed)
    n_pictures = N_TRAIN + N_TEST
    pictures = rng.random((N_TRAIN, 8, 8))
    pictures = np.concatenate([pictures, other.random((N_TEST, 8, 8))])
    betas = folder / "derivatives" / "betas"
    func = betas / "sub-01" / "func"
    func.mkdir(parents=True)
    (folder / "stimuli").mkdir()
    description = {"Name": "x", "BIDSVersion": "1.10.0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    description |= {"DatasetType": "derivative", "GeneratedBy": [{"Name": "b"}]}
    (betas / "dataset_description.json").write_text(json.dumps(description))
    for index, picture in enumerate(pictures):
        image = Image.fromarray((255 * picture).astype(np.uint8))
        image.save(folder / "stimuli" / f"p{index:02d}.png")
    weights = rng.standard_normal((64, 48))
    which = np.repeat(np.arange(n_pictures), N_REPEATS)
    noise = np.concatenate(
        [
            rng.standard_normal((N_REPEATS * N_TRAIN, 48)),
            other.standard_normal((N_REPEATS * N_TEST, 48)),
        ]
    )
    values = (pictures.reshape(n_pictures, -1) - 0.5)[which] @ weights + 0.3 * noise
    volumes = values.T.reshape(4, 4, 3, len(which)).astype(np.float32)
    image = nib.Nifti1Image(volumes, np.diag([2.0, 2, 2, 1]))
    stem = func / "sub-01_task-x_space-T1w"
    image.to_filename(f"{stem}_stat-effect_desc-trial_statmap.nii.gz")
    pd.DataFrame(
        {
            "onset": np.arange(len(which)) * 4.0,
            "duration": 4.0,
            "role": "trial",
            "stimulus": [f"p{index:02d}.png" for index in which],
            "split": np.where(which < N_TRAIN, "train", "test"),
            "kind": np.where(which % 2, "odd", "even"),
        }
    ).to_csv(f"{stem}_desc-trial_events.tsv", sep="\t", index=False)
    return folder


ASKED = ("--train-fraction", "0.25", "0.5", "1")
NO_PAGE = ("--stages", "responses", "rois", "decode", "generate", "evaluate")


def run_on(folder, out, *options):
    words = [str(folder), str(out), "participant", *options]
    assert cli.main(words) == 0
    return out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("shares") / "dataset")


@pytest.fixture(scope="module")
def shared_out(dataset):
    return run_on(dataset, dataset.parent / "out", *ASKED)


def recon_files(out):
    folder = out / "sub-01" / "recon"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_whole_share_is_what_a_run_without_the_option_makes(
    dataset, shared_out, tmp_path
):
    # The page alone copies the pictures that were seen.
    alone = recon_files(run_on(dataset, tmp_path / "alone", *NO_PAGE))
    beside = recon_files(shared_out)
    assert alone == {name: beside[name] for name in alone}
    assert not any("Percent" in name or "learning" in name for name in alone)
    more = [n for n in beside if n not in alone and "_seen/" not in n]
    assert all("Percent25" in n or "Percent50" in n or "_learning." in n for n in more)


def test_nothing_of_the_test_side_changes_what_is_learned(shared_out, tmp_path):
    other = write_dataset(tmp_path / "dataset", test_seed=1)
    out = run_on(other, tmp_path / "out", *ASKED, *NO_PAGE)
    before, after = recon_files(shared_out), recon_files(out)
    learned = [name for name in before if name.endswith("_decoder.safetensors")]
    assert len(learned) == len(ASKED) - 1
    for name in learned:
        assert before[name] == after[name], name
    scores = [name for name in before if name.endswith("_metrics.tsv")]
    assert all(before[name] != after[name] for name in scores)


def test_the_curve_holds_the_scores_of_every_share(shared_out):
    folder = shared_out / "sub-01" / "recon"
    (path,) = folder.glob("*_desc-eigenimage_learning.tsv")
    curve = pd.read_csv(path, sep="\t")
    shares = {0.25: ("Percent25", 4), 0.5: ("Percent50", 8), 1: ("", 16)}
    assert list(curve["train_fraction"].unique()) == list(shares)
    assert set(curve) == cells(section("`_learning.tsv`")) - {"_metrics.tsv"}
    for share, (ending, n_pictures) in shares.items():
        own = curve[curve["train_fraction"] == share].reset_index(drop=True)
        assert set(own["n_training_pictures"]) == {n_pictures}
        assert set(own["n_training_trials"]) == {N_REPEATS * n_pictures}
        (metrics,) = folder.glob(f"*_desc-eigenimage{ending}_metrics.tsv")
        scores = pd.read_csv(metrics, sep="\t")
        names = ["metric", "value", "ci_low", "ci_high", "chance"]
        pd.testing.assert_frame_equal(own[names], scores[names])
        sidecar = metrics.with_name(metrics.name.replace("metrics.tsv", "recon.json"))
        said = json.loads(sidecar.read_text())
        assert said["TrainFraction"] == share
        assert said["NumberOfTrainingPictures"] == [n_pictures]


def test_the_page_shows_the_curve_and_compares_recipes_on_the_largest_share(
    shared_out,
):
    page = (shared_out / "sub-01.html").read_text()
    assert "desc-learning_curves.svg" in page
    assert "25 %, 50 % and 100 % of them" in page
    assert page.count('<h2 id="eigenimage') == 1
    assert "eigenimage, 25 % of training pictures" in page
    assert "is better than eigenimage" not in page


def test_what_is_there_is_not_made_again(dataset, shared_out, capsys):
    run_on(dataset, shared_out, *ASKED, *NO_PAGE)
    said = capsys.readouterr().err
    assert ": done in" not in said
    before = recon_files(shared_out)
    run_on(dataset, shared_out, "--train-fraction", "0.5", "1", *NO_PAGE)
    again = recon_files(shared_out)
    changed = [name for name in before if again.get(name) != before[name]]
    assert {name.rpartition("_")[2] for name in changed} <= {
        "learning.tsv",
        "learning.json",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--train-fraction", "0.05"), "leaves 1 of 16 training pictures, and the"),
        (("--train-fraction", "0.05"), "needs at least 2. Take 0.13 or more."),
        (("--train-fraction", "0"), "expected above 0 and up to 1, not 0"),
        (("--train-fraction", "many"), "expected above 0 and up to 1, not many"),
        (("--train-fraction", "nan"), "expected above 0 and up to 1, not nan"),
        (("--train-fraction", "0.5", "--split", "all"), "nothing is tested"),
        (("--train-fraction", "0.5", "--model-from", "x"), "says what is learned"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_job(
    dataset, tmp_path, run, options, words
):
    status, said = run(dataset, tmp_path / "out", "participant", *options)
    assert status == 64
    assert words in said
    assert not (tmp_path / "out" / "sub-01").exists()


def test_a_dry_run_counts_every_share(dataset, tmp_path, run):
    said = run(dataset, tmp_path / "out", "participant", "--dry-run", *ASKED)[1]
    assert "recipe eigenimage, 25 % of training pictures: responses" in said
    assert "(4 of 16), each with all of its trials" in said


class TestGroup:
    @pytest.fixture
    def out(self, tmp_path):
        rng = np.random.default_rng(0)
        for share, mean in ((0.25, 0.6), (1.0, 0.8)):
            for subject in ("01", "02"):
                for recipe, more in (("alpha", 0.0), ("beta", 0.05)):
                    values = mean + more + 0.05 * rng.standard_normal((2, 30))
                    scores = dict(zip(SIDES, values, strict=True))
                    options = {"share": share}
                    write_participant(
                        tmp_path / "out", subject, recipe, "V1", scores, **options
                    )
        return tmp_path / "out"

    def test_shares_stand_in_tables_of_their_own(self, out):
        blocks = comparable(read_participants(out, []).entries)
        assert [block.terms.share for block in blocks] == ["100 %", "25 %"]
        assert [len(block.entries) for block in blocks] == [4, 4]
        (rising,) = by_share(blocks)
        assert [block.name for block in rising] == ["B", "A"]

    def test_the_page_draws_the_curve_and_ranks_within_shares(self, out, tmp_path, run):
        description = {"Name": "x", "BIDSVersion": "1.10.0"}
        (tmp_path / "data").mkdir()
        for folder, more in ((tmp_path / "data", {}), (out, {})):
            text = {**description, **more}
            text |= {"DatasetType": "derivative"} if folder == out else {}
            text |= {"GeneratedBy": [{"Name": "bids-recon"}]} if folder == out else {}
            (folder / "dataset_description.json").write_text(json.dumps(text))
        status, said = run(tmp_path / "data", out, "group")
        assert status == 0, said
        scores = pd.read_csv(out / "group_scores.tsv", sep="\t")
        of_shares = scores.groupby("table")["train_fraction"].unique()
        assert {name: list(own) for name, own in of_shares.items()} == {
            "A": [1.0],
            "B": [0.25],
        }
        own = scores[scores["metric"] == "two_way_identification"]
        means = own.set_index(["recipe", "train_fraction"])["mean"]
        assert means["alpha", 0.25] == pytest.approx(0.6, abs=0.02)
        assert means["alpha", 1.0] == pytest.approx(0.8, abs=0.02)
        assert set(own["n_training_pictures"]) == {25, 100}
        page = (out / "group.html").read_text()
        assert "Learning curves" in page
        assert "Tables B, A: profile bids-recon-1" in page
        assert (out / "figures" / "desc-learningBA_group.svg").is_file()
        whole = pd.read_csv(out / "group_metrics.tsv", sep="\t")
        assert set(whole["train_fraction"]) == {0.25, 1.0}

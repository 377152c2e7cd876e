"""Sets of pictures, such as shapes and letters: each is scored by itself."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from group_tables import sign, write_participant
from scipy.stats import pearsonr
from skimage.metrics import structural_similarity

from bids_recon.dataset.convention import convention_called
from bids_recon.errors import UserError
from bids_recon.evaluation.by_profiles import score_by_set
from bids_recon.evaluation.chance import exchangeable
from bids_recon.evaluation.judge import Judge
from bids_recon.evaluation.profiles import profile_of, read_profile
from bids_recon.evaluation.scores import Reconstructed, score
from bids_recon.evaluation.splits import make_split
from bids_recon.plan.picture_sets import picture_sets
from bids_recon.plan.plan import Plan, RunPlan, sides_of
from bids_recon.recipe_file import read_recipe
from bids_recon.settings import Settings
from bids_recon.stages.report.group_level.reading import read_participants
from bids_recon.stages.report.group_level.rows import comparable, what_differs

PROFILE = read_profile("shen2019")


@pytest.fixture
def recon():
    """Six natural pictures and four letters in one fold, and one shape."""
    rng = np.random.default_rng(0)
    seen = rng.random((11, 3, 16, 16)).astype(np.float32)
    made = np.clip(0.3 * seen + 0.7 * rng.random(seen.shape), 0, 1).astype(np.float32)
    sets = np.array(["natural"] * 6 + ["letters"] * 4 + ["shapes"])
    floor = np.broadcast_to(seen.mean(axis=0), made.shape)
    instead = {"floor": floor}
    return Reconstructed(seen, made, np.arange(11), np.full(11, "x"), instead, sets)


def rows_of(recon, seed=0):
    summary, per_picture, notes, null = score_by_set(recon, PROFILE, seed, Judge())
    return summary.set_index(["set", "metric"]), per_picture, notes, null


def grey(picture):
    return np.tensordot(picture.astype(float), (0.2125, 0.7154, 0.0721), axes=(0, 0))


def ssim(a, b):
    return structural_similarity(
        *(grey(a), grey(b)),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize(
    ("metric", "alike"),
    [
        ("two_way_identification", lambda a, b: pearsonr(a.ravel(), b.ravel())[0]),
        ("ssim_two_way", ssim),
    ],
)
def test_a_picture_is_told_from_each_other_of_its_set(recon, metric, alike):
    summary, per_picture, _, _ = rows_of(recon)
    for name in ("natural", "letters"):
        own = np.flatnonzero(recon.sets == name)
        won = [
            np.mean(
                [
                    alike(recon.seen[row], recon.pictures[row])
                    > alike(recon.seen[other], recon.pictures[row])
                    for other in own
                    if other != row
                ]
            )
            for row in own
        ]
        np.testing.assert_allclose(per_picture.loc[own, metric], won)
        row = summary.loc[(name, metric)]
        assert row["value"] == pytest.approx(np.mean(won))
        assert (row["n"], row["n_pictures"]) == (len(own), len(own))
        assert row["n_candidates"] == str(len(own))


def test_other_sets_change_nothing(recon):
    summary, _, _, null = rows_of(recon)
    letters = recon.of_set("letters")
    alone = score(letters, PROFILE, 0, Judge())
    own = summary.loc["letters"].reset_index()
    expected = alone.summary[own.columns]
    pd.testing.assert_frame_equal(own, expected, check_dtype=False)
    np.testing.assert_array_equal(null["ssim/letters"], alone.null["ssim"])


def test_a_set_of_one_picture_has_no_number(recon):
    summary, per_picture, notes, null = rows_of(recon)
    shapes = summary.loc["shapes"]
    assert shapes["value"].isna().all()
    assert set(shapes["n_pictures"]) == {1}
    assert per_picture.loc[10].isna().all()
    assert not any(key.endswith("/shapes") for key in null)
    assert any("The set shapes has one test picture" in note for note in notes)


def test_pictures_are_exchanged_among_all_where_a_fold_has_one_of_them():
    fold, own = np.array(["a", "a", "b", "c"]), np.arange(4)
    (block,) = exchangeable(fold, own, np.random.default_rng(0))
    np.testing.assert_array_equal(block, own)
    blocks = exchangeable(np.array(list("aabb")), own, np.random.default_rng(0))
    assert [list(block) for block in blocks] == [[0, 1], [2, 3]]


def test_ssim_looks_through_no_network():
    text = (
        "{name: x, version: 1, describes: x, source: x, max_size: 8, samples: first, "
        "metrics: {m: {kind: two_way, similarity: ssim, network: alexnet, layer: a}}}"
    )
    with pytest.raises(UserError, match="looks through no network"):
        profile_of(text, "x")


def plan_of(trials, rule=None, convention="bids", split=None):
    settings = Settings("/in", "/out", "participant", picture_sets=rule, split=split)
    run = RunPlan(None, trials, 0, 0.0, 0.0, convention)
    return Plan(settings, "01", (run,), {}, (), (), {}, ())


@pytest.fixture
def trials():
    sessions = ("NaturalImageTraining01", "NaturalImageTest01", "LetterImage01")
    return pd.DataFrame(
        {
            "session": np.repeat([f"perception{name}" for name in sessions], 2),
            "task": "perception",
            "run": "01",
            "role": "trial",
            "stimulus": [f"p{index}" for index in range(6)],
            "kind": ["a", "a", "b", "b", None, "c"],
        }
    )


def sets_of(trials, profile="shen2019", **how):
    """Return the sets that a recipe with one profile has, by the split it has."""
    plan = plan_of(trials, **how)
    recipe = replace(read_recipe("eigenimage"), profiles=(profile,))
    split = make_split(plan.settings.split, trials, 0, sides=sides_of(plan, trials))
    return picture_sets(plan, recipe, trials, split)


def test_sets_of_ds001506_are_told_by_its_sessions(trials):
    assert convention_called("deeprecon").split is not None
    expected = dict.fromkeys(("p2", "p3"), "natural")
    expected |= dict.fromkeys(("p4", "p5"), "letters")
    assert sets_of(trials, convention="deeprecon") == expected
    assert sets_of(trials, convention="deeprecon", split="paper") == expected


def test_there_are_none_without_several_test_sets(trials):
    more = pd.concat([trials, trials.assign(stimulus=trials["stimulus"] + "x")])
    assert sets_of(more.reset_index(drop=True), split="kfold:3") == {}
    one = trials[~trials["session"].str.contains("Letter")].reset_index(drop=True)
    assert sets_of(one, convention="deeprecon") == {}


@pytest.mark.parametrize("split", ["session", "kfold:2"])
def test_the_papers_sets_are_those_of_its_split_alone(trials, split):
    # By the paper, one picture is in two test sets, and one in training besides.
    trials.loc[[3, 4], "stimulus"] = ["p5", "p0"]
    assert sets_of(trials, convention="deeprecon", split=split) == {}


def test_sets_are_the_papers_where_a_profile_scores_each_alone(trials):
    trials.loc[3, "stimulus"] = "p5"
    assert sets_of(trials, "deeprecon", convention="deeprecon") == {}
    with pytest.raises(UserError, match="p5 is in the sets letters and natural"):
        sets_of(trials, convention="deeprecon")


def test_a_column_says_the_set_of_a_picture(trials):
    found = sets_of(trials, rule="column:kind", split="session")
    assert found == {"p0": "a", "p1": "a", "p2": "b", "p3": "b", "p5": "c"}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("column:knd", r"the events have no column 'knd'.*kind"),
        ("kind", "expected column:NAME"),
        ("column:", "expected column:NAME"),
        ("column:twice", "the picture p0 is in the sets x and y, and a picture"),
    ],
)
def test_what_cannot_be_is_told(trials, rule, words):
    trials = pd.concat([trials.assign(twice="x"), trials.assign(twice="y")])
    trials = trials.reset_index(drop=True)
    with pytest.raises(UserError, match=words) as error:
        sets_of(trials, rule=rule, split="kfold:2")
    assert error.value.status == 64


def test_the_group_level_does_not_mix_sets(tmp_path):
    rng = np.random.default_rng(0)
    for subject in ("01", "02"):
        scores = {"two_way_identification": rng.random(10)}
        metrics = write_participant(tmp_path, subject, "alpha", "V1", scores)
        recon = metrics.with_name(metrics.name.replace("_metrics", "_recon"))
        sets = np.repeat(["natural", "letters"], 5)
        table = pd.read_csv(recon, sep="\t").assign(set=sets)
        table.to_csv(recon, sep="\t", index=False, na_rep="n/a")
        rows = pd.read_csv(metrics, sep="\t")
        parts = [rows.assign(set=name) for name in ("natural", "letters")]
        pd.concat(parts).to_csv(metrics, sep="\t", index=False, na_rep="n/a")
        sign(metrics)
    reading = read_participants(tmp_path, [])
    assert reading.problems == {}
    blocks = comparable(reading.entries)
    assert sorted(block.terms.set for block in blocks) == ["letters", "natural"]
    for block in blocks:
        assert [len(entry.pictures) for entry in block.entries] == [5, 5]
        assert block.subjects == ["01", "02"]
    (sentence,) = what_differs(blocks)
    assert "set of test pictures (" in sentence

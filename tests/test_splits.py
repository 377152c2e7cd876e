"""Which trials are learned on and which are tested."""

import numpy as np
import pandas as pd
import pytest

from bids_recon.errors import UserError
from bids_recon.evaluation.splits import make_split


class TestSplits:
    @pytest.fixture
    def trials(self):
        table = pd.DataFrame(
            {
                "session": ["A"] * 6 + ["B"] * 6,
                "task": "t",
                "run": ["1", "1", "1", "2", "2", "2"] * 2,
                "stimulus": [f"p{i}.png" for i in (0, 1, 2, 3, 4, 5)] * 2,
            }
        )
        return table.assign(split=["train", "train", "test"] * 4)

    def sides(self, split, trials):
        for fold in split.folds:
            names = trials["stimulus"]
            yield set(names[fold.train]), set(names[fold.test])

    @pytest.mark.parametrize("rule", ["kfold:3", "leave-one-picture-out", None])
    def test_no_picture_is_on_both_sides(self, trials, rule):
        trials = trials.drop(columns="split") if rule else trials
        split = make_split(rule, trials, 0)
        for train, test in self.sides(split, trials):
            assert train
            assert test
            assert not train & test
        assert not split.shares_pictures

    def test_k_folds_cover_every_trial_once(self, trials):
        split = make_split("kfold:4", trials, 0)
        assert len(split.folds) == 4
        tested = np.concatenate([fold.test for fold in split.folds])
        assert sorted(tested) == list(range(12))

    def test_the_same_seed_gives_the_same_folds(self, trials):
        first, again = (make_split("kfold:3", trials, 5) for _ in range(2))
        for a, b in zip(first.folds, again.folds, strict=True):
            np.testing.assert_array_equal(a.test, b.test)

    @pytest.mark.parametrize("seed", [0, 1, 5])
    def test_pictures_are_dealt_out_in_the_order_that_the_seed_gives(
        self, trials, seed
    ):
        split = make_split("kfold:3", trials, seed)
        order = np.random.default_rng(seed).permutation(6)
        names = np.array([f"p{i}.png" for i in range(6)])[order]
        expected = [set(names[first::3]) for first in range(3)]
        assert [test for _, test in self.sides(split, trials)] == expected

    def test_another_seed_gives_other_folds(self, trials):
        found = {
            tuple(map(frozenset, (test for _, test in self.sides(split, trials))))
            for split in (make_split("kfold:3", trials, seed) for seed in range(8))
        }
        assert len(found) > 4

    def test_what_a_column_says_is_where_trials_go(self, trials):
        trials = trials.assign(
            stimulus=[f"p{i}" for i in range(12)],
            part=["Train", "trn", "TRAINING", "train"]
            + ["val", "Test", "tst", "test"]
            + ["train"] * 4,
            third=list("aabbccaabbcc"),
        )
        (fold,) = make_split("column:part", trials, 0).folds
        assert fold.train.tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
        assert fold.test.tolist() == [4, 5, 6, 7]
        folds = make_split("column:third", trials, 0).folds
        assert [fold.name for fold in folds] == list("abc")
        assert [fold.test.tolist() for fold in folds] == [
            [0, 1, 6, 7],
            [2, 3, 8, 9],
            [4, 5, 10, 11],
        ]
        assert folds[0].train.tolist() == [2, 3, 4, 5, 8, 9, 10, 11]

    def test_one_picture_is_left_out_at_a_time(self, trials):
        split = make_split("leave-one-picture-out", trials, 0)
        assert [fold.name for fold in split.folds] == [
            f"picture-000{number}" for number in range(1, 7)
        ]
        assert [fold.test.tolist() for fold in split.folds] == [
            [number, number + 6] for number in range(6)
        ]

    def test_two_units_and_two_pictures_are_enough(self, trials):
        split = make_split("session", trials, 0)
        assert [fold.name for fold in split.folds] == ["ses-A", "ses-B"]
        assert [fold.test.tolist() for fold in split.folds] == [
            list(range(6)),
            list(range(6, 12)),
        ]
        two = trials.assign(stimulus=["a", "b"] * 6)
        assert len(make_split("kfold:2", two, 0).folds) == 2

    def test_several_sessions_are_separated_by_commas(self, trials):
        trials = trials.assign(
            session=list("AABBCCDDEEFF"), stimulus=[f"p{i}" for i in range(12)]
        )
        (fold,) = make_split("train=A,ses-C/test=B,F", trials, 0).folds
        assert fold.name == "test"
        assert fold.train.tolist() == [0, 1, 4, 5]
        assert fold.test.tolist() == [2, 3, 10, 11]

    def test_rows_without_a_side_are_named(self, trials):
        trials = trials.assign(
            stimulus=[f"p{i}" for i in range(12)], onset=10.0 * np.arange(12)
        )
        trials.loc[4:10, "split"] = None
        with pytest.raises(UserError) as caught:
            make_split("column:split", trials, 0)
        said = str(caught.value)
        assert "n/a for 7 of 12 trials" in said
        assert "session A, task t, run 2, onset 40 s; " in said
        assert "; and 2 more)" in said
        trials.loc[4:5, "split"] = "test"
        with pytest.raises(UserError) as caught:
            make_split("column:split", trials.assign(onset=np.nan), 0)
        assert "more" not in str(caught.value)
        assert "onset" not in str(caught.value)

    def test_default_is_the_column_split_where_there_is_one(self, trials):
        assert make_split(None, trials, 0).rule == "column:split"
        assert make_split(None, trials.drop(columns="split"), 0).rule == "kfold:10"

    def test_holding_out_runs_may_share_pictures_and_says_so(self, trials):
        split = make_split("run", trials, 0)
        assert split.folds[0].name == "ses-A_task-t_run-1"
        assert len(split.folds) == 4
        assert split.shares_pictures
        assert "also learned on" in split.sentence
        assert set(split.groups) == {fold.name for fold in split.folds}

    def test_clusters_hold_out_pictures_that_are_alike(self, trials):
        rng = np.random.default_rng(0)
        centres = rng.random((2, 3, 6, 6))
        pictures = {
            f"p{i}.png": centres[i % 2] + 0.01 * rng.random((3, 6, 6)) for i in range(6)
        }
        split = make_split("clusters:2", trials, 0, lambda: pictures)
        assert {frozenset(test) for _, test in self.sides(split, trials)} == {
            frozenset({"p0.png", "p2.png", "p4.png"}),
            frozenset({"p1.png", "p3.png", "p5.png"}),
        }
        for rule in ("clusters:1", "clusters:7", "clusters:x"):
            with pytest.raises(UserError, match="expected clusters:K"):
                make_split(rule, trials, 0, lambda: pictures)

    def test_sessions_may_be_listed_with_patterns(self, trials):
        trials = trials.assign(stimulus=[f"p{i}" for i in range(12)])
        split = make_split("train=A*/test=ses-B", trials, 0)
        assert split.folds[0].train.tolist() == list(range(6))
        assert split.folds[0].test.tolist() == list(range(6, 12))

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            ("kfolds:3", "Did you mean 'kfold'?"),
            ("kfold:1", "K from 2"),
            ("kfold:x", "K from 2"),
            ("task", "one task only"),
            ("column:fold", "no column 'fold'"),
            ("column:session", "puts 6 pictures into training and test"),
            ("train=A/test=B", "puts 6 pictures into training and test"),
            ("train=A/test=C", "no trial is in the sessions for test"),
            ("train=A", "expected train=SESSIONS/test=SESSIONS"),
            ("train=*/test=B", "on both sides"),
        ],
    )
    def test_a_rule_that_does_not_fit_is_told(self, trials, rule, words):
        with pytest.raises(UserError) as caught:
            make_split(rule, trials, 0, dict)
        assert words in str(caught.value)
        assert rule in str(caught.value)

    def test_one_picture_cannot_be_split(self, trials):
        with pytest.raises(UserError, match="same picture"):
            make_split("kfold:3", trials.assign(stimulus="p.png"), 0)


def test_no_trials_at_all_are_told():
    trials = pd.DataFrame({"stimulus": [], "session": [], "task": [], "run": []})
    for rule in ("kfold:3", "leave-one-picture-out", "clusters:2", None):
        with pytest.raises(UserError):
            make_split(rule, trials, 0, dict)


@pytest.mark.parametrize("rule", ["run:3", "session:x", "task:a", "clusters:²"])
def test_a_rule_with_what_it_does_not_take_is_told(rule):
    trials = pd.DataFrame(
        {
            "session": "n/a",
            "task": "t",
            "run": ["1", "2"] * 4,
            "stimulus": list("abcdefgh"),
        }
    )
    pictures = {name: np.zeros((3, 2, 2)) for name in "abcdefgh"}
    with pytest.raises(UserError, match="expected"):
        make_split(rule, trials, 0, lambda: pictures)


def test_fewer_clusters_than_asked_for_are_told():
    trials = pd.DataFrame(
        {"session": "n/a", "task": "t", "run": "1", "stimulus": list("abcdef")}
    )
    rng = np.random.default_rng(0)
    kinds = rng.random((2, 3, 4, 4))
    pictures = {name: kinds[index % 2] for index, name in enumerate("abcdef")}
    with pytest.raises(UserError, match="fall into 2 clusters only"):
        make_split("clusters:3", trials, 0, lambda: pictures)

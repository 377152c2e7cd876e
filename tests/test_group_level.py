"""The group level on simulated tables with a known answer, and on bad ones."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from group_tables import sign, write_group, write_participant

from bids_recon.evaluation.profiles import read_profile
from bids_recon.evaluation.published import published
from bids_recon.stages.report.group_level.reading import read_participants
from bids_recon.stages.report.group_level.rows import comparable, what_differs
from bids_recon.stages.report.group_level.tables import score_table


@pytest.fixture
def group(tmp_path, run):
    """Run the group level on tables that were written to ``out``."""
    (tmp_path / "data").mkdir()
    description = {"Name": "x", "BIDSVersion": "1.10.0"}
    path = tmp_path / "data" / "dataset_description.json"
    path.write_text(json.dumps(description))

    def call(expected=0, *options):
        status, said = run(tmp_path / "data", tmp_path / "out", "group", *options)
        assert status == expected, said
        assert "Traceback" not in said
        return said

    return call


def table(out, name):
    return pd.read_csv(out / f"group_{name}.tsv", sep="\t", dtype={"subject": str})


def page(out):
    return (out / "group.html").read_text()


class TestKnownAnswers:
    @pytest.fixture
    def out(self, tmp_path, group):
        out = write_group(tmp_path / "out", 4, {"alpha": 0.8, "beta": 0.7})
        group()
        return out

    def test_means_and_differences_are_those_of_the_tables(self, out):
        found = {}
        for recipe in ("alpha", "beta"):
            parts = [
                pd.read_csv(path, sep="\t").set_index("stimulus")
                for path in sorted(out.glob(f"sub-*/recon/*{recipe}_recon.tsv"))
            ]
            found[recipe] = np.array([p["two_way_identification"] for p in parts])
        scores = table(out, "scores").set_index(["recipe", "metric"])
        for recipe, values in found.items():
            row = scores.loc[(recipe, "two_way_identification")]
            assert row["mean"] == pytest.approx(values.mean(), rel=1e-5)
            assert (row["n_participants"], row["n_pictures"]) == (4, 30)
            assert row["ci_low"] < row["mean"] < row["ci_high"]
        rows = table(out, "differences")
        rows = rows[rows["metric"] == "two_way_identification"].set_index("subject")
        difference = found["alpha"] - found["beta"]
        assert rows.loc["all", "difference"] == pytest.approx(
            difference.mean(), rel=1e-5
        )
        for index, own in enumerate(difference):
            row = rows.loc[f"{index + 1:02d}"]
            assert row["difference"] == pytest.approx(own.mean(), rel=1e-5)
            assert row["over"] == "pictures"
        assert rows.loc["all", "better"] == "a"

    def test_where_lower_is_better_the_other_is(self, out):
        rows = table(out, "differences")
        own = rows[(rows["metric"] == "mse") & (rows["subject"] == "all")]
        assert own["better"].tolist() == ["b"]
        ranks = table(out, "ranks").set_index(["metric", "recipe"])
        assert ranks.loc[("mse", "beta"), "rank"] == 1
        assert ranks.loc[("two_way_identification", "alpha"), "p_best"] == 1

    def test_the_page_answers_which_is_better_and_how_sure(self, out):
        text = page(out)
        said = r"In V1, alpha is better than beta \(by 0\.\d+, 95 % interval 0\."
        assert re.search(said, text)
        assert "It reaches two-way identification 0." in text
        assert "over participants and pictures" in text
        assert "no p-value can be below 0.0625" in text
        assert 'xlink:href="sub-01.html"' in text

    def test_latex_marks_the_best(self, out):
        text = (out / "group_scores.tex").read_text()
        (alpha,) = [line for line in text.splitlines() if line.startswith("alpha")]
        cells = alpha.split(" & ")
        assert cells[2].startswith(r"\textbf{")
        assert not cells[3].startswith(r"\textbf{")

    def test_every_column_is_described(self, out):
        for name in ("scores", "differences", "ranks"):
            described = json.loads((out / f"group_{name}.json").read_text())
            assert list(described) == list(table(out, name).columns)
            assert all(own["Description"] for own in described.values())

    def test_the_same_again_has_the_same_bytes(self, out, group):
        def contents():
            return {
                path.relative_to(out): path.read_bytes()
                for pattern in ("group*", "figures/desc-*")
                for path in out.glob(pattern)
            }

        before = contents()
        group()
        assert contents() == before
        assert any(path.suffix == ".pdf" for path in before)


def test_recipes_that_do_not_differ_cannot_be_told_apart(tmp_path, group):
    out = write_group(tmp_path / "out", 3, {"alpha": 0.7, "beta": 0.7}, seed=4)
    group()
    rows = table(out, "differences")
    own = rows[(rows["subject"] == "all")].set_index("metric")
    assert own.loc["two_way_identification", "better"] == "neither"
    assert "but it cannot be told from" in page(out)
    latex = (out / "group_scores.tex").read_text()
    assert "*" in latex.split(r"\hline")[2]


def test_regions_are_compared_within_each_recipe(tmp_path, group):
    out = write_group(tmp_path / "out", 3, {"alpha": 0.8}, rois=("V1", "V2"))
    group()
    rows = table(out, "differences")
    assert set(rows["compared"]) == {"roi"}
    assert set(zip(rows["a"], rows["b"], rows["within"], strict=True)) == {
        ("V1", "V2", "alpha")
    }
    assert table(out, "ranks").empty
    assert "With alpha, V1 and V2 cannot be told apart: V1 minus V2 is" in page(out)


TERMS = [
    ({"split": "run"}, "split (run, not kfold:10)"),
    ({"profile": "bids-recon-2"}, "metric profile (bids-recon-2, not bids-recon-1)"),
    ({"candidates": 10}, "number of candidates for identification (10, not 30)"),
    ({"version": "9"}, "version of bids-recon (9, not 0.1.0)"),
    ({"preprocessing": "X 1"}, "preprocessing (X 1, not fMRIPrep 25.1.0)"),
    ({"transductive": True}, "taken from the set of test trials (yes, not no)"),
    ({"learned_on": True}, "were also learned on (yes, not no)"),
    ({"pictures": [f"q{i}.png" for i in range(30)]}, "test pictures"),
]


@pytest.mark.parametrize(("terms", "words"), TERMS)
def test_what_cannot_be_compared_stands_apart(tmp_path, terms, words):
    out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
    scores = {"two_way_identification": np.linspace(0, 1, 30)}
    write_participant(out, "03", "alpha", "V1", scores, **terms)
    reading = read_participants(out, [])
    blocks = comparable(reading.entries)
    assert not reading.problems
    assert [block.subjects for block in blocks] == [["01", "02"], ["03"]]
    rows = score_table(blocks)
    assert rows.groupby("table")["n_participants"].max().to_dict() == {"A": 2, "B": 1}
    (sentence,) = what_differs(blocks)
    assert "because it differs in " in sentence
    assert words in sentence


def test_the_page_says_what_stands_apart(tmp_path, group):
    out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
    scores = {"two_way_identification": np.linspace(0, 1, 30)}
    write_participant(out, "03", "alpha", "V1", scores, split="run")
    group()
    assert "Table B stands apart from table A, because it differs in split" in page(out)


def test_one_participant_has_intervals_over_pictures(tmp_path, group):
    out = write_group(tmp_path / "out", 1, {"alpha": 0.8, "beta": 0.5})
    group()
    assert set(table(out, "scores")["over"]) == {"pictures"}
    assert "over pictures" in page(out)


def test_a_recipe_that_some_participants_lack(tmp_path, group):
    out = write_group(tmp_path / "out", 3, {"alpha": 0.8, "beta": 0.5})
    for path in out.glob("sub-03/recon/*desc-beta_*"):
        path.unlink()
    group()
    scores = table(out, "scores").groupby("recipe")["n_participants"].max()
    assert scores.to_dict() == {"alpha": 3, "beta": 2}
    rows = table(out, "differences")
    assert set(rows.loc[rows["subject"] == "all", "n_participants"]) == {2}


def test_who_lacks_a_recipe_does_not_decide_which_is_better(tmp_path, group):
    """The third participant has the worse recipe alone, and is good at everything."""
    out = tmp_path / "out"
    write_group(out, 0, {})
    noise = 0.01 * np.random.default_rng(0).standard_normal((5, 30))
    means = {("01", "alpha"): 0.5, ("02", "alpha"): 0.5, ("03", "alpha"): 0.95}
    means |= {("01", "beta"): 0.6, ("02", "beta"): 0.6}
    for (who, mean), own in zip(means.items(), noise, strict=True):
        scores = {"two_way_identification": mean + own}
        write_participant(out, who[0], who[1], "V1", scores)
    group()
    assert "In V1, beta is better than alpha (by 0." in page(out)
    assert "textbf" not in (out / "group_scores.tex").read_text()


def test_a_score_that_is_none_leaves_its_picture_out(tmp_path, group):
    out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
    path = next(out.glob("sub-01/recon/*_recon.tsv"))
    own = pd.read_csv(path, sep="\t")
    own.loc[3, "mse"] = np.nan
    own.to_csv(path, sep="\t", index=False, na_rep="n/a")
    sign(path.with_name(path.name.replace("_recon", "_metrics")))
    group()
    scores = table(out, "scores").set_index("metric")["n_pictures"]
    assert scores.to_dict() == {"two_way_identification": 30, "mse": 29}


class TestBadTables:
    def test_one_cut_short_is_left_out_and_told(self, finished, tmp_path, group):
        """A whole line is missing, which nothing but the checksum tells."""
        import shutil

        out = shutil.copytree(finished, tmp_path / "out")
        path = next(out.glob("sub-01/recon/*eigenimage_recon.tsv"))
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-1]))
        group()
        text = page(out)
        assert "it was changed or cut short" in text
        assert path.name in text
        assert set(table(out, "scores")["recipe"]) == {"miyawaki2008-omp"}

    @pytest.mark.parametrize("damage", ["sidecar", "columns", "half"])
    def test_others_stay(self, tmp_path, group, damage):
        out = write_group(tmp_path / "out", 3, {"alpha": 0.8})
        metrics = next(out.glob("sub-02/recon/*_metrics.tsv"))
        recon = metrics.with_name(metrics.name.replace("_metrics", "_recon"))
        if damage == "sidecar":
            recon.with_suffix(".json").write_text("{")
        elif damage == "columns":
            recon.write_text("a\tb\n1\t2\n")
        else:
            text = recon.read_text()
            recon.write_text(text[: len(text) // 2])
        group()
        assert set(table(out, "scores")["n_participants"]) == {2}
        assert recon.stem in page(out)

    @pytest.mark.parametrize(
        "change",
        [
            {"Recipe": {"name": "a\nb"}},
            {"Recipe": 3},
            {"Cite": 5},
            {"Preprocessing": [1]},
            {"BidsRecon": None},
        ],
    )
    def test_a_sidecar_of_other_kinds_is_told(self, tmp_path, group, change):
        out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
        path = next(out.glob("sub-02/recon/*_recon.json"))
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        group()
        assert set(table(out, "scores")["n_participants"]) == {1}
        assert path.name in page(out)

    def test_tables_that_nothing_vouches_for_are_left_out(self, tmp_path, group):
        out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
        next(out.glob("sub-02/recon/*_metrics.json")).unlink()
        group()
        assert set(table(out, "scores")["n_participants"]) == {1}
        assert "does not tell how the tables were written" in page(out)

    def test_nobody_has_scores(self, tmp_path, group):
        out = write_group(tmp_path / "out", 1, {"alpha": 0.8})
        for path in out.glob("sub-*/recon/*_metrics.tsv"):
            path.unlink()
        assert "no participant has scores" in group(66)

    def test_names_are_no_markup(self, tmp_path, group):
        out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
        for path in out.glob("sub-*/recon/*_recon.json"):
            text = path.read_text().replace('"alpha"', '"<script>x</script>_&"')
            path.write_text(text)
        group()
        assert "<script>x" not in page(out)
        assert r"\_\&" in (out / "group_scores.tex").read_text()


class TestPublished:
    def write(self, tmp_path, name, profile):
        out = write_group(tmp_path / "out", 1, {"alpha": 0.8})
        for path in out.glob("sub-01/recon/*"):
            path.unlink()
        scores = {"alexnet2_two_way": np.full(30, 0.8), "ssim": np.full(30, 0.4)}
        write_participant(out, "01", "alpha", "V1", scores, profile=profile)
        path = tmp_path / "data" / "dataset_description.json"
        path.write_text(json.dumps({"Name": name, "BIDSVersion": "1.10.0"}))
        return out

    def test_they_stand_beside_ours_under_the_same_profile(self, tmp_path, group):
        out = self.write(tmp_path, "Natural Scenes Dataset", "mindeye-1")
        group()
        text = page(out)
        assert "Brain-IT" in text
        # MindEye's AlexNet(2) is 92.8 %, Brain-Diffuser's 94.4 and not 94.2 %.
        assert "<td>0.928</td>" in text
        assert "<td>0.944</td>" in text
        assert "<td>0.942</td>" not in text

    @pytest.mark.parametrize(
        ("name", "profile"),
        [("Natural Scenes Dataset", "bids-recon-1"), ("Faces", "mindeye-1")],
    )
    def test_else_they_do_not(self, tmp_path, group, name, profile):
        out = self.write(tmp_path, name, profile)
        group()
        assert "Brain-IT" not in page(out)

    @pytest.mark.parametrize("table", published().tables, ids=lambda t: t.profile)
    def test_their_metrics_are_those_of_the_profile(self, table):
        metrics = [spec.name for spec in read_profile(table.profile).metrics]
        for row in table.rows:
            assert set(row.values) <= set(metrics)
            assert all(0 < value <= 1 for value in row.values.values())


class TestNullValues:
    """What exchanged pictures gave is kept, and the group is tested by it."""

    def test_participants_keep_what_their_p_values_come_from(self, finished):
        for path in finished.glob("sub-01/recon/*_null.npz"):
            metrics = path.with_name(path.name.replace("_null.npz", "_metrics.tsv"))
            rows = pd.read_csv(metrics, sep="\t").set_index("metric")
            with np.load(path) as arrays:
                null = {name.split("/")[1]: arrays[name] for name in arrays.files}
            assert set(null) == set(rows.index)
            for name, values in null.items():
                row = rows.loc[name]
                assert len(values) == row["n_permutations"]
                assert values.mean() == pytest.approx(row["chance"], rel=1e-5)
                better = -1 if name == "mse" else 1
                slack = 1e-6 * abs(row["value"])
                hits = (better * values >= better * row["value"] - slack).sum()
                p = (1 + hits) / (1 + len(values))
                assert p == pytest.approx(row["p_value"], rel=1e-5)

    def test_the_group_has_the_minimum_statistic_of_them(self, tmp_path, group):
        out = write_group(tmp_path / "out", 3, {"alpha": 0.8})
        for index, path in enumerate(sorted(out.glob("sub-*/recon/*_metrics.tsv"))):
            null = np.zeros(99)
            null[: index + 1] = 1
            name = path.name.replace("_metrics.tsv", "_null.npz")
            arrays = {"bids-recon-1/two_way_identification": null}
            np.savez(path.with_name(name), **arrays)
        group()
        row = table(out, "scores").set_index("metric").loc["two_way_identification"]
        assert row["p_global"] == pytest.approx(0.02 * 0.03 * 0.04, rel=1e-4)
        assert np.isnan(table(out, "scores").set_index("metric").loc["mse", "p_global"])
        assert "minimum statistic" in page(out)

    @pytest.mark.parametrize("what", ["text", "array", "words", "square", "nan"])
    def test_a_file_of_them_that_is_none_is_told(self, tmp_path, group, what):
        out = write_group(tmp_path / "out", 2, {"alpha": 0.8})
        path = next(out.glob("sub-01/recon/*_metrics.tsv"))
        name = path.name.replace("_metrics.tsv", "_null.npz")
        arrays = {"words": np.array(["a"]), "square": np.zeros((2, 2))}
        key = "bids-recon-1/mse"
        if what == "text":
            path.with_name(name).write_bytes(b"PK no archive")
        elif what == "array":
            with path.with_name(name).open("wb") as file:
                np.save(file, np.zeros(3))
        else:
            values = arrays.get(what, np.full(9, np.nan))
            np.savez(path.with_name(name), **{key: values})
        group()
        if what == "nan":
            assert table(out, "scores")["p_global"].isna().all()
            return
        assert set(table(out, "scores")["n_participants"]) == {1}
        assert name in page(out)


def test_many_participants(tmp_path, group):
    out = write_group(tmp_path / "out", 200, {"alpha": 0.8}, n_pictures=10)
    group()
    assert set(table(out, "scores")["n_participants"]) == {200}
    assert (out / "group.html").stat().st_size < 20e6


def test_only_participants_that_were_asked_for(tmp_path, group):
    out = write_group(tmp_path / "out", 3, {"alpha": 0.8})
    group(0, "--participant-label", "01", "sub-03")
    assert set(table(out, "scores")["n_participants"]) == {2}

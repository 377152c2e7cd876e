"""The page of a participant: its summary, its gallery, the time taken."""

import json
import re
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from nireports.assembler.report import Report

from bids_recon.engine import Outcome
from bids_recon.reports.gallery import N_STATIC, Gallery, Made, Row, gallery_html
from bids_recon.reports.page import write_page
from bids_recon.stages.report.comparison import Compared, Entry
from bids_recon.stages.report.summary import _named, sentence
from bids_recon.stages.report.times import note_times

HOSTILE = '</script><img src=x onerror="alert(1)">&#.png'


@pytest.fixture(scope="module")
def page(finished):
    return (finished / "sub-01.html").read_text()


def gallery(n_trials, stimulus="p{}.png"):
    rng = np.random.default_rng(0)
    columns = [("alpha, V1", "sub-01/recon/a b_recon"), ("beta, V1", "sub-01/recon/b")]
    rows = []
    for trial in range(1, n_trials + 1):
        scores = [tuple(rng.random(2).round(4)) for _ in columns]
        made = tuple(Made((f"{trial:04d}.png",), own) for own in scores)
        rows.append(Row(trial, stimulus.format(trial), f"run {trial}", None, made))
    return Gallery(columns, ["two_way_identification", "mse"], "sub-01/seen", rows)


def data_of(html):
    found = re.search(r'<script type="application/json">(.*?)</script>', html, re.S)
    return json.loads(found[1])


class TestSummary:
    def test_it_comes_first_and_says_the_main_number(self, finished, page):
        heads = re.findall(r"<h1>(.*?)</h1>", page)
        assert heads[:3] == ["In short", "Images", "Compared"]
        (path,) = finished.glob("sub-01/recon/*_desc-eigenimage_metrics.tsv")
        row = pd.read_csv(path, sep="\t").set_index("metric")
        row = row.loc["two_way_identification"]
        said = page[page.index("In short</h1>") : page.index("Images</h1>")]
        for name in ("value", "ci_low", "ci_high", "chance", "floor_retrieval"):
            assert f"{row[name]:.3f}" in said
        assert "task digits, 2 runs, 24 trials of 24 images" in said

    def test_every_link_leads_to_a_section(self, page):
        for anchor in re.findall(r'href="#([^"]+)"', page):
            assert f'id="{anchor}"' in page

    def test_checks_for_spurious_reconstruction_are_folded(self, page):
        before, _, table = page.partition("Could categories alone explain it?")
        assert table
        assert before.rfind("<details>") > before.rfind("</details>")

    @pytest.mark.parametrize(
        ("gain", "words"),
        [
            (0.2, "In V1, alpha is better than beta (by 0.2"),
            (0.0, "but it cannot be told from"),
        ],
    )
    def test_it_says_which_is_better_and_how_sure_that_is(self, gain, words):
        rng = np.random.default_rng(1)
        scores = {"alpha": rng.random(60) + gain, "beta": rng.random(60)}
        own = np.arange(60).astype(str)
        entries = tuple(
            Entry(name, pd.DataFrame({"two_way_identification": values}), own, object())
            for name, values in scores.items()
        )
        rows = {
            name: pd.Series(
                {"value": v.mean(), "ci_low": 0, "ci_high": 1, "chance": 0.5}
                | {"p_value": 0.001},
                name="two_way_identification",
            )
            for name, v in scores.items()
        }
        assert words in sentence("V1", rows, Compared("V1", entries, ()))

    def test_one_recipe_is_compared_with_nothing(self):
        row = {"value": 0.9, "ci_low": 0.8, "ci_high": 1, "chance": 0.5}
        row = pd.Series({**row, "p_value": 0.001}, name="two_way_identification")
        assert sentence("V1", {"alpha": row}, None) == (
            "In V1, alpha reaches two-way identification 0.900 (95 % interval 0.800 to "
            "1.000; chance 0.500, p = 0.001)."
        )


class TestGallery:
    def test_it_holds_every_reconstruction_with_its_scores(self, finished, page):
        data = data_of(page)
        assert [own["name"] for own in data["columns"]] == [
            "eigenimage, visual",
            "miyawaki2008-omp, visual",
        ]
        (path,) = finished.glob("sub-01/recon/*_desc-eigenimage_recon.tsv")
        table = pd.read_csv(path, sep="\t").set_index("trial")
        assert len(data["rows"]) == len(table) == 24
        for row in data["rows"]:
            own = table.loc[row["trial"]]
            assert row["stimulus"] == own["stimulus"]
            found = row["made"][0]["scores"][0]
            assert found == pytest.approx(own["two_way_identification"], abs=1e-4)
            for column, made in zip(data["columns"], row["made"], strict=True):
                assert (finished / column["folder"] / made["images"][0]).is_file()
            assert (finished / data["seen"] / row["seen"]).is_file()

    def test_without_javascript_some_are_there(self):
        html = gallery_html(gallery(100))
        assert html.count("<li>") == N_STATIC
        assert html.count('loading="lazy"') == 2 * N_STATIC
        assert f"{N_STATIC} of 100 trials" in html
        assert "a%20b_recon/0001.png" in html

    def test_names_of_images_are_no_markup(self):
        html = gallery_html(gallery(3, HOSTILE))
        assert "<img src=x" not in html
        assert html.count("</script>") == 1
        assert data_of(html)["rows"][0]["stimulus"] == HOSTILE

    def test_ten_thousand_make_a_page_of_a_few_megabytes(self):
        assert len(gallery_html(gallery(5000))) < 3e6

    def test_trials_that_a_recipe_did_not_reconstruct_say_so(self):
        own = gallery(2)
        row = own.rows[0]
        rows = [Row(1, "p", "", None, (row.made[0], None)), own.rows[1]]
        html = gallery_html(Gallery(own.columns, own.metrics, own.seen, rows))
        assert html.count("not made") == 1
        assert data_of(html)["rows"][0]["made"][1] is None


CHROMIUM = shutil.which("chromium")

SCRIPT = """<script>
const box = document.querySelector(".gallery"), said = [];
const title = () => box.querySelector(".title").textContent;
const [order, metric, of] = box.querySelectorAll("select");
const set = (select, index) => {
  select.selectedIndex = index;
  select.dispatchEvent(new Event("change"));
};
said.push(title());
set(order, 2); said.push(title());
set(order, 3); said.push(title());
set(metric, 1); set(of, 1); said.push(title());
set(order, 1); said.push(title());
const wanted = box.querySelector("input[type=search]");
wanted.value = "p20";
wanted.dispatchEvent(new Event("input"));
said.push(box.querySelector("[role=status]").textContent);
box.querySelector("input[type=checkbox]").click();
said.push(String(box.querySelector(".cards li").querySelectorAll("figure").length));
box.querySelector(".cards a").click();
const large = document.querySelector("dialog");
const press = (key) =>
  large.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
press("ArrowRight");
said.push(`${large.open} ${large.querySelector("strong").textContent}`);
document.body.textContent = `[[${said.join("|")}]]`;
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here")
def test_a_browser_sorts_filters_and_opens(tmp_path):
    own = gallery(200)
    folder = tmp_path / "sub-01" / "figures"
    folder.mkdir(parents=True)
    text = gallery_html(own)
    (folder / "sub-01_desc-gallery_about.html").write_text(text)
    write_page(tmp_path, folder, "sub-01.html", "participant", subject="01")
    path = tmp_path / "sub-01.html"
    path.write_text(path.read_text() + SCRIPT)
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--user-data-dir={tmp_path / 'profile'}",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    first = [row.made[0].scores[0] for row in own.rows]
    second = [row.made[1].scores[1] for row in own.rows]
    best, worst = int(np.argmax(first)) + 1, int(np.argmin(first)) + 1
    # Of the mean squared error, the worst is the largest.
    largest = int(np.argmax(second)) + 1
    said = re.search(r"\[\[(.*)\]\]", done.stdout)[1].split("|")
    assert said == [
        "1. p1.png",
        f"{best}. p{best}.png",
        f"{worst}. p{worst}.png",
        f"{largest}. p{largest}.png",
        "1. p1.png",
        "1 to 2 of 2 trials",
        "2",
        "true Trial 200: p200.png",
    ]


def test_the_page_is_that_of_nireports_own_search(tmp_path):
    folder = tmp_path / "sub-01" / "figures"
    folder.mkdir(parents=True)
    parts = [f"desc-{name}_about" for name in ("cite", "summary", "settings")]
    parts += [
        f"label-{label}_desc-{desc}_{suffix}"
        for label in ("V1", "V2")
        for desc in ("tinyLatent", "eigenimage")
        for suffix in ("scores", "heading", "spurious")
    ]
    parts += ["label-V1_desc-tinyLatent_decoding", "desc-pearsonV1_connectivity"]
    for part in parts:
        text = f"<p>{part}</p>"
        (folder / f"sub-01_task-digits_{part}.html").write_text(text)
    (folder / "sub-01_report.json").write_text("{}")
    (folder / "notes of mine").write_text("not a part")
    write_page(tmp_path, folder, "ours.html", "participant", subject="01")
    package = files("bids_recon.reports")
    report = Report(
        *(tmp_path, None),
        bootstrap_file=package.joinpath("participant.yml"),
        out_filename="theirs.html",
        reportlets_dir=folder,
        metadata={"template": str(package.joinpath("report.tpl"))},
        subject="01",
    )
    report.generate_report()
    text = (tmp_path / "ours.html").read_text()
    assert text == (tmp_path / "theirs.html").read_text()
    assert all(f"<p>{part}</p>" in text for part in parts)


class Plan:
    """As much of a plan as times need."""

    subject = "01"

    def __init__(self, output_dir):
        self.settings = self
        self.output_dir = output_dir


class TestTimes:
    def test_a_job_keeps_the_time_of_when_it_last_ran(self, tmp_path):
        plan = Plan(tmp_path)
        note_times(plan, [Outcome("sub-01 a decode", "done", seconds=70.0)])
        again = [
            Outcome("sub-01 a decode", "up to date", seconds=0.1),
            Outcome("sub-01 b decode", "done", seconds=5.0),
        ]
        note_times(plan, again)
        table = pd.read_csv(tmp_path / "logs" / "sub-01_times.tsv", sep="\t")
        assert dict(zip(table["job"], table["seconds"], strict=True)) == {
            "sub-01 a decode": 70.0,
            "sub-01 b decode": 5.0,
        }
        text = (tmp_path / "logs" / "sub-01_times.html").read_text()
        assert "1 min 15 s in 2 jobs, added up; the longest: a decode, 1 min" in text

    def test_a_damaged_table_is_begun_anew(self, tmp_path):
        (tmp_path / "logs").mkdir()
        path = tmp_path / "logs" / "sub-01_times.tsv"
        path.write_text("nothing\n")
        note_times(Plan(tmp_path), [Outcome("sub-01 a", "done", seconds=1.0)])
        assert "sub-01 a\t1" in path.read_text()

    def test_the_page_shows_the_file_and_not_the_time(self, finished, page):
        found = re.search(r'<object type="text/html" data="([^"]+)"', page)[1]
        assert (finished / found).is_file()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], ""),
        (["01"], "session 01"),
        (["01", "02"], "sessions 01, 02"),
        ([f"{n:02d}" for n in range(1, 41)], "40 sessions (01 to 40)"),
    ],
)
def test_many_sessions_are_counted_and_few_are_named(labels, said):
    assert _named("session", labels) == said

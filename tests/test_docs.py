"""The documentation says what the program does: outputs, messages, commands."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from bids_recon import cli, import_command, score, weights_command
from bids_recon.dataset.derivatives import PATTERNS
from bids_recon.evaluation.scores import COLUMNS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def outputs():
    return (DOCS / "outputs.md").read_text()


def cells(text):
    """What stands in backticks in the first cell of each row of tables."""
    first = re.findall(r"^\| ([^|]*)\|", text, re.MULTILINE)
    return {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}


def section(name):
    """The text below a heading, up to the next of its kind or above."""
    found = re.search(rf"^(#+) {re.escape(name)}$", outputs(), re.MULTILINE)
    level = len(found[1])
    rest = outputs()[found.end() :]
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def patterns_of_the_tree():
    """Every file of the tree, as a pattern of paths."""
    lines = re.search(r"```\nOUTPUT_DIR/\n(.*?)```", outputs(), re.DOTALL)[1]
    folders, found = [], []
    for line in lines.splitlines():
        depth = line.index("── ") // 4
        name = line[line.index("── ") + 3 :]
        del folders[depth:]
        if name.endswith("/"):
            folders.append(name)
            continue
        path = "".join([*folders, name])
        for place, pattern in (
            (r"{nii\.gz,json}", r"(nii\.gz|json)"),
            (r"{(\w+),(\w+)}", r"(\1|\2)"),
            (r"{tsv,json,tex}", r"(tsv|json|tex)"),
            (r"\[ses-A/\]", r"(ses-\\w+/)?"),
            (r"<run>", r"[\\w-]+"),
            (r"(?<!\])\*", r"[\\w.-]+"),
            (r"sub-01", r"sub-\\w+"),
            (r"task-digits_", r"(task-[a-zA-Z0-9]+_)?"),
            (r"(run|label|space)-[a-zA-Z0-9]+", r"\1-[a-zA-Z0-9]+"),
            (r"desc-(eigenimage|trial)", r"desc-[a-zA-Z0-9]+"),
        ):
            path = re.sub(place, pattern, path)
        found.append(re.compile(path.replace("OUTPUT_DIR/", "")))
    return found


def test_the_tree_holds_every_output(finished):
    patterns = patterns_of_the_tree()
    assert len(patterns) > 20
    unknown = [
        str(path.relative_to(finished))
        for path in finished.rglob("*")
        if path.is_file()
        and path.relative_to(finished).parts[:2] != ("work", "sub-01")
        and not any(p.fullmatch(str(path.relative_to(finished))) for p in patterns)
    ]
    assert not unknown


def test_the_tree_holds_every_kind_of_output():
    for kind, pattern in PATTERNS.items():
        stem = re.sub(r"\[[^\]]*\]|\{extension\|[^}]*\}", "", pattern)
        suffix = stem.rpartition("_")[2]
        assert "{" in suffix or f"_{suffix}" in outputs(), kind


@pytest.mark.parametrize("suffix", ["events", "recon", "metrics", "spurious"])
def test_every_column_is_described(finished, suffix):
    described = cells(section(f"`_{suffix}.tsv`"))
    tables = list(finished.rglob(f"sub-*_{suffix}.tsv"))
    assert tables or suffix == "spurious"
    events = {"stim_file", "category"}
    for table in tables:
        columns = set(table.read_text().split("\n")[0].split("\t"))
        assert columns - events <= described, table.name


def test_columns_of_the_group_are_described(finished):
    for name in ("metrics", "recon"):
        described = cells(section("`group_metrics.tsv` and `group_recon.tsv`"))
        described |= cells(section(f"`_{name}.tsv`"))
        columns = (finished / f"group_{name}.tsv").read_text().split("\n")[0]
        assert set(columns.split("\t")) <= described


@pytest.mark.parametrize("name", ["scores", "differences", "ranks"])
def test_statistics_of_the_group_are_described(finished, name):
    columns = (finished / f"group_{name}.tsv").read_text().split("\n")[0].split("\t")
    assert cells(section(f"`group_{name}.tsv`")) - {"recipe", "roi", "all"} == set(
        columns
    ) - {"recipe", "roi"}


def test_all_columns_of_scores_are_described_and_no_others():
    assert cells(section("`_metrics.tsv`")) == set(COLUMNS)


def test_every_key_of_sidecars_is_described(finished):
    described = cells(section("Keys of sidecars"))
    keys, inner = set(), set()
    for path in finished.rglob("sub-*/**/*.json"):
        if "work" in path.relative_to(finished).parts:
            continue
        data = json.loads(path.read_text())
        keys |= set(data)
        inner |= set(data.get("BidsRecon", ()))
    assert keys
    assert inner
    assert keys | inner <= described


def test_published_values_are_those_that_the_program_shows():
    page = (DOCS / "metrics.md").read_text().partition("## Published values")[2]
    page = page.partition("With one hour")[0]
    rows = re.findall(r"^\| [^|]+ \|((?: [.\d]+ \|){8})$", page, re.MULTILINE)
    shown = {
        tuple(float(cell) for cell in row.split("|") if cell.strip()) for row in rows
    }
    data = (ROOT / "bids_recon" / "evaluation" / "published.yml").read_text()
    known = {
        tuple(
            round(100 * value, 1) if name.endswith("two_way") else value
            for name, value in row["values"].items()
        )
        for table in yaml.safe_load(data)["tables"]
        for row in table["rows"]
    }
    assert len(shown) == 11
    assert shown <= known


def texts_of_the_program():
    """Every text that stands in the program, in pieces between its variables."""
    files = (ROOT / "bids_recon").rglob("*.py")
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text())))
    texts = (node.value for node in nodes if isinstance(node, ast.Constant))
    return "\0".join(text for text in texts if isinstance(text, str))


def test_messages_that_are_explained_exist():
    page = (DOCS / "troubleshooting.md").read_text()
    quoted = [
        text
        for row in re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE)
        for text in re.findall(r"`([^`]+)`", row)
    ]
    assert len(quoted) > 20
    texts = texts_of_the_program()
    for message in quoted:
        for piece in message.split("…"):
            assert piece.strip() in texts, message


def commands():
    """Every command of ours in the pages, one line each, with its page."""
    for path in sorted([ROOT / "README.md", *DOCS.glob("*.md")]):
        text = re.sub(r"\\\n\s*", " ", path.read_text())
        for line in re.findall(r"^(?: {4,}|\$ )?(bids-recon.*)$", text, re.MULTILINE):
            if not re.search(r"[{}]|\[options\]|\.\.\.|^bids-recon: ", line):
                yield path.name, line


RUN = re.compile(
    r"^ {4}(bids-recon demo/.*|bids-recon dataset .*--(?:list|dry-run))$", re.MULTILINE
)
"""Commands that the simulated dataset has all for."""


PARSERS = {
    "bids-recon-import": import_command.make_parser,
    "bids-recon-score": score.make_parser,
    "bids-recon-weights": weights_command.make_parser,
}

COMMANDS = sorted(set(commands()))


def test_there_are_commands():
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_can_be_read(page, line):
    program, *words = shlex.split(re.split(" #| > ", line)[0])
    if program == "bids-recon" and "--list" not in words and words[-1] != "--roi":
        cli.make_settings(words)
    elif program == "bids-recon":
        cli.make_parser(listing=True).parse_args(words)
    elif program in PARSERS:
        PARSERS[program]().parse_args(words)
    else:
        assert program == "bids-recon-demo"


@pytest.fixture(scope="module")
def demo(small_dataset, tmp_path_factory):
    """A folder in which commands find what they name."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "demo").mkdir()
    for place in ("demo/dataset", "dataset"):
        (folder / place).symlink_to(small_dataset)
    return folder


def test_commands_for_the_demo_are_run(demo, run, monkeypatch):
    """In order, as a reader would; recipes that take long are only planned."""
    monkeypatch.chdir(demo)
    ran = 0
    pages = [(DOCS / name).read_text() for name in ("try-it.md", "your-dataset.md")]
    for line in RUN.findall("\n".join(pages)):
        words = shlex.split(line)[1:]
        status, said = run(*words)
        assert status == 0, f"{line}\n{said}"
        ran += 1
    assert ran >= 7


def test_python_of_the_pages_runs(demo, monkeypatch):
    """The blocks of the page for Python, one after another."""
    monkeypatch.chdir(demo)
    text = (DOCS / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(compile(block, "python.md", "exec"), names)
    assert names["status"] == 0
    assert names["scores"].loc["pixel_correlation", "n"] == 24
    assert names["reconstructed"].shape == (20, 3, 8, 8)

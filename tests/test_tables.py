"""Tables are read strictly: a table that is odd is understood or told, never bent."""

import os
import socket

import numpy as np
import pandas as pd
import pytest

from bids_recon.dataset.events import read_events
from bids_recon.dataset.segmentations import read_labels
from bids_recon.dataset.tables import read_table, table_text
from bids_recon.errors import UserError
from bids_recon.files import check_gzip, check_regular


def table_of(tmp_path, text, **options):
    path = tmp_path / "table.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, **options)


GOOD = "onset\tname\n1\ta\n2\tb\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.encode("utf-8-sig"),
        GOOD.rstrip("\n"),
        GOOD + "\n\n",
        # Tabs at the end, of all lines, of all but the first, of the first only.
        GOOD.replace("\n", "\t\n"),
        "onset\tname\n1\ta\t\n2\tb\t\n",
        "onset\tname\t\n1\ta\n2\tb\n",
        "onset\tname\n1\ta\t\t\n2\tb\n",
        "onset \t name\n1\t a\n2\tb \n",
    ],
)
def test_one_table_in_many_spellings(tmp_path, text):
    table = table_of(tmp_path, text, numeric=("onset",))
    assert table["onset"].tolist() == [1.0, 2.0]
    assert table["name"].tolist() == ["a", "b"]


def test_quotes_are_letters(tmp_path):
    table = table_of(tmp_path, 'a\tb\n"x\t1\ny\t2\n"z\t3\n"w"\t4\n')
    assert table["a"].tolist() == ['"x', "y", '"z', '"w"']
    assert table["b"].tolist() == ["1", "2", "3", "4"]


def test_what_is_written_is_read_back(tmp_path):
    table = pd.DataFrame(
        {"a": ['"x', "it's", None, "图"], "b": ['say "hi"', "\\", "", " "]},
        dtype=object,
    )
    (tmp_path / "t.tsv").write_text(table_text(table), "utf-8")
    again = read_table(tmp_path / "t.tsv")
    assert again["a"].tolist() == ['"x', "it's", None, "图"]
    assert again["b"].tolist() == ['say "hi"', "\\", None, None]


def test_a_table_of_a_header_has_no_rows(tmp_path):
    table = table_of(tmp_path, "onset\tname\n", numeric=("onset",))
    assert list(table.columns) == ["onset", "name"]
    assert len(table) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the table is empty"),
        ("\n\n", "the table is empty"),
        ("a\tb\n1\t2\t3\n", "line 2 has 3 fields, and there are 2 columns"),
        ("a\tb\n1\t2\n1\n", "line 3 has 1 fields"),
        ("a\tb\n\n1\n", "line 3 has 1 fields"),
        ("a\tb\t\n1\t2\t3\n", "line 2 has 3 fields, and there are 2 columns"),
        ("a\t\tb\n1\t2\t3\n", "column 2 has no name"),
        ("a\tb\ta\n1\t2\t3\n", "two columns are called 'a'"),
        ("a\tb\n1\t\x1b[31m\n", "line 2 holds the control character"),
        ("a\tb\né\t1\n".encode("latin-1"), "line 2 is not in UTF-8"),
        ("a\tb\n1\t2\n".encode("utf-16"), "zero byte"),
        (b"a\tb\n1\t\0\n", "line 2 holds a zero byte"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, text, words):
    with pytest.raises(UserError, match=r"table\.tsv") as caught:
        table_of(tmp_path, text)
    assert words in str(caught.value)


@pytest.mark.parametrize("header", ["onset,name", '"onset"\t"name"'])
def test_a_column_that_is_not_there_is_told_with_the_reason(tmp_path, header):
    with pytest.raises(UserError, match="no column 'onset'") as caught:
        table_of(tmp_path, header + "\n", required=("onset",))
    assert ("separated by tabs" if "," in header else "without quotes") in str(
        caught.value
    )


@pytest.mark.parametrize("value", ["1", "+1.5", "-.5", "1e-3", "2.", "0"])
def test_numbers_are_numbers(tmp_path, value):
    table = table_of(tmp_path, f"x\ty\n{value}\t1\n", numeric=("x",))
    assert table["x"].tolist() == [float(value)]


@pytest.mark.parametrize(
    "value",
    ["1,5", "soon", "nan", "NaN", "inf", "-Infinity", "1e999", "0x10", "1_000", "٣"],
)
@pytest.mark.parametrize("column", ["onset", "duration"])
def test_times_that_are_no_numbers_are_told_with_their_line(tmp_path, column, value):
    path = tmp_path / "events.tsv"
    row = {"onset": "4", "duration": "2", column: value}
    path.write_text(
        "onset\tduration\tstim_file\n0\t2\ta.png\n"
        f"\n{row['onset']}\t{row['duration']}\tb.png\n"
    )
    with pytest.raises(UserError, match=f"column '{column}'") as caught:
        read_events(path)
    assert f"line 4 has {value!r}" in str(caught.value)


def test_a_duration_below_zero_is_told(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\tstim_file\n0\t2\ta.png\n4\t-1\tb.png\n")
    with pytest.raises(UserError, match=r"line 3 has a duration of -1 s"):
        read_events(path)


def test_missing_times_are_counted(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text(
        "onset\tduration\tstim_file\tsplit\t\n"
        "n/a\t2\ta.png\ttrain\t\nn/a\t2\tb.png\ttrain\t\n"
        "-1.5\tn/a\tc.png\ttest\t\n8\t2\td.png\ttest\t\n9\tn/a\tn/a\ttest\t\n"
    )
    events = read_events(path)
    assert events.trials["stimulus"].tolist() == ["c.png", "d.png"]
    assert events.trials["onset"].tolist() == [-1.5, 8.0]
    assert events.trials["duration"].tolist() == [0.0, 2.0]
    assert events.unclear == {
        "rows of events have no onset (n/a) and were left out": 2,
        "trials have no duration (n/a); it counts as 0 s": 1,
    }


def test_regions_have_whole_numbers(tmp_path):
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\tV1\n2.5\tV2\n")
    with pytest.raises(UserError, match=r"line 3 has the index 2\.5"):
        read_labels(tmp_path / "dseg.tsv")


def test_only_files_are_read(tmp_path):
    pipe, folder = tmp_path / "pipe.tsv", tmp_path / "folder.tsv"
    os.mkfifo(pipe)
    folder.mkdir()
    loop, lost = tmp_path / "loop.tsv", tmp_path / "lost.tsv"
    loop.symlink_to(loop.name)
    lost.symlink_to("nowhere.tsv")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.tsv"))
        for path, words in (
            (pipe, "a pipe"),
            (folder, "a folder"),
            (loop, "back to itself"),
            (lost, "datalad get"),
            (tmp_path / "socket.tsv", "a socket"),
            (tmp_path / "none.tsv", "no such file"),
        ):
            with pytest.raises(UserError, match=words):
                read_table(path)
    with pytest.raises(UserError, match="a device"):
        check_regular(type(tmp_path)("/dev/zero"))


def test_a_damaged_compressed_file_is_told(tmp_path):
    import gzip

    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 100_000, dtype=np.uint8).tobytes()
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(data))
    check_gzip(path)
    for damaged in (
        path.read_bytes()[:-4] + b"\0\0\0\0",
        path.read_bytes()[:-9],
        path.read_bytes() + b"more",
        data,
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.gz: the file is cut short or damaged"):
            check_gzip(path)

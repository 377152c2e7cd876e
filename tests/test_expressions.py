"""``--trials`` compares columns, and runs nothing."""

import pandas as pd
import pytest

from bids_recon.dataset.expressions import LONGEST, chosen_rows
from bids_recon.errors import UserError

TABLE = pd.DataFrame(
    {
        "number": ["1", "2", None, "3.0"],
        "kind": ["face", "house", "face", None],
        "truth": ["true", "False", "TRUE", None],
        "reaction time": ["5", "6", "7", "8"],
        "onset": [0.0, 1.0, 2.0, 3.0],
        "class": ["a", "10", "b", "c"],
    },
    dtype=object,
).astype({"onset": float})


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("number == 1", [0]),
        ("number == 3", [3]),
        ("number == -1", []),
        ("number >= 2", [1, 3]),
        ("1 < number < 3", [1]),
        ("number in [1, 3]", [0, 3]),
        # What is missing satisfies no comparison, and so its opposite.
        ("number != 1", [1, 3]),
        ("number not in [1]", [1, 3]),
        ("not number == 1", [1, 2, 3]),
        ("number == number", [0, 1, 3]),
        ("kind == 'face'", [0, 2]),
        ('kind in ("face", "house") and onset > 0', [1, 2]),
        ("kind in {'face'} or number == 2", [0, 1, 2]),
        ("(kind == 'face') & (onset > 0) | (number == 3)", [2, 3]),
        ("kind == 'face' & onset > 0", [2]),
        ("~(kind == 'face')", [1, 3]),
        ("`reaction time` > 6", [2, 3]),
        ("`class` == '10'", [1]),
        ("onset < `reaction time`", [0, 1, 2, 3]),
        ("truth == True", [0, 2]),
        ("truth != True", [1]),
        ("number == True", [0]),
        ("kind == 'a & b | ~`c`'", []),
    ],
)
def test_rows_are_chosen(expression, rows):
    assert chosen_rows(expression, TABLE).nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    "expression",
    [
        "@pd.io.common.os.system('touch pwned')",
        "__import__('os').system('touch pwned')",
        "number.sum() > 1",
        "number.__class__ == 1",
        "number[0] == 1",
        "number + 1 == 2",
        "number ** 9 ** 9 ** 9 == 1",
        "kind == f'{number}'",
        "kind == b'face'",
        "[x for x in number]",
        "(lambda: 1)() == 1",
        "(number := 1) == 1",
        "number if kind else onset",
        "number is None",
        "kind == None",
        "'fa' in kind",
        "number in number",
        "number in [kind]",
        "1 == 1",
        "True",
        "number",
        "kind == 'face' and",
        "number = 1",
        "number == `number",
        "number == 1; number == 2",
        "number == 1\0",
        "number == 1j",
        "number == 1e999",
        "-number == 1",
        "",
        "(" * 500 + "number == 1" + ")" * 500,
        "not " * 100 + "number == 1",
        "1" + "+1" * 900 + " == number",
        "number == 1" + " " * LONGEST,
    ],
)
def test_nothing_else_is_understood(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is not understood") as caught:
        chosen_rows(expression, TABLE)
    assert "The columns are: number, kind, truth, reaction time" in str(caught.value)
    assert caught.value.status == 64
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("kid == 'face'", "Did you mean 'kind'?"),
        ("kind == face", "Texts stand in quotes"),
        ("kind == 1", "the text 'face' is compared with the number 1"),
        ("number == '1'", "the text '1' is compared with the number 1"),
        ("kind == True", "the text 'face' is neither True nor False"),
    ],
)
def test_what_does_not_fit_is_told(expression, words):
    with pytest.raises(UserError) as caught:
        chosen_rows(expression, TABLE)
    assert words in str(caught.value)
    assert "np." not in str(caught.value)

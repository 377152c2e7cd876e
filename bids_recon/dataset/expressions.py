"""Which rows of a table an expression chooses; an expression is never run as code.

The grammar: comparisons (``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``,
``not in``) of columns with numbers, texts, ``True``, ``False``, lists of these or other
columns, joined by ``and``, ``or`` and ``not``, or by ``&``, ``|`` and ``~`` as in
pandas. Names of columns that are no plain words stand in backticks.
"""

import ast
import operator
import re
import warnings

import numpy as np
import pandas as pd

from bids_recon.dataset.tables import numbers_where_all_are
from bids_recon.errors import Status, UserError, did_you_mean

LONGEST = 2000
DEEPEST = 30
ALLOWED = (
    "--trials takes comparisons of columns with numbers and 'texts', joined by and, or "
    "and not, such as: trial_type in ['face', 'house'] and duration > 2"
)
COMPARISONS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
# Texts as they are, columns in backticks, and pandas' signs for and, or and not.
TOKENS = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|`([^`]*)`|([&|~])""")
WORDS = {"&": " and ", "|": " or ", "~": " not "}


def chosen_rows(expression: str, table: pd.DataFrame) -> np.ndarray:
    """Tell which rows of a table satisfy an expression.

    A column whose values are all numbers is compared as numbers, any other as text.
    What is missing satisfies no comparison, not even ``!=``.

    Parameters
    ----------
    expression : str
        In the grammar of this module.
    table : DataFrame
        Columns of text or numbers; ``None`` and NaN are missing.

    Returns
    -------
    array of shape (n_rows,), bool

    Raises
    ------
    UserError
        If the expression is none of the grammar, names a column that is not there, or
        compares numbers with text.
    """
    return _Reader(expression, table).rows()


class _Reader:
    """Reads one expression on one table."""

    def __init__(self, expression: str, table: pd.DataFrame) -> None:
        self.expression, self.table = expression, table
        self.quoted: list[str] = []

    def rows(self) -> np.ndarray:
        if len(self.expression) > LONGEST:
            raise self._refused(f"it is longer than {LONGEST} letters")
        self.text = TOKENS.sub(self._token, self.expression).strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.text, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or "it is nested too deeply"
            raise self._refused(reason) from error
        return self._truth(tree.body, 0)

    def _refused(self, reason: str) -> UserError:
        return UserError(
            f"--trials {_short(self.expression)!r} is not understood: {reason}. "
            f"{ALLOWED}. The columns are: {', '.join(self.table.columns)}.",
            Status.USAGE,
        )

    def _token(self, match: re.Match[str]) -> str:
        text, column, sign = match.groups()
        if text is not None:
            return text
        if sign is not None:
            return WORDS[sign]
        self.quoted.append(column)
        return f"_backtick_{len(self.quoted) - 1}_"

    def _truth(self, node: ast.expr, depth: int) -> np.ndarray:
        """Return for each row whether a part of the expression holds."""
        if depth > DEEPEST:
            raise self._refused("it is nested too deeply")
        if isinstance(node, ast.BoolOp):
            parts = [self._truth(value, depth + 1) for value in node.values]
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return join.reduce(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._truth(node.operand, depth + 1)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides, node.ops, sides[1:], strict=False)
            return np.logical_and.reduce([self._compared(*pair) for pair in pairs])
        raise self._refused(
            f"{self._shown(node)} is no comparison, and nothing else is run",
        )

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> np.ndarray:
        if isinstance(op, ast.In | ast.NotIn):
            return self._contained(left, right, isinstance(op, ast.NotIn))
        if type(op) not in COMPARISONS:
            raise self._refused("is and is not do not compare columns")
        a, b = self._value(left), self._value(right)
        if not isinstance(a, pd.Series) and not isinstance(b, pd.Series):
            raise self._refused("a comparison without a column")
        return self._compare(a, COMPARISONS[type(op)], b)

    def _contained(self, left: ast.expr, right: ast.expr, outside: bool) -> np.ndarray:
        column = self._value(left)
        listed = isinstance(right, ast.List | ast.Tuple | ast.Set)
        if not (listed and isinstance(column, pd.Series)):
            raise self._refused("in stands between a column and a list in brackets")
        inside = np.zeros(len(self.table), dtype=bool)
        for entry in right.elts:
            value = self._value(entry)
            if isinstance(value, pd.Series):
                raise self._refused("a list holds numbers and texts only")
            inside |= self._compare(column, operator.eq, value)
        return ~inside & column.notna().to_numpy() if outside else inside

    def _compare(self, a: object, compare: object, b: object) -> np.ndarray:
        there = np.ones(len(self.table), dtype=bool)
        for side in (a, b):
            if isinstance(side, pd.Series):
                there &= side.notna().to_numpy()
        result = np.zeros(len(self.table), dtype=bool)
        if not there.any():
            return result
        a, b = (
            side.to_numpy()[there] if isinstance(side, pd.Series) else side
            for side in (a, b)
        )
        a, b = self._alike(a, b)
        result[there] = compare(a, b)
        return result

    def _alike(self, a: object, b: object) -> tuple[object, object]:
        """Return both sides of a comparison as numbers, or both as text."""
        if isinstance(b, bool):
            return self._of_truth(a), float(b)
        if isinstance(a, bool):
            return float(a), self._of_truth(b)
        if _is_text(a) != _is_text(b):
            text, number = (a, b) if _is_text(a) else (b, a)
            raise self._refused(
                f"the text {_example(text)!r} is compared with the number "
                f"{_example(number):g}; write numbers without quotes and texts in "
                "quotes, as the column has them",
            )
        return a, b

    def _of_truth(self, side: object) -> object:
        if not _is_text(side):
            return side
        words = np.char.lower(np.asarray(side, dtype=str))
        if not np.isin(words, ("true", "false")).all():
            raise self._refused(
                f"the text {_example(side)!r} is neither True nor False"
            )
        return (words == "true").astype(float)

    def _value(self, node: ast.expr) -> object:
        """Return a column, a number, a text or a truth value."""
        if isinstance(node, ast.Name):
            return self._column(node.id)
        minus = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        constant = node.operand if minus else node
        if isinstance(constant, ast.Constant):
            value = constant.value
            if isinstance(value, bool | str) and not minus:
                return value
            if isinstance(value, int | float) and abs(value) < 1e300:
                return -float(value) if minus else float(value)
        raise self._refused(f"{self._shown(node)} is no column, number, text or list")

    def _column(self, name: str) -> pd.Series:
        own = re.fullmatch(r"_backtick_(\d+)_", name)
        if own and int(own.group(1)) < len(self.quoted):
            name = self.quoted[int(own.group(1))]
        if name not in self.table:
            raise UserError(
                f"--trials {_short(self.expression)!r}: there is no column {name!r}. "
                f"{did_you_mean(name, self.table.columns)} The columns are: "
                f"{', '.join(self.table.columns)}. Texts stand in quotes; -t TASK "
                "leaves out tasks whose events have other columns.",
                Status.USAGE,
            )
        return numbers_where_all_are(self.table[name])

    def _shown(self, node: ast.expr) -> str:
        text = ast.get_source_segment(self.text, node) or ""
        return repr(_short(text))


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"


def _is_text(side: object) -> bool:
    return isinstance(_example(side), str)


def _example(side: object) -> object:
    return side[0] if isinstance(side, np.ndarray) else side

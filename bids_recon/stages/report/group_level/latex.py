"""The group's scores as a table for LaTeX."""

import pandas as pd

from bids_recon.evaluation.group import LEVEL
from bids_recon.reports.fragments import metric_words, number
from bids_recon.stages.report.group_level.tables import is_lower_better

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def escaped(text: str) -> str:
    r"""Return text in which LaTeX finds no command.

    >>> print(escaped("a_b & 5 %"))
    a\_b \& 5 \%
    """
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def latex(scores: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Return a tabular for each table of the scores.

    In each column and set of regions, the best mean is bold, and a star marks what
    cannot be told from it: where the interval of the paired difference holds 0.
    """
    return "\n\n".join(
        _tabular(str(name), part, differences[differences["table"] == name])
        for name, part in scores.groupby("table", sort=True)
    )


def _tabular(name: str, scores: pd.DataFrame, differences: pd.DataFrame) -> str:
    metrics = list(dict.fromkeys(scores["metric"]))
    arrows = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}
    heads = []
    for metric in metrics:
        words, better = metric_words(metric)
        heads.append(f"{escaped(words)} {arrows[better]}")
    lines = [
        f"% Table {name}: {scores['profile'].iloc[0]}. Means; in brackets, intervals "
        f"of {100 * LEVEL:.0f} percent. Bold: the best; *: cannot be told from it.",
        rf"\begin{{tabular}}{{ll{'r' * len(metrics)}}}",
        r"\hline",
        " & ".join(["Recipe", "Regions", *heads]) + r" \\",
        r"\hline",
    ]
    for roi, part in scores.groupby("roi", sort=True):
        best = {metric: _best(part, metric) for metric in metrics}
        for recipe in dict.fromkeys(part["recipe"]):
            cells = [
                _cell(part, differences, recipe, str(roi), metric, best[metric])
                for metric in metrics
            ]
            lines.append(
                " & ".join([escaped(recipe), escaped(str(roi)), *cells]) + r" \\"
            )
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _best(scores: pd.DataFrame, metric: str) -> str | None:
    rows = scores[scores["metric"] == metric]
    # Means over other participants do not tell which is the best.
    if len(rows) < 2 or rows["n_participants"].nunique() > 1:
        return None
    place = rows["mean"].idxmin() if is_lower_better(metric) else rows["mean"].idxmax()
    return str(rows.loc[place, "recipe"])


def _cell(
    scores: pd.DataFrame,
    differences: pd.DataFrame,
    recipe: str,
    roi: str,
    metric: str,
    best: str | None,
) -> str:
    rows = scores[(scores["recipe"] == recipe) & (scores["metric"] == metric)]
    if rows.empty:
        return "--"
    row = rows.iloc[0]
    value = number(row["mean"])
    if recipe == best:
        value = rf"\textbf{{{value}}}"
    elif best is not None and _alike(differences, recipe, best, roi, metric):
        value += "*"
    return f"{value} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def _alike(
    differences: pd.DataFrame, recipe: str, best: str, roi: str, metric: str
) -> bool:
    a, b = sorted((recipe, best))
    rows = differences[
        (differences["compared"] == "recipe")
        & (differences["a"] == a)
        & (differences["b"] == b)
        & (differences["within"] == roi)
        & (differences["metric"] == metric)
        & (differences["subject"] == "all")
    ]
    return bool((rows["better"] == "neither").any())

"""What the group's scores say, one sentence for each question."""

import pandas as pd

from bids_recon.evaluation.group import ALPHA, lowest_p_of_a_majority
from bids_recon.reports.fragments import headline, metric_words, number
from bids_recon.reports.verdict import Ahead, verdict
from bids_recon.stages.report.group_level.rows import UNKNOWN, Block
from bids_recon.stages.report.group_level.tables import is_lower_better


def answers(
    block: Block,
    scores: pd.DataFrame,
    differences: pd.DataFrame,
    ranks: pd.DataFrame,
) -> dict[str, list[str]]:
    """Return what one table says: question -> sentences."""
    metric = headline(block.metrics)
    own = scores[(scores["table"] == block.name) & (scores["metric"] == metric)]
    pairs = differences[
        (differences["table"] == block.name)
        & (differences["metric"] == metric)
        & (differences["subject"] == "all")
    ]
    order = ranks[(ranks["table"] == block.name) & (ranks["metric"] == metric)]
    best = own.sort_values("mean", ascending=is_lower_better(metric))
    # Other recipes are drawn below; so many sentences would not be read.
    regions = pairs[
        pairs["compared"].eq("roi") & pairs["within"].isin(best["recipe"][:1])
    ]
    return {
        "Which recipe is better, and how sure is that?": [
            _best(rows, pairs, order[order["roi"] == roi], roi)
            for roi in block.rois
            if len(rows := own[own["roi"] == roi])
        ],
        "Which regions are better?": [
            _region(row) for row in regions.to_dict("records")
        ],
        "In how many people?": _for_how_many(
            best.drop_duplicates("roi").sort_values("roi")
        ),
    }


def others_words(block: Block) -> list[str]:
    """Return what a reader must know of other tools, if there are any."""
    others = sorted({entry.recipe for entry in block.entries if entry.other_tool})
    return [
        f"{name}: scored by bids-recon-score on the same test images. What it was "
        "trained on, and on which preprocessing, is not known here."
        for name in others
    ]


def people(n: int) -> str:
    """Return a number of participants in words.

    >>> people(1), people(3)
    ('1 participant', '3 participants')
    """
    return "1 participant" if n == 1 else f"{n} participants"


def what_it_is(block: Block) -> str:
    """Say what the scores of a table share."""
    terms = block.terms
    return (
        f"Table {block.name}: {people(len(block.subjects))}, task {terms.task}, "
        f"split {terms.split}, "
        f"{len(block.entries[0].pictures)} test pictures, profile {terms.profile}, "
        f"preprocessing {terms.preprocessing}, bids-recon {terms.version}."
        + f" Pictures of the set {terms.set} alone." * (terms.set != "all")
        + f" Learned from {terms.share} of the training pictures."
        * (terms.share not in ("100 %", UNKNOWN))
        + (" Transductive: scaled by all test trials." * (terms.transductive == "yes"))
        + (" Test pictures were also learned on." * (terms.learned_on == "yes"))
    )


def _best(
    rows: pd.DataFrame, pairs: pd.DataFrame, order: pd.DataFrame, roi: str
) -> str:
    metric = rows["metric"].iloc[0]
    words, better = metric_words(metric)
    if len(order):
        # Ranks are those of participants who have all recipes, as differences are.
        rows = rows.set_index("recipe").loc[order.sort_values("rank")["recipe"]]
        rows = rows.reset_index()
    best = rows.iloc[0]
    score = (
        f"{words[0].lower()}{words[1:]} {number(best['mean'])} ({_interval(best)}; "
        f"chance {number(best['chance'])})"
    )
    own = pairs[pairs["compared"].eq("recipe") & pairs["within"].eq(roi)]
    others = []
    for pair in own.to_dict("records"):
        if best["recipe"] in (pair["a"], pair["b"]):
            row = _first_minus_second(pair, best["recipe"], better)
            name = pair["b"] if pair["a"] == best["recipe"] else pair["a"]
            others.append(Ahead(name, row["difference"], row["ci_low"], row["ci_high"]))
    said = verdict(roi, best["recipe"], score, others)
    chance = order.loc[order["recipe"] == best["recipe"], "p_best"]
    if len(chance):
        said += f" It comes first in {chance.iloc[0]:.0%} of resamplings."
    return said


def _first_minus_second(
    row: dict[str, object], best: str, better: str
) -> dict[str, object]:
    """Return a difference so that it is above 0 where the best has better scores."""
    sign = (1 if row["a"] == best else -1) * (1 if better == "higher" else -1)
    ends = sorted(sign * row[name] for name in ("ci_low", "ci_high"))
    return {
        **row,
        "difference": sign * row["difference"],
        "ci_low": ends[0],
        "ci_high": ends[1],
    }


def _interval(row: pd.Series | dict[str, object]) -> str:
    low, high = number(row["ci_low"]), number(row["ci_high"])
    if "n/a" in (low, high):
        return "no interval"
    return f"95 % interval {low} to {high}, over {row['over']}"


def _region(row: dict[str, object]) -> str:
    words = metric_words(str(row["metric"]))[0]
    found = (
        f"{row['a']} minus {row['b']} is {number(row['difference'])} in "
        f"{words[0].lower()}{words[1:]} ({_interval(row)})."
    )
    if row["better"] == "neither":
        said = f"{row['a']} and {row['b']} cannot be told apart"
    else:
        better, worse = ("a", "b") if row["better"] == "a" else ("b", "a")
        said = f"{row[better]} is better than {row[worse]}"
    return f"With {row['within']}, {said}: {found}"


def _over_people(row: dict[str, object]) -> str:
    if pd.isna(row["p_global"]):
        return ""
    said = " A test that nobody shows it gives "
    said += f"p = {row['p_global']:.2g} (minimum statistic)"
    if pd.isna(row["prevalence_bound"]):
        return f"{said}."
    return (
        f"{said}; with 95 % certainty, more than {row['prevalence_bound']:.0%} of "
        f"people show it (p = {row['p_majority']:.2g} for at most half)."
    )


def _for_how_many(scores: pd.DataFrame) -> list[str]:
    sentences = []
    for row in scores.to_dict("records"):
        if pd.isna(row["n_significant"]):
            continue
        n, k = int(row["n_participants"]), int(row["n_significant"])
        sentences.append(
            f"{row['recipe']} on {row['roi']} is above chance (p < {ALPHA}) in {k} of "
            f"{people(n)}; most likely {row['prevalence']:.0%} of people show "
            f"this (95 % interval {row['prevalence_low']:.0%} to "
            f"{row['prevalence_high']:.0%}, Bayesian prevalence)." + _over_people(row)
        )
    n = int(scores["n_participants"].max()) if len(scores) else 0
    if 0 < n < 5:
        sentences.append(
            f"That most people show it cannot be claimed from {people(n)} by a "
            f"test: no p-value can be below {lowest_p_of_a_majority(n):.3g}. Such a "
            "claim needs five."
        )
    return sentences

"""The group's tables: scores, paired differences, ranks."""

from itertools import combinations

import numpy as np
import pandas as pd

from bids_recon.evaluation.group import (
    ALPHA,
    Interval,
    bayesian_prevalence,
    interval,
    prevalence,
    ranks,
)
from bids_recon.reports.fragments import metric_words
from bids_recon.stages.report.group_level.rows import Block, Entry

SCORES = {
    "table": "Scores of one table may be compared; those of two may not.",
    "recipe": "The recipe.",
    "roi": "The set of regions.",
    "train_fraction": "Share of the training pictures that was learned on.",
    "n_training_pictures": "Training pictures, mean over folds and participants.",
    "profile": "The metric profile with its version.",
    "metric": "The metric.",
    "set": "The set of test pictures.",
    "better": "Whether higher or lower values are better.",
    "n_participants": "Participants.",
    "n_pictures": "Test pictures.",
    "mean": "Mean over participants and pictures.",
    "ci_low": "Lower end of the 95 % interval of the mean.",
    "ci_high": "Upper end of it.",
    "over": "What the interval was taken over.",
    "chance": "Mean of the participants' levels of chance.",
    "floor": "Mean score of the mean training picture.",
    "floor_retrieval": "Mean score of the nearest training picture.",
    "ceiling": "Mean score of what the generator makes of the true features.",
    "n_significant": "Participants with p < 0.05.",
    "p_global": "p of the hypothesis that nobody shows an effect: minimum statistic.",
    "p_majority": "p of the hypothesis that at most half of all people show it.",
    "prevalence_bound": "With 95 % certainty, more than this share of people shows it.",
    "prevalence": "Most likely share of people with an effect (Ince et al. 2021).",
    "prevalence_low": "Lower end of its 95 % interval of highest density.",
    "prevalence_high": "Upper end of it.",
}

DIFFERENCES = {
    "table": "As in the scores.",
    "compared": "What is compared: recipe or roi.",
    "a": "The one.",
    "b": "The other.",
    "within": "What both share: the set of regions, or the recipe.",
    "profile": "The metric profile with its version.",
    "metric": "The metric.",
    "subject": "The participant, or all for the group.",
    "n_participants": "Participants who have both.",
    "n_pictures": "Test pictures.",
    "difference": "Mean of a minus b, paired over pictures.",
    "ci_low": "Lower end of the 95 % interval of the difference.",
    "ci_high": "Upper end of it.",
    "over": "What the interval was taken over.",
    "better": "a or b, where the interval leaves 0 out; else neither.",
}

RANKS = {
    "table": "As in the scores.",
    "roi": "The set of regions.",
    "profile": "The metric profile with its version.",
    "metric": "The metric.",
    "recipe": "The recipe.",
    "rank": "Its rank by the mean.",
    "rank_low": "Lowest rank of 95 % of the draws.",
    "rank_high": "Highest rank of these.",
    "p_best": "Share of the draws in which it is first.",
    "n_participants": "Participants who have all recipes.",
    "n_pictures": "Test pictures.",
}


def is_lower_better(metric: str) -> bool:
    """Tell whether a lower value of a metric is better."""
    return metric_words(metric)[1] == "lower"


def score_table(blocks: list[Block]) -> pd.DataFrame:
    """Return the scores of each recipe, set of regions and metric, with ``SCORES``."""
    rows = []
    for block in blocks:
        for recipe in block.recipes:
            for roi in block.rois:
                rows += [
                    row
                    for metric in block.metrics
                    if (row := _score(block, recipe, roi, metric))
                ]
    return pd.DataFrame(rows, columns=list(SCORES))


def _score(
    block: Block, recipe: str, roi: str, metric: str
) -> dict[str, object] | None:
    subjects, scores = block.matrix(metric, (recipe, roi))
    if not scores.size:
        return None
    own = block.of(recipe, roi)
    summary = pd.DataFrame([own[name].summary.loc[metric] for name in subjects])
    tested = summary["p_value"].dropna()
    found = _interval_columns("mean", interval(scores[0]))
    row = {
        "table": block.name,
        "recipe": recipe,
        "roi": roi,
        "train_fraction": block.terms.percent / 100,
        "n_training_pictures": np.mean([own[n].n_training[0] for n in subjects]),
        "profile": block.terms.profile,
        "metric": metric,
        "set": block.terms.set,
        "better": metric_words(metric)[1],
        "n_participants": len(subjects),
        "n_pictures": scores.shape[2],
        **found,
        **{
            name: summary[name].astype(float).mean()
            for name in ("chance", "floor", "floor_retrieval", "ceiling")
        },
    }
    row |= _minimum_statistic([own[name] for name in subjects], metric)
    if len(tested):
        n_significant = int((tested < ALPHA).sum())
        shown = bayesian_prevalence(n_significant, len(tested))
        row |= {
            "n_significant": n_significant,
            "prevalence": shown.most_likely,
            "prevalence_low": shown.low,
            "prevalence_high": shown.high,
        }
    return row


def _minimum_statistic(entries: list[Entry], metric: str) -> dict[str, float]:
    """Return p-values over participants, where all kept as many null values."""
    null = [entry.null.get(metric, np.empty(0)) for entry in entries]
    if len({len(own) for own in null}) != 1 or not len(null[0]):
        return {}
    sign = -1 if is_lower_better(metric) else 1
    observed = [float(entry.summary.loc[metric, "value"]) for entry in entries]
    if not (np.isfinite(observed).all() and np.isfinite(null).all()):
        return {}
    found = prevalence(sign * np.array(observed), sign * np.array(null))
    return {
        "p_global": found.p_global,
        "p_majority": found.p_majority,
        "prevalence_bound": found.bound,
    }


def _interval_columns(name: str, found: Interval) -> dict[str, object]:
    return {
        name: found.mean,
        "ci_low": found.low,
        "ci_high": found.high,
        "over": found.over,
    }


def difference_table(blocks: list[Block]) -> pd.DataFrame:
    """Return paired differences of recipes and of regions, with ``DIFFERENCES``."""
    rows = []
    for block in blocks:
        pairs = [
            ("recipe", a, b, roi, ((a, roi), (b, roi)))
            for a, b in combinations(block.recipes, 2)
            for roi in block.rois
        ]
        pairs += [
            ("roi", a, b, recipe, ((recipe, a), (recipe, b)))
            for a, b in combinations(block.rois, 2)
            for recipe in block.recipes
        ]
        for kind, a, b, within, methods in pairs:
            for metric in block.metrics:
                subjects, scores = block.matrix(metric, *methods)
                if not scores.size:
                    continue
                common = {
                    "table": block.name,
                    "compared": kind,
                    "a": a,
                    "b": b,
                    "within": within,
                    "profile": block.terms.profile,
                    "metric": metric,
                    "n_pictures": scores.shape[2],
                }
                rows += _differences(common, subjects, scores[0] - scores[1])
    return pd.DataFrame(rows, columns=list(DIFFERENCES))


def _differences(
    common: dict[str, object], subjects: list[str], difference: np.ndarray
) -> list[dict[str, object]]:
    groups = {"all": difference}
    groups |= {name: difference[[row]] for row, name in enumerate(subjects)}
    rows = []
    for subject, own in groups.items():
        found = interval(own)
        rows.append(
            {
                **common,
                "subject": subject,
                "n_participants": len(own),
                **_interval_columns("difference", found),
                "better": _better(found, is_lower_better(str(common["metric"]))),
            }
        )
    return rows


def _better(found: Interval, lower_is_better: bool) -> str:
    if found.low > 0 or found.high < 0:
        return "b" if (found.mean > 0) == lower_is_better else "a"
    return "neither"


def rank_table(blocks: list[Block], seed: int) -> pd.DataFrame:
    """Return the ranks of recipes on each set of regions, with ``RANKS``."""
    rows = []
    for block in blocks:
        for roi in block.rois:
            recipes = [own for own in block.recipes if block.of(own, roi)]
            if len(recipes) < 2:
                continue
            for metric in block.metrics:
                methods = [(recipe, roi) for recipe in recipes]
                subjects, scores = block.matrix(metric, *methods)
                if not scores.size:
                    continue
                found = ranks(-scores if is_lower_better(metric) else scores, seed)
                rows += [
                    {
                        "table": block.name,
                        "roi": roi,
                        "profile": block.terms.profile,
                        "metric": metric,
                        "recipe": recipe,
                        "rank": int(found.rank[row]),
                        "rank_low": float(found.low[row]),
                        "rank_high": float(found.high[row]),
                        "p_best": float(found.best[row]),
                        "n_participants": len(subjects),
                        "n_pictures": scores.shape[2],
                    }
                    for row, recipe in enumerate(recipes)
                ]
    return pd.DataFrame(rows, columns=list(RANKS))

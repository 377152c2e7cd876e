"""Which set each picture belongs to, such as natural pictures, shapes or letters."""

import pandas as pd

from bids_recon.datatypes import Trials
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.evaluation.folds import Split
from bids_recon.evaluation.profiles import read_profile
from bids_recon.evaluation.splits import FILE
from bids_recon.plan.plan import Plan, sides_of
from bids_recon.recipe import Recipe

COLUMN = "column:"
"""How ``--picture-sets`` begins: a column of the events names the sets."""


def picture_sets(
    plan: Plan, recipe: Recipe, trials: Trials, split: Split
) -> dict[str, str]:
    """Return the set of each picture that belongs to one.

    That of ``--picture-sets``, or else its test set, where a profile of the recipe
    scores each set by itself and trials are split as a file or the dataset's
    publication has it, with several test sets; empty without either.

    Raises
    ------
    UserError
        If there is no such column, or a picture would be in two sets.
    """
    rule = plan.settings.picture_sets
    if rule is None:
        sides = sides_of(plan, trials) if _by_sides(recipe, split) else None
        if sides is None or len(sides.tests) < 2:
            return {}
        found = pd.Series(sides.values, index=trials.index).mask(sides.train)
        source = sides.source
    else:
        found, source = _column(rule, trials), f"--picture-sets {rule}"
    pairs = pd.DataFrame({"stimulus": trials["stimulus"], "set": found}).dropna()
    pairs = pairs.astype(str).drop_duplicates()
    twice = pairs["stimulus"].duplicated()
    if twice.any():
        name = pairs.loc[twice, "stimulus"].iloc[0]
        own = sorted(pairs.loc[pairs["stimulus"] == name, "set"])
        raise UserError(
            f"By {source}, the picture {name} is in the sets {' and '.join(own)}, and "
            "a picture belongs to one. Name a column of the events that says one set "
            "for each picture with --picture-sets column:NAME.",
            Status.USAGE,
        )
    return dict(zip(pairs["stimulus"], pairs["set"], strict=True))


def _by_sides(recipe: Recipe, split: Split) -> bool:
    """Tell whether sets are scored, and are those of the split."""
    # Where decoders are applied, all is test, and sets are those of the publication.
    of_sides = split.rule in ("paper", "model") or split.rule.startswith(FILE)
    return of_sides and any(read_profile(name).by_set for name in recipe.profiles)


def _column(rule: str, trials: Trials) -> pd.Series:
    column = rule.removeprefix(COLUMN)
    if not rule.startswith(COLUMN) or not column:
        raise UserError(
            f"--picture-sets {rule!r}: expected column:NAME, a column of the events "
            "that names the set of each picture, or session, task or run.",
            Status.USAGE,
        )
    if column not in trials:
        raise UserError(
            f"--picture-sets {rule!r}: the events have no column {column!r}. "
            f"{did_you_mean(column, trials.columns)}",
            Status.USAGE,
        )
    return trials[column]

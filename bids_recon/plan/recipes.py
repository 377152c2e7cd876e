"""The recipes that a run was asked for, on each share of the training pictures."""

import math
from dataclasses import replace

import numpy as np

from bids_recon.dataset.derivatives import check_distinct
from bids_recon.datatypes import Trials
from bids_recon.decoders import DECODERS
from bids_recon.errors import Status, UserError
from bids_recon.evaluation.folds import Split
from bids_recon.evaluation.splits import trains_on_all
from bids_recon.plan.methods import generator_class, whole_recipe
from bids_recon.plan.plan import Plan, split_trials
from bids_recon.recipe import Recipe
from bids_recon.recipe_file import with_test_repeats
from bids_recon.registry import load
from bids_recon.settings import Settings

LEAST = 2
"""Training pictures of most decoders: inside, one is held out at least."""


def read_recipes(settings: Settings) -> tuple[Recipe, ...]:
    """Read the recipes that were asked for.

    Raises
    ------
    UserError
        If there is no such recipe, something is wrong with it, or two of them, or two
        sets of regions, would write the same files.
    """
    recipes = tuple(whole_recipe(name) for name in settings.recipe)
    if settings.test_repeats:
        combined = settings.test_repeats == "combined"
        recipes = tuple(with_test_repeats(recipe, combined) for recipe in recipes)
    recipes = at_train_fractions(recipes, settings)
    check_distinct("recipes", [recipe.output_name for recipe in recipes])
    check_distinct("sets of --roi", [roi.name for roi in settings.roi_sets])
    return recipes


def at_train_fractions(
    recipes: tuple[Recipe, ...], settings: Settings
) -> tuple[Recipe, ...]:
    """Return a variant of every recipe for each share of the training pictures.

    The largest share comes first: what recipes have in common is made with it.

    Raises
    ------
    UserError
        If nothing is tested, and there is nothing to compare.
    """
    fractions = sorted(set(settings.train_fraction), reverse=True)
    if trains_on_all(settings.split) and fractions != [1.0]:
        raise UserError(
            "--train-fraction compares scores, and with --split all nothing is tested. "
            "Leave one of the two out.",
            Status.USAGE,
        )
    return tuple(replace(r, train_fraction=f) for f in fractions for r in recipes)


def check_training_pictures(
    plan: Plan, recipe: Recipe, trials: Trials, split: Split
) -> None:
    """Check that a share of the training pictures is enough for a recipe.

    Raises
    ------
    UserError
        If it is not; the smallest share that is stands there.
    """
    if recipe.train_fraction == 1:
        return
    least, n_kept = least_pictures(recipe), fewest_pictures(trials, split)
    if n_kept >= least:
        return
    whole = split_trials(plan, replace(recipe, train_fraction=1.0), plan.own_trials)
    n_pictures = fewest_pictures(*whole)
    share = min(1.0, math.ceil(100 * least / n_pictures) / 100)
    raise UserError(
        f"sub-{plan.subject}: --train-fraction {recipe.train_fraction:g} leaves "
        f"{n_kept} of {n_pictures} training pictures, and the recipe {recipe.name} "
        f"needs at least {least}. Take {share:g} or more.",
        Status.USAGE,
    )


def fewest_pictures(trials: Trials, split: Split) -> int:
    """Return how many training pictures the fold has that has the fewest."""
    names = trials["stimulus"].to_numpy(str)
    return min(len(np.unique(names[fold.train])) for fold in split.folds)


def least_pictures(recipe: Recipe) -> int:
    """Return how many training pictures a recipe needs.

    One more where decoders are also fitted without some of them, for what is learned
    from predictions of trials that they did not see.
    """
    steps = recipe.decode.values()
    decoders = [load(DECODERS, "decoder", step.decoder.name) for step in steps]
    held_out = hasattr(generator_class(recipe), "fit")
    held_out |= any(step.rescale is not None for step in steps)
    own = [getattr(made, "least_pictures", LEAST) for made in decoders]
    own.append(getattr(generator_class(recipe), "least_pictures", LEAST))
    return max(own) + held_out

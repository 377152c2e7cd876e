"""Recipes as files: read, extended and changed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_recon.documents import parse_yaml, read_yaml
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.recipe import DecodeStep, Recipe, ResponseSettings
from bids_recon.recipe_schema import Check, RecipeFile, unfolded
from bids_recon.schema import (
    checked,
    shown,
)

DEFAULT_PROFILE = "bids-recon"
"""Computed for every recipe, whatever else it asks for."""


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the program."""
    return sorted(
        entry.name.removesuffix(".yml")
        for entry in files("bids_recon").joinpath("recipes").iterdir()
        if entry.name.endswith(".yml")
    )


def read_recipe(name_or_path: str, check: Check | None = None) -> Recipe:
    """Read a recipe by its name, or from a file of the same form.

    A file that says ``extends: NAME`` holds only what differs from that recipe.

    Parameters
    ----------
    name_or_path : str
        The recipe.
    check : callable, optional
        Says what is wrong with a method: its kind and itself to findings.

    Raises
    ------
    UserError
        If there is no such recipe, or with all that is wrong with it.
    """
    data, where = _recipe_data(name_or_path, ())
    return _recipe(data, where, check)


def _recipe_data(
    name_or_path: str, before: tuple[Path, ...]
) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if name_or_path in recipe_names():
        resource = files("bids_recon").joinpath("recipes", f"{name_or_path}.yml")
        where = f"recipe {name_or_path}"
        data = parse_yaml(resource.read_text(encoding="utf-8"), where)
        if "extends" in data:
            data = _merge(_recipe_data(data.pop("extends"), before)[0], data)
        return data, where
    if path.suffix not in (".yml", ".yaml"):
        raise UserError(
            f"There is no recipe called {name_or_path!r}. "
            f"{did_you_mean(name_or_path, recipe_names())} "
            "A recipe of your own is given by the path of its .yml file.",
            Status.USAGE,
        )
    data = read_yaml(path, "recipe")
    if "extends" not in data:
        return data, str(path)
    before = (*before, path.resolve())
    base, where = _base(data.pop("extends"), path, before)
    if data.get("name") in (None, base["name"]):
        raise UserError(
            f"{path}: a recipe that extends {base['name']!r} needs a name of its "
            "own, because its outputs are named after it.",
            Status.USAGE,
        )
    return _merge(base, data), str(path)


def _base(
    name: Any, path: Path, before: tuple[Path, ...]
) -> tuple[dict[str, Any], str]:
    """Return the recipe that another one extends."""
    if not isinstance(name, str):
        raise UserError(
            f"{path}, extends: expected the name of a recipe or its file, found "
            f"{shown(name)}.",
            Status.USAGE,
        )
    if Path(name).resolve() in before:
        raise UserError(
            f"{path}, extends: the recipe extends itself, "
            f"{' > '.join(file.name for file in before)} > {Path(name).name}.",
            Status.USAGE,
        )
    try:
        base, where = _recipe_data(name, before)
    except UserError as error:
        if str(path) in error.message:
            raise
        text = f"{path}, extends: {error.message}"
        raise UserError(text, error.status) from error
    _recipe(base, where)
    return base, where


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        # Another method has settings of its own.
        other = both and "name" in value and value["name"] != before.get("name")
        merged[key] = _merge(before, value) if both and not other else value
    return merged


def _recipe(data: Mapping[str, Any], where: str, check: Check | None = None) -> Recipe:
    data = {**data}
    if "decode" in data:
        data["decode"] = unfolded(data["decode"], where)
    given = checked(RecipeFile, data, where, context=check)
    average = given.responses.average_repeats
    return Recipe(
        name=given.name,
        description=" ".join(given.description.split()),
        cite=given.cite,
        picture_size=given.pictures.max_size,
        responses=ResponseSettings(
            estimator=given.responses.estimator,
            confounds=given.responses.confounds,
            standardize=given.responses.standardize,
            average_train=average.train,
            average_test=average.test,
            standardize_again=average.standardize_again,
            immediate_repeats=given.responses.immediate_repeats,
        ),
        decode={
            name: DecodeStep(**dict(step))
            for name, step in given.decode.items()
            if step is not None
        },
        generate=given.generate,
        profiles=tuple(dict.fromkeys((DEFAULT_PROFILE, *given.evaluate.profiles))),
        recovery=given.evaluate.recovery,
        source=dict(data),
    )


def with_test_repeats(recipe: Recipe, combined: bool) -> Recipe:
    """Return a recipe that averages repeats of a test picture, or does not."""
    responses = dict(recipe.source.get("responses", {}))
    average = {**responses.get("average_repeats", {}), "test": combined}
    source = {
        **recipe.source,
        "responses": {**responses, "average_repeats": average},
    }
    return _changed(recipe, source)


def without_feeds(recipe: Recipe, needs: tuple[str, ...]) -> Recipe:
    """Return a recipe whose generator goes without some of its feeds."""
    generate = {**recipe.generate.as_data(), **dict.fromkeys(needs)}
    return _changed(recipe, {**recipe.source, "generate": generate})


def with_steps(recipe: Recipe, names: Iterable[str]) -> Recipe:
    """Return a recipe that decodes these feature spaces only."""
    kept = {n: s for n, s in recipe.source["decode"].items() if n in set(names)}
    return _changed(recipe, {**recipe.source, "decode": kept})


def _changed(recipe: Recipe, source: Mapping[str, Any]) -> Recipe:
    """Return a recipe that says something else, on as many training pictures."""
    changed = _recipe(source, f"recipe {recipe.name}")
    return replace(changed, train_fraction=recipe.train_fraction)

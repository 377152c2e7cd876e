"""The methods that a recipe names, made for the machine that a run has."""

from typing import Any

from bids_recon.datatypes import Decoder, FeatureSpace, Generator
from bids_recon.decoders import DECODERS
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.features import FEATURES
from bids_recon.generators import GENERATORS
from bids_recon.machine import MEM_MB, Machine
from bids_recon.recipe import DecodeStep, Recipe, with_steps, without_feeds
from bids_recon.registry import build, load
from bids_recon.settings import Settings
from bids_recon.weights import absent, find, stamp_of, weights_called


def machine_of(settings: Settings) -> Machine:
    """Return what a run may use."""
    return Machine(settings.device, settings.weights_dir, settings.mem_mb or MEM_MB)


def space_of(step: DecodeStep, machine: Machine) -> FeatureSpace:
    """Make the feature space of a step."""
    method = step.features
    return build(FEATURES, "feature space", method.name, method.options, machine)


def decoder_of(step: DecodeStep, machine: Machine) -> Decoder:
    """Make the decoder of a step."""
    method = step.decoder
    return build(DECODERS, "decoder", method.name, method.options, machine)


def generator_of(recipe: Recipe, machine: Machine) -> Generator:
    """Make the generator of a recipe."""
    method = recipe.generate
    return build(GENERATORS, "generator", method.name, method.options, machine)


def generator_class(recipe: Recipe) -> Any:
    """Return the class of a recipe's generator."""
    return load(GENERATORS, "generator", recipe.generate.name)


def feeds_of(recipe: Recipe) -> dict[str, str]:
    """Return which decoded feature space feeds each need of the generator."""
    made = generator_of(recipe, Machine())
    feeds = {need: getattr(made, need) for need in made.needs}
    return {need: name for need, name in feeds.items() if name is not None}


def checked_recipe(recipe: Recipe) -> Recipe:
    """Return a recipe that decodes what its generator needs, and nothing else.

    Raises
    ------
    UserError
        If a method does not exist, refuses its settings, or is fed from a feature space
        that is not decoded.
    """
    feeds = feeds_of(recipe)
    for need, name in feeds.items():
        if name not in recipe.decode:
            raise UserError(
                f"The recipe {recipe.name} feeds {need!r} of its generator "
                f"{recipe.generate.name!r} from {name!r}, which it does not decode. "
                f"{did_you_mean(name, recipe.decode)}",
                Status.USAGE,
            )
    recipe = with_steps(recipe, feeds.values())
    for step in recipe.decode.values():
        space_of(step, Machine())
        decoder_of(step, Machine())
    return recipe


def check_machine(recipes: tuple[Recipe, ...], settings: Settings) -> None:
    """Check that the device and all pretrained weights of some recipes are there.

    Raises
    ------
    UserError
        If the device is not there, or weights are not: names, sizes, licences and the
        command that fetches them.
    """
    names = {name for recipe in recipes for name in weights_of(recipe)}
    machine = machine_of(settings)
    if names or settings.device not in ("auto", "cpu"):
        _ = machine.torch_device
    missing = [
        weights
        for weights in map(weights_called, sorted(names))
        if find(weights, settings.weights_dir) is None
    ]
    if missing:
        raise UserError(absent(missing), Status.NO_INPUT)


def weights_of(recipe: Recipe) -> list[str]:
    """Return the names of the pretrained weights that a recipe needs."""
    methods = [space_of(step, Machine()) for step in recipe.decode.values()]
    methods.append(generator_of(recipe, Machine()))
    # Others have weights of another kind, such as those of patch sizes.
    return sorted({method.weights for method in methods if hasattr(method, "machine")})


def weights_stamps(recipe: Recipe, settings: Settings) -> dict[str, str]:
    """Return what tells the weights of a recipe from others of the same names."""
    found = {
        name: find(weights_called(name), settings.weights_dir)
        for name in weights_of(recipe)
    }
    return {name: stamp_of(path) for name, path in found.items() if path}


def uses_prior(step: DecodeStep) -> bool:
    """Tell whether a step's decoder wants to know pictures that were never shown."""
    decoder = load(DECODERS, "decoder", step.decoder.name)
    return getattr(decoder, "uses_prior", False)


def reads_captions(step: DecodeStep) -> bool:
    """Tell whether a step's features are of captions."""
    space = load(FEATURES, "feature space", step.features.name)
    return getattr(space, "reads", "pictures") == "captions"


def without_captions(recipe: Recipe) -> Recipe | None:
    """Return what is left of a recipe where there are no captions.

    Returns
    -------
    Recipe or None
        ``None`` where the recipe reads none.

    Raises
    ------
    UserError
        If its generator cannot go without.
    """
    read = [name for name, step in recipe.decode.items() if reads_captions(step)]
    if not read:
        return None
    needs = tuple(need for need, name in feeds_of(recipe).items() if name in read)
    try:
        return checked_recipe(without_feeds(recipe, needs))
    except UserError as error:
        raise UserError(
            f"The recipe {recipe.name} needs captions of the pictures, and there are "
            "none. Give them with --captions FILE.",
            Status.NO_INPUT,
        ) from error

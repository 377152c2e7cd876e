"""The methods that a recipe names, made for the machine that a run has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bids_recon.datatypes import Decoder, FeatureSpace, Generator
from bids_recon.decoders import DECODERS
from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.evaluation.profiles import profile_names
from bids_recon.features import FEATURES
from bids_recon.generators import GENERATORS
from bids_recon.machine import MEM_MB, Machine
from bids_recon.recipe import DecodeStep, Method, Recipe, steps_called
from bids_recon.recipe_file import read_recipe, with_steps, without_feeds
from bids_recon.registry import build, examine, load
from bids_recon.responses import ESTIMATORS
from bids_recon.rois import GRAPHS, SELECTIONS
from bids_recon.schema import Finding, refusal
from bids_recon.settings import Settings
from bids_recon.weights import absent, find, stamp_of, weights_called

KINDS = MappingProxyType(
    {
        "response estimator": ESTIMATORS,
        "feature space": FEATURES,
        "voxel selection": SELECTIONS,
        "graph": GRAPHS,
        "decoder": DECODERS,
        "generator": GENERATORS,
    }
)
"""The registry of each kind of method that a recipe names."""


def problems_of(kind: str, method: Method) -> Sequence[Finding]:
    """Return what is wrong with a method of a recipe and its options."""
    return examine(KINDS[kind], kind, method.name, method.options)[1]


def whole_recipe(name_or_path: str) -> Recipe:
    """Read a recipe, and check all of it before anything runs.

    Raises
    ------
    UserError
        With all that is wrong with the recipe and its methods.
    """
    recipe = read_recipe(name_or_path, problems_of)
    return checked_recipe(recipe, name_or_path)


def machine_of(settings: Settings) -> Machine:
    """Return what a run may use."""
    return Machine(
        settings.device,
        settings.weights_dir,
        settings.mem_mb or MEM_MB,
        memory=settings.work / "weights.json",
    )


def space_of(step: DecodeStep, machine: Machine) -> FeatureSpace:
    """Make the feature space of a step."""
    method = step.features
    return build(FEATURES, "feature space", method.name, method.options, machine)


def decoder_of(step: DecodeStep, machine: Machine) -> Decoder:
    """Make the decoder of a step."""
    method = step.decoder
    return build(DECODERS, "decoder", method.name, method.options, machine)


def graph_of(step: DecodeStep) -> Any:
    """Return how a step's graph is made; ``None`` where its decoder reads none."""
    decoder = load(DECODERS, "decoder", step.decoder.name)
    if not getattr(decoder, "uses_graph", False):
        return None
    method = step.graph or Method("nearest")
    return build(GRAPHS, "graph", method.name, method.options)


def generator_of(recipe: Recipe, machine: Machine) -> Generator:
    """Make the generator of a recipe."""
    method = recipe.generate
    return build(GENERATORS, "generator", method.name, method.options, machine)


def generator_class(recipe: Recipe) -> Any:
    """Return the class of a recipe's generator."""
    return load(GENERATORS, "generator", recipe.generate.name)


def feeds_of(recipe: Recipe) -> dict[str, str]:
    """Return which decoded feature space feeds each need of the generator.

    A need that takes several has an entry for each, ``need/name``.
    """
    made, feeds = generator_of(recipe, Machine()), {}
    for need in made.needs:
        fed = getattr(made, need)
        if need in getattr(made, "several", ()):
            names = (fed,) if isinstance(fed, str) else fed
            every = [steps_called(name, recipe.decode) or (name,) for name in names]
            feeds |= {f"{need}/{name}": name for part in every for name in part}
        elif fed is not None:
            feeds[need] = fed
    return feeds


def checked_recipe(recipe: Recipe, where: str | None = None) -> Recipe:
    """Return a recipe that decodes what its generator needs, and nothing else.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    where : str, optional
        Its file, for messages; its name without one.

    Raises
    ------
    UserError
        If the generator refuses its settings or cannot use what it is fed from, or
        there is no profile of a name.
    """
    feeds = feeds_of(recipe)
    findings = [
        *(
            Finding(
                ("evaluate", "profiles"), _unknown("profile", name, profile_names())
            )
            for name in recipe.profiles
            if name not in profile_names()
        ),
        *_misfed(recipe, feeds),
        *_misplaced(recipe),
        *_uncentred(recipe),
    ]
    if findings:
        raise refusal(findings, where or f"recipe {recipe.name}")
    return with_steps(recipe, feeds.values())


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {kind} {name!r}. {did_you_mean(name, known)}"


def _misfed(recipe: Recipe, feeds: Mapping[str, str]) -> Iterator[Finding]:
    """Find what a generator is fed from and cannot use."""
    generator = generator_class(recipe)
    for key, name in feeds.items():
        need = key.split("/")[0]
        if name not in recipe.decode:
            yield Finding(
                ("generate", need),
                f"the recipe feeds its generator from {name!r}, which it does not "
                f"decode. {did_you_mean(name, recipe.decode)}",
            )
            continue
        space = space_class(recipe.decode[name].features)
        method = getattr(generator, "calls", {}).get(need)
        if method and not hasattr(space, method):
            what = {
                "decode": "way back to pictures",
                "spread": "patches",
                "units_of": "layer of an encoder",
            }[method]
            yield Finding(("generate", need), f"{name!r} has no {what}")
        if need in getattr(generator, "of_captions", ()) and not of_captions(space):
            yield Finding(("generate", need), f"{name!r} are no features of captions")


def _uncentred(recipe: Recipe) -> Iterator[Finding]:
    """Find what would be rescaled about a mean that its decoder does not predict."""
    for name, step in recipe.decode.items():
        if step.rescale == "train" and step.decoder.options.get("intercept") is False:
            yield Finding(
                ("decode", name, "rescale"),
                "train takes predictions to lie about the mean of the training "
                "features, and those of a decoder with intercept: false lie about "
                "nought; leave one of the two out",
            )


def _misplaced(recipe: Recipe) -> Iterator[Finding]:
    """Find features, such beside others, and graphs that a decoder cannot use."""
    for name, step in recipe.decode.items():
        path = ("decode", name, "beside")
        decoder = load(DECODERS, "decoder", step.decoder.name)
        if step.beside and not getattr(decoder, "reads_beside", False):
            yield Finding(path, f"the decoder {step.decoder.name!r} reads none")
        for method in step.beside:
            if of_captions(space_class(method)):
                yield Finding(path, f"{method.name!r} are features of captions")
        if getattr(decoder, "draws", False) and step.features.name != "pixels":
            yield Finding(
                ("decode", name, "features"),
                f"the decoder {step.decoder.name!r} draws pictures; give it pixels",
            )
        if step.graph and graph_of(step) is None:
            yield Finding(
                ("decode", name, "graph"),
                f"the decoder {step.decoder.name!r} reads no graph",
            )


def check_machine(recipes: tuple[Recipe, ...], settings: Settings) -> None:
    """Check that the device and all pretrained weights of some recipes are there.

    Raises
    ------
    UserError
        If the device is not there, or weights are not: names, sizes, licences and the
        command that fetches them.
    """
    learns = settings.model_from is None
    names = {name for recipe in recipes for name in weights_of(recipe, learns)}
    machine = machine_of(settings)
    elsewhere = settings.cluster or settings.array_script
    if (names or settings.device not in ("auto", "cpu")) and not elsewhere:
        _ = machine.torch_device
    missing = [
        weights
        for weights in map(weights_called, sorted(names))
        if find(weights, settings.weights_dir) is None
    ]
    if missing:
        raise UserError(absent(missing), Status.NO_INPUT)
    steps = [step for recipe in recipes for step in recipe.decode.values()]
    spaces = [space_of(step, machine) for step in steps]
    groups: dict[object, list[Any]] = {}
    for space in spaces:
        if hasattr(space, "shared"):
            groups.setdefault(space.shared, []).append(space)
    for group in groups.values():
        group[0].check(group)
    if not learns:
        return
    # Shares of the training pictures have the same decoders.
    decoders = [decoder_of(step, machine) for step in steps]
    for decoder in {repr(own): own for own in decoders}.values():
        if hasattr(decoder, "check"):
            decoder.check()


def weights_of(recipe: Recipe, learns: bool = True) -> list[str]:
    """Return the names of the pretrained weights that a recipe needs.

    Those of a network that decoders learn by are not needed where nothing is learned.
    """
    methods = [space_of(step, Machine()) for step in recipe.decode.values()]
    methods.append(generator_of(recipe, Machine()))
    if learns:
        methods += [decoder_of(step, Machine()) for step in recipe.decode.values()]
    # Others have weights of another kind, such as those of patch sizes.
    names = {
        getattr(method, "weights", None)
        for method in methods
        if hasattr(method, "machine")
    }
    return sorted(names - {None})


def weights_stamps(names: Iterable[str], settings: Settings) -> dict[str, str]:
    """Return what tells weights that are here from others of the same names."""
    found = {name: find(weights_called(name), settings.weights_dir) for name in names}
    memory = machine_of(settings).memory
    return {name: stamp_of(path, memory) for name, path in found.items() if path}


def mapped_by(step: DecodeStep) -> tuple[str, ...]:
    """Return which maps of voxels a step's decoder makes."""
    return getattr(load(DECODERS, "decoder", step.decoder.name), "mapped", ())


def trains_network(step: DecodeStep) -> bool:
    """Tell whether a step's decoder is a network, which takes its time."""
    return hasattr(load(DECODERS, "decoder", step.decoder.name), "keep")


def uses_prior(step: DecodeStep) -> bool:
    """Tell whether a step's decoder wants to know pictures that were never shown."""
    decoder = load(DECODERS, "decoder", step.decoder.name)
    return getattr(decoder, "uses_prior", False)


def space_class(method: Method) -> Any:
    """Return the class of a feature space."""
    return load(FEATURES, "feature space", method.name)


def of_captions(space: Any) -> bool:
    """Tell whether the features of a class are of captions, not of pictures."""
    return getattr(space, "reads", "pictures") == "captions"


def reads_captions(step: DecodeStep) -> bool:
    """Tell whether a step's features are of captions."""
    return of_captions(space_class(step.features))


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

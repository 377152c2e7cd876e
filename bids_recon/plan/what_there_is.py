"""What a run could be asked for: recipes, and the regions of a dataset."""

from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

from bids_recon.dataset.layout import Dataset
from bids_recon.dataset.region_files import find_roi_files
from bids_recon.dataset.segmentations import read_labels
from bids_recon.plan.methods import checked_recipe, weights_of
from bids_recon.recipe_file import read_recipe, recipe_names
from bids_recon.settings import DEFAULT_RECIPE, Settings
from bids_recon.weights import weights_called


def what_there_is(given: Mapping[str, Any]) -> str:
    """Return what a run could be asked for, by the options of the command line."""
    both = "list" in given
    parts = []
    if both or given.get("recipe") == []:
        parts.append(recipes_there_are())
    if given.get("bids_dir") and (both or given.get("roi") == []):
        names = ("participant_label", "derivatives", "bids_filter_file")
        own = {name: given[name] for name in names if name in given}
        own |= {"skip_bids_validation": True, "level": "participant"}
        bids_dir = given["bids_dir"]
        parts.append(regions_there_are(Dataset(Settings(bids_dir, bids_dir, **own))))
    elif both or given.get("roi") == []:
        parts.append("Regions are those of a dataset: bids-recon BIDS_DIR --list")
    return "\n\n".join(parts) + "\n"


def recipes_there_are() -> str:
    """Return the recipes that come with the program, and the weights they need."""
    lines = ["Recipes (--recipe NAME, or a YAML file of your own):"]
    for name in recipe_names():
        recipe = checked_recipe(read_recipe(name))
        needs = [weights_called(weights).described for weights in weights_of(recipe)]
        default = " (the default)" if name == DEFAULT_RECIPE else ""
        sentence = recipe.description.split(". ")[0].rstrip(".") + "."
        if needs:
            sentence += f" Needs {', '.join(needs)}."
        lines += [f"  {name}{default}", _indented(sentence)]
    return "\n".join(lines)


def regions_there_are(dataset: Dataset) -> str:
    """Return the regions of every participant that was asked for."""
    lines = ["Regions (--roi LABEL, --roi NAME=LABEL+LABEL, or NAME=ATLAS:REGION):"]
    for subject in dataset.participants():
        lines.append(f"  sub-{subject}")
        found = dict(_sources(dataset, subject))
        if not found:
            lines.append(_indented("No masks with a label, and no segmentations."))
        lines += [_indented(f"{kind}: {', '.join(own)}") for kind, own in found.items()]
    return "\n".join(lines)


def _sources(dataset: Dataset, subject: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what regions are in, and their labels."""
    files = find_roi_files(dataset, subject)
    for kind, probability in (("masks", False), ("probabilities", True)):
        own = [file for file in files if file.probability == probability]
        labels = sorted({file.label for file in own if file.label})
        if labels:
            yield kind, labels
    for file in files:
        if file.table is not None:
            yield file.path.name, list(read_labels(file.table))


def _indented(text: str) -> str:
    indent = "      "
    return fill(
        text,
        80,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )

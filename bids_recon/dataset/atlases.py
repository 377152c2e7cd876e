"""Atlases that TemplateFlow keeps, by name; read where they are, never fetched."""

from pathlib import Path

from bids_recon.dataset.layout import RoiFile
from bids_recon.errors import Status, UserError


def find_atlas(name: str, space: str) -> RoiFile:
    """Find an atlas in the space of the BOLD.

    Parameters
    ----------
    name : str
        The atlas, with its description after a dot where there are several:
        ``Schaefer2018.400Parcels7Networks``.
    space : str
        The template that the BOLD is in.

    Raises
    ------
    UserError
        If TemplateFlow does not have it for this space, or it was not fetched yet.
    """
    from templateflow import api

    atlas, _, desc = name.partition(".")
    query = {"atlas": atlas, "suffix": "dseg", **({"desc": desc} if desc else {})}
    if space not in api.templates():
        raise UserError(
            f"The atlas {name} cannot be used: the BOLD is in space {space}, which is "
            "no template. Read it in a template's space, for instance with --space "
            "MNI152NLin2009cAsym.",
            Status.USAGE,
        )
    images = _listed(api.ls(space, extension=".nii.gz", **query))
    tables = _listed(api.ls(space, extension=".tsv", **query))
    if not images or not tables:
        raise UserError(
            f"TemplateFlow has no atlas {name!r} with a table in {space}. Where an "
            "atlas has several versions, name one: "
            "Schaefer2018.400Parcels7Networks:REGION.",
            Status.NO_INPUT,
        )
    image, table = images[0], tables[0]
    if not image.stat().st_size or not table.stat().st_size:
        arguments = ", ".join(f"{key}={value!r}" for key, value in query.items())
        raise UserError(
            f"The atlas {name} was not fetched yet ({image}). bids-recon uses no "
            'network by itself; fetch it with: python -c "from templateflow import '
            f'api; api.get({space!r}, {arguments})"',
            Status.NO_INPUT,
        )
    return RoiFile(image, None, table, space)


def _listed(found: Path | list[Path]) -> list[Path]:
    paths = found if isinstance(found, list) else [found]
    return sorted(Path(path) for path in paths)

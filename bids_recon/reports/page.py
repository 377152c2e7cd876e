"""Put a page together from figures that lie ready, with nireports."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any


def write_page(
    output_dir: Path, figures: Path, page: str, kind: str, **filters: str
) -> None:
    """Write one HTML page.

    Parameters
    ----------
    output_dir : Path
        Where the page goes; it links to figures by paths relative to this.
    figures : Path
        The folder named ``figures`` in which its parts are.
    page : str
        The name of the page's file.
    kind : {'participant', 'group'}
        The YAML list to follow.
    **filters : str
        BIDS entities that all parts share.
    """
    from nireports.assembler.report import Report

    class Page(Report):
        """A report that looks for no more than what is there."""

        def index(self, config: dict[str, Any]) -> None:
            found = [_entities(path) for path in figures.iterdir()]
            sections = [_of_files(section, found) for section in config["sections"]]
            super().index({**config, "sections": sections})

    package = files("bids_recon.reports")
    with (
        as_file(package.joinpath(f"{kind}.yml")) as bootstrap,
        as_file(package.joinpath("report.tpl")) as template,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        report = Page(
            output_dir,
            None,
            bootstrap_file=bootstrap,
            out_filename=page,
            reportlets_dir=figures,
            metadata={"template": str(template)},
            **filters,
        )
        report.generate_report()


def _entities(path: Path) -> dict[str, str]:
    """Return the entities in the name of a figure, its suffix among them."""
    *pieces, suffix = path.stem.split("_")
    parts = [piece.partition("-") for piece in pieces]
    return {"suffix": suffix, **{name: value for name, _, value in parts}}


def _of_files(
    section: dict[str, Any], found: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """Return a section with an entry for each part that is there, in its order.

    Nireports itself asks its index for every entry with every value of ``ordering``.
    """
    names = [name for name in section.get("ordering", "").split(",") if name]
    # The datatype is that of the folder.
    wanted = [
        {key: value for key, value in entry["bids"].items() if key != "datatype"}
        for entry in section["reportlets"]
    ]
    there: dict[tuple[str, ...], set[int]] = {}
    for entities in found:
        values = tuple(entities.get(name, "") for name in names)
        fitting = [
            i for i, bids in enumerate(wanted) if bids.items() <= entities.items()
        ]
        there.setdefault(values, set()).update(fitting)
    reportlets = []
    for values in sorted(there):
        order = {k: v for k, v in zip(names, values, strict=True) if v}
        for index in sorted(there[values]):
            entry = section["reportlets"][index]
            reportlets.append({**entry, "bids": {**entry["bids"], **order}})
    rest = {key: value for key, value in section.items() if key != "ordering"}
    return {**rest, "reportlets": reportlets}

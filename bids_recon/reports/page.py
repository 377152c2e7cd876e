"""Put a page together from figures that lie ready, with nireports."""

import warnings
from importlib.resources import as_file, files
from pathlib import Path


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

    package = files("bids_recon.reports")
    with (
        as_file(package.joinpath(f"{kind}.yml")) as bootstrap,
        as_file(package.joinpath("report.tpl")) as template,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        report = Report(
            output_dir,
            None,
            bootstrap_file=bootstrap,
            out_filename=page,
            reportlets_dir=figures,
            metadata={"template": str(template)},
            **filters,
        )
        report.generate_report()

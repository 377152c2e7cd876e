"""The group level: all participants of an output directory in tables and one page."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bids_recon.dataset.checksums import checksums
from bids_recon.dataset.leftovers import remove_listed
from bids_recon.dataset.sidecar import Record, Sidecar
from bids_recon.dataset.tables import table_text
from bids_recon.errors import Status, UserError
from bids_recon.files import write_json, write_text, write_whole
from bids_recon.reports.page import write_page
from bids_recon.settings import Settings
from bids_recon.stages.report.group_level.latex import latex
from bids_recon.stages.report.group_level.parts import page_parts
from bids_recon.stages.report.group_level.reading import Reading, read_participants
from bids_recon.stages.report.group_level.rows import Block, comparable
from bids_recon.stages.report.group_level.tables import (
    DIFFERENCES,
    RANKS,
    SCORES,
    difference_table,
    rank_table,
    score_table,
)

KINDS = {
    "group_scores": (score_table, SCORES),
    "group_differences": (difference_table, DIFFERENCES),
}


def group_stage(settings: Settings) -> Path:
    """Compare all participants, and write the group's tables and page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UserError
        If no participant has scores.
    """
    output_dir = settings.output_dir
    wanted = [label.removeprefix("sub-") for label in settings.participant_label]
    reading = read_participants(output_dir, wanted)
    if not reading.entries:
        why = next(iter(reading.problems.values()), None)
        raise UserError(
            why
            or f"{output_dir}: no participant has scores. Run the participant level "
            "first: bids-recon BIDS_DIR OUTPUT_DIR participant",
            Status.NO_INPUT,
        )
    blocks = comparable(reading.entries)
    tables = {name: make(blocks) for name, (make, _) in KINDS.items()}
    tables["group_ranks"] = rank_table(blocks, settings.seed)
    columns = {name: words for name, (_, words) in KINDS.items()}
    columns["group_ranks"] = RANKS
    for name, table in tables.items():
        write_text(output_dir / f"{name}.tsv", table_text(table))
        write_json(output_dir / f"{name}.json", _dictionary(columns[name], blocks))
    text = latex(tables["group_scores"], tables["group_differences"])
    write_text(output_dir / "group_scores.tex", text)
    for suffix in ("metrics", "recon"):
        text = table_text(reading.collected(suffix))
        write_text(output_dir / f"group_{suffix}.tsv", text)
    return _write_page(settings, wanted, blocks, tables, reading)


def _write_page(
    settings: Settings,
    wanted: list[str],
    blocks: list[Block],
    tables: Mapping[str, pd.DataFrame],
    reading: Reading,
) -> Path:
    output_dir = settings.output_dir
    folder, page = output_dir / "figures", output_dir / "group.html"
    parts = page_parts(settings, folder, blocks, tables, reading)
    for path, write in parts.items():
        write_whole(path, write)
    outputs = {"page": page, **{path.name: path for path in parts}}
    sidecar = Sidecar(folder / "group_report.json", outputs)
    remove_listed(folder, sidecar.listed, parts)
    write_whole(page, lambda part: write_page(output_dir, folder, part.name, "group"))
    sources = [output_dir / f"{name}.tsv" for name in tables]
    record = Record(
        "group", {"participants": wanted}, checksums(sources), settings.seed
    )
    sidecar.write(record, {"Description": f"Figures of {page.name}."}, [])
    return page


def _dictionary(columns: Mapping[str, str], blocks: list[Block]) -> dict[str, object]:
    """Return the JSON of a table: its columns, and what each table's scores share."""
    described = {name: {"Description": words} for name, words in columns.items()}
    described["table"]["Levels"] = {
        block.name: ", ".join(
            f"{key} {value}" for key, value in vars(block.terms).items()
        )
        for block in blocks
    }
    return described

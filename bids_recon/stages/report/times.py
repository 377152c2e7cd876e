"""How long the jobs of a participant took, which no two runs share.

The page is the same whenever it is made; how long it took is not. So times stand in
files of their own below ``logs/``, and the page shows one of them.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from bids_recon.dataset.tables import read_table, table_text
from bids_recon.engine import Outcome
from bids_recon.errors import UserError
from bids_recon.files import write_text
from bids_recon.plan.plan import Plan

STYLE = "body{margin:0;font:16px/1.5 system-ui,Arial,sans-serif;color:#1b1f24}"


def times_path(plan: Plan, extension: str) -> Path:
    """Return where the times of a participant are kept."""
    return plan.settings.output_dir / "logs" / f"sub-{plan.subject}_times{extension}"


def note_times(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Write how long each job took when it last ran, and all of them in a sentence."""
    path = times_path(plan, ".tsv")
    seconds = _before(path)
    seconds |= {own.job: own.seconds for own in outcomes if own.state == "done"}
    if not seconds:
        return
    table = pd.DataFrame({"job": seconds.keys(), "seconds": seconds.values()})
    table["seconds"] = table["seconds"].round(1)
    write_text(path, table_text(table))
    text = (
        f"{in_words(sum(seconds.values()))} in {len(seconds)} jobs, added up; the "
        f"longest: {_longest(plan, seconds)}."
    )
    write_text(
        times_path(plan, ".html"),
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Time</title>'
        f"<style>{STYLE}</style><body>{escape(text)}</body></html>\n",
    )


def _before(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        table = read_table(path, required=("job", "seconds"), numeric=("seconds",))
    except UserError:
        # Times that cannot be read are lost, and nothing depends on them.
        return {}
    return dict(zip(table["job"], table["seconds"], strict=True))


def _longest(plan: Plan, seconds: dict[str, float]) -> str:
    job = max(seconds, key=seconds.__getitem__)
    return f"{job.removeprefix(f'sub-{plan.subject} ')}, {in_words(seconds[job])}"


def in_words(seconds: float) -> str:
    """Return a duration for a reader.

    >>> in_words(7.2), in_words(75), in_words(7320)
    ('7 s', '1 min 15 s', '2 h 2 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

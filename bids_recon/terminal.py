"""What a run says on the terminal: lines, and a bar where the terminal is one."""

import logging
import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from bids_recon.command import BEFORE_END
from bids_recon.engine import Job, Outcome

logger = logging.getLogger("bids_recon")

WIDE = 80
"""Columns from which lines begin with the time and the level."""

CURSOR = "\x1b[?25h"
"""Shows the cursor again, which a bar hides."""


def shows_bars() -> bool:
    """Tell whether stderr is a terminal that can redraw a line.

    A notebook gives its commands a terminal that cannot.
    """
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return sys.stderr.isatty() and not dumb and "JPY_PARENT_PID" not in os.environ


def show_log(verbose: int) -> None:
    """Have what is logged shown on stderr, as the terminal allows."""
    # After the sentence that a signal ends the program with, nothing is said.
    BEFORE_END.append(logging.disable)
    root = logging.getLogger()
    root.handlers = [_bar_handler() if shows_bars() else _PlainHandler()]
    root.setLevel(logging.INFO if verbose else logging.ERROR)
    logger.setLevel(logging.INFO)
    # It tells everybody where its own files are.
    logging.getLogger("bidsschematools").setLevel(logging.WARNING)


class _PlainHandler(logging.StreamHandler):
    """Plain lines, without control characters."""

    def __init__(self) -> None:
        super().__init__()
        form = "%(asctime)s %(levelname)-7s %(message)s"
        self.setFormatter(logging.Formatter(form, "%H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """End where nobody reads any more; say what else went wrong."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise
        super().handleError(record)


def _bar_handler() -> RichHandler:
    console = Console(stderr=True, highlight=False)
    wide = console.width >= WIDE
    return RichHandler(
        console=console,
        show_path=False,
        show_time=wide,
        show_level=wide,
        markup=False,
        highlighter=None,
        keywords=[],
        log_time_format="%H:%M:%S",
    )


class _TimeLeft(TimeRemainingColumn):
    """The time left, or nothing while too little is done to tell."""

    def render(self, task: object) -> Text:
        """Return ``0:12:34 left``."""
        left = super().render(task)
        return Text() if "-" in left.plain else Text(f"{left.plain} left", left.style)


class RunProgress:
    """Shows how far the jobs of a run are: a line for each, below them a bar.

    Parameters
    ----------
    jobs : list of Job
        All of the run.
    """

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._running: list[str] = []
        self._told: set[tuple[str, str]] = set()
        self._bar = None
        handlers = logging.getLogger().handlers
        handler = next((h for h in handlers if isinstance(h, RichHandler)), None)
        if handler is not None:
            columns = [
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:3.0f} %"),
                _TimeLeft(compact=True, elapsed_when_finished=False),
            ]
            if handler.console.width >= WIDE:
                columns.append(TextColumn("{task.description}", markup=False))
            self._bar = Progress(
                *columns,
                console=handler.console,
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task("", total=sum(job.seconds for job in jobs))

    def __enter__(self) -> Self:
        if self._bar:
            BEFORE_END.append(_show_cursor)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def begun(self, job: Job) -> None:
        """Show that a job is at work."""
        self._running.append(job.name)
        self._show(0.0)

    def ended(self, outcome: Outcome) -> None:
        """Say what came of a job; the same note of several runs only once."""
        self._running.remove(outcome.job)
        if outcome.state == "done":
            why = f" (again: {outcome.reason})" if outcome.reason else ""
            logger.info("%s: done in %.1f s%s", outcome.job, outcome.seconds, why)
        elif outcome.state == "up to date":
            logger.info("%s: up to date, skipped", outcome.job)
        elif outcome.state == "not run":
            logger.warning("%s: not run %s", outcome.job, outcome.reason)
        else:
            logger.error("%s: failed: %s", outcome.job, outcome.reason)
        job = self._jobs[outcome.job]
        # What holds for one run mostly holds for all of a participant.
        whose = job.name.split()[0] if job.stage == "responses" else job.name
        for note in outcome.warnings:
            if (whose, note) not in self._told:
                self._told.add((whose, note))
                logger.warning("%s: %s", whose, note)
        self._show(job.seconds)

    def _show(self, advance: float) -> None:
        if self._bar:
            short = [name.removeprefix("sub-") for name in self._running]
            self._bar.update(
                self._task, advance=advance, description=", ".join(short[:2])[:40]
            )


def _show_cursor() -> None:
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"\r\x1b[2K{CURSOR}".encode())

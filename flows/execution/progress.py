"""Progress of long work: a bar in the terminal, and a progress artifact in the Prefect UI."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

log = logging.getLogger("synthset.progress")

# A shorter stage needs no bar of its own, and in a log no lines.
LONG_S = 5.0
LINE_S = 60.0
COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("{task.fields[doing]}", markup=False),
)


def log_progress() -> None:
    """Let the loggers of synthset through: Prefect 3.8 gives extra loggers a handler, but leaves
    them the level of the root logger, WARNING."""
    logging.getLogger("synthset").setLevel(logging.INFO)


def show_notes(notes: Iterable[str]) -> None:
    """Print notes to the terminal, a line each, and log them for the UI."""
    console = Console(stderr=True, highlight=False)
    for note in notes:
        log.warning("%s", note)
        console.print(f"note: {note}", markup=False, soft_wrap=True)


class Advance(Protocol):
    """Report that one more step is done."""

    def __call__(self, doing: str) -> None: ...


class SetProgress(Protocol):
    """Report how many of how many steps are done."""

    def __call__(self, done: int, total: int, doing: str = "") -> None: ...


@contextmanager
def show_progress(title: str, total: int) -> Iterator[Advance]:
    """Show a work of ``total`` steps, on stderr and in the artifacts of the flow run."""
    artifact: Any = create_progress_artifact(progress=0.0, description=title)
    done, updated = 0, 0.0
    with progress_bar(title, total) as move:

        def advance(doing: str) -> None:
            nonlocal done, updated
            done += 1
            move(done, total, doing)
            # The server takes 12 ms for an update, and a rerun has thousands of references.
            if done >= total or time.monotonic() - updated >= 1.0:
                updated = time.monotonic()
                update_progress_artifact(artifact, progress=100.0 * done / max(total, 1))

        yield advance


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function to call after each batch of a stage: a stage that takes long is shown.

    It gets a row on stderr, and a progress artifact where a flow runs.
    """
    started: dict[str, float] = {}
    updated: dict[str, float] = {}
    artifacts: dict[str, Any] = {}
    with ExitStack() as shown:
        rows: dict[str, tuple[ExitStack, SetProgress]] = {}

        def progress(stage: str, done: int, total: int) -> None:
            now = time.monotonic()
            waited = now - updated.get(stage, started.setdefault(stage, now))
            if waited < LONG_S and (done < total or stage not in updated):
                return
            updated[stage] = now
            if stage not in rows:
                own = shown.enter_context(ExitStack())
                rows[stage] = own, own.enter_context(_row(stage, total, LINE_S, stays=False))
            own, move = rows[stage]
            move(done, total)
            if done >= total:
                own.close()
                for known in (rows, started, updated):
                    known.pop(stage, None)
            if FlowRunContext.get() is None:
                return
            share = 100.0 * done / max(total, 1)
            if stage in artifacts:
                update_progress_artifact(artifacts[stage], progress=share)
            else:
                artifacts[stage] = create_progress_artifact(progress=share, description=stage)

        yield progress


def this_run() -> str | None:
    """The id of the flow run that this code works for, if any."""
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[SetProgress]:
    """A bar on stderr, or a line per tenth of the work where stderr is no terminal."""
    with _row(title, total) as move:
        yield move


class _Display:
    """Rows of progress on stderr, of all threads."""

    def __init__(self) -> None:
        # Names of classes and photos are no markup: [red] and :cat: mean themselves.
        self.console = Console(file=sys.stderr, markup=False, emoji=False)
        self.bars = Progress(*COLUMNS, console=self.console, disable=not self.console.is_terminal)
        self.rows = 0


# A terminal has place for one display; it is there while it has a row.
_display: _Display | None = None
_display_lock = threading.Lock()


@contextmanager
def _row(
    title: str, total: int | None, least_s: float = 0.0, stays: bool = True
) -> Iterator[SetProgress]:
    """A row of the display.

    Args:
        least_s: seconds between two lines, and before the first one, where it is no terminal.
        stays: keep the bar when its work is done.
    """
    global _display
    with _display_lock:
        display = _display = _display or _Display()
        if not display.rows:
            display.bars.start()
        display.rows += 1
        row = display.bars.add_task(title, total=total, doing="")
    shown, written = -1, time.monotonic()

    def move(done: int, total: int, doing: str = "") -> None:
        nonlocal shown, written
        display.bars.update(row, completed=done, total=total, doing=doing)
        if display.console.is_terminal:
            return
        tenth, now = 10 * done // max(total, 1), time.monotonic()
        if tenth != shown and now - written >= least_s:
            shown, written = tenth, now
            display.console.print(f"{title}: {done}/{total} {doing}".rstrip(), highlight=False)

    try:
        yield move
    finally:
        with _display_lock:
            if not stays:
                display.bars.remove_task(row)
            display.rows -= 1
            if not display.rows:
                display.bars.stop()
                _display = None

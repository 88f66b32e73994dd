"""Progress of long work: a bar in the terminal, and a progress artifact in the Prefect UI."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

log = logging.getLogger("synthset.progress")

# A shorter stage needs no bar of its own.
LONG_S = 5.0
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
    with progress_bar(title) as move:

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
    """A function to call after each batch: a stage that takes long gets a progress artifact."""
    started: dict[str, float] = {}
    artifacts: dict[str, Any] = {}
    updated: dict[str, float] = {}

    def progress(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        waited = now - updated.get(stage, started.setdefault(stage, now))
        if FlowRunContext.get() is None or (
            waited < LONG_S and (done < total or stage not in updated)
        ):
            return
        updated[stage] = now
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
def progress_bar(title: str) -> Iterator[SetProgress]:
    """A bar on stderr, or a line per tenth of the work where stderr is no terminal."""
    # Names of classes and photos are no markup: [red] and :cat: mean themselves.
    console = Console(file=sys.stderr, markup=False, emoji=False)
    shown = -1
    with Progress(*COLUMNS, console=console, disable=not console.is_terminal) as progress:
        row = progress.add_task(title, total=None, doing="")

        def move(done: int, total: int, doing: str = "") -> None:
            nonlocal shown
            progress.update(row, completed=done, total=total, doing=doing)
            tenth = 10 * done // max(total, 1)
            if not console.is_terminal and tenth != shown:
                shown = tenth
                console.print(f"{title}: {done}/{total} {doing}", highlight=False)

        yield move

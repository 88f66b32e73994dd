"""How far long work is: a bar in the terminal and a progress artifact in the Prefect UI."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# Prefect 3.8 gives extra loggers its handler, but no level: the root's would hold, WARNING.
logging.getLogger("synthset").setLevel(logging.INFO)
# A stage that takes no longer needs no bar of its own.
LONG_S = 5.0
COLUMNS = (
    *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
    *(TimeElapsedColumn(), TextColumn("{task.fields[doing]}")),
)


class Advance(Protocol):
    """Say that one more piece of the work is done."""

    def __call__(self, doing: str) -> None: ...


class Move(Protocol):
    """Say how many of how many pieces are done."""

    def __call__(self, done: int, total: int, doing: str = "") -> None: ...


@contextmanager
def shown(title: str, total: int) -> Iterator[Advance]:
    """Show ``total`` pieces of work being done, on stderr and in the run's artifacts."""
    artifact: Any = create_progress_artifact(progress=0.0, description=title)
    done, told = 0, 0.0
    with bar(title) as move:

        def advance(doing: str) -> None:
            nonlocal done, told
            done += 1
            move(done, total, doing)
            # The server takes 12 ms for an update, and a rerun has thousands of references.
            if done >= total or time.monotonic() - told >= 1.0:
                told = time.monotonic()
                update_progress_artifact(artifact, progress=100.0 * done / max(total, 1))

        yield advance


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A call per batch of a stage: stages that take long get a progress artifact in the UI."""
    begun: dict[str, float] = {}
    artifacts: dict[str, Any] = {}
    told: dict[str, float] = {}

    def progress(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        waited = now - told.get(stage, begun.setdefault(stage, now))
        if FlowRunContext.get() is None or (
            waited < LONG_S and (done < total or stage not in told)
        ):
            return
        told[stage] = now
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
def bar(title: str) -> Iterator[Move]:
    """A bar on stderr; where that is no terminal, a line at each tenth of the way."""
    console = Console(file=sys.stderr)
    told = -1
    with Progress(*COLUMNS, console=console, disable=not console.is_terminal) as progress:
        row = progress.add_task(title, total=None, doing="")

        def move(done: int, total: int, doing: str = "") -> None:
            nonlocal told
            progress.update(row, completed=done, total=total, doing=doing)
            tenth = 10 * done // max(total, 1)
            if not console.is_terminal and tenth != told:
                told = tenth
                console.print(f"{title}: {done}/{total} {doing}", highlight=False)

        yield move

"""Progress on stderr: names of photos as they are, and stages that take long."""

import io
import sys

import pytest
from rich.console import Console

from flows.execution import progress
from flows.execution.progress import progress_bar, stage_progress

NAMES = ("[red]", "[/red]", "mug/:cat:", "{task}", "训练 🐱", "[link=x]y[/link]", "a\\[b]")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(name) as move:
        move(1, 1, name)
    assert capsys.readouterr().err == f"{name}: 1/1 {name}\n"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 120 characters shows."""
    shown = io.StringIO()

    def open_terminal(**options: object) -> Console:
        options["file"] = shown
        return Console(force_terminal=True, width=120, color_system=None, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(progress, "Console", open_terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup_in_a_terminal(name: str, terminal: io.StringIO) -> None:
    with progress_bar(name) as move:
        move(1, 1, name)
    assert terminal.getvalue().count(name) >= 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds; a test sets it."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_a_minute_of_a_long_stage(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with stage_progress() as on_batch:
        for done in range(101):
            clock[0] = 3.0 * done
            on_batch("fit_ddpm · mug", done, 100)
    # A row is there after 5 s, and has a line at most per minute and tenth.
    assert capsys.readouterr().err.splitlines() == [
        "fit_ddpm · mug: 22/100",
        "fit_ddpm · mug: 42/100",
        "fit_ddpm · mug: 62/100",
        "fit_ddpm · mug: 82/100",
    ]


def test_a_short_stage_has_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_progress() as on_batch:
        on_batch("measure", 1, 2)
        on_batch("measure", 2, 2)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_long_stage_below_the_bar_until_it_ends(
    clock: list[float], terminal: io.StringIO
) -> None:
    with progress_bar("items") as move, stage_progress() as on_batch:
        for done in range(4):
            clock[0] = 6.0 * done
            on_batch("fit_ddpm · mug", done, 4)
        display = progress._display
        assert display is not None
        assert [row.description for row in display.bars.tasks] == ["items", "fit_ddpm · mug"]
        clock[0] = 24.0
        on_batch("fit_ddpm · mug", 4, 4)
        assert [row.description for row in display.bars.tasks] == ["items"]
        move(1, 1)
    assert "fit_ddpm · mug" in terminal.getvalue()
    assert progress._display is None


def test_a_stage_that_fails_leaves_no_row(clock: list[float], terminal: io.StringIO) -> None:
    def fail() -> None:
        with stage_progress() as on_batch:
            for done in range(3):
                clock[0] = 6.0 * done
                on_batch("repaint", done, 4)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert "repaint" in terminal.getvalue()
    assert progress._display is None

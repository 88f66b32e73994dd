"""Progress on stderr shows names of photos as they are."""

import io
import sys

import pytest
from rich.console import Console

from flows.execution import progress
from flows.execution.progress import progress_bar

NAMES = ("[red]", "[/red]", "mug/:cat:", "{task}", "训练 🐱", "[link=x]y[/link]", "a\\[b]")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(name) as move:
        move(1, 1, name)
    assert capsys.readouterr().err == f"{name}: 1/1 {name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_names_are_no_markup_in_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()

    def terminal(**options: object) -> Console:
        options["file"] = shown
        return Console(force_terminal=True, width=120, color_system=None, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(progress, "Console", terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    with progress_bar(name) as move:
        move(1, 1, name)
    assert shown.getvalue().count(name) >= 2

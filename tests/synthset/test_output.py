"""Error lines: their bound, and what the system reports."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from synthset.output import LONGEST_LINE, Command, shorten


def ended_with(error: Exception) -> tuple[int, str]:
    """The exit code and the error line of a command that raises."""
    app = typer.Typer()

    @app.command(cls=Command)
    def fail() -> None:
        raise error

    ended = CliRunner().invoke(app)
    return ended.exit_code, ended.stderr.strip()


def test_a_long_line_keeps_its_beginning_and_its_end() -> None:
    line = "the server refused: " + "x" * 5000 + "; shorten the recipe"
    assert len(shorten(line)) <= LONGEST_LINE
    assert shorten(line).startswith("the server refused: xxx")
    assert shorten(line).endswith("xxx; shorten the recipe")
    assert shorten("y" * LONGEST_LINE) == "y" * LONGEST_LINE


def test_every_error_is_one_line_of_bounded_length() -> None:
    code, line = ended_with(ValueError("a\nb " * 500))
    assert code == 2
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("name", "content", "code"), [("missing", None, 2), ("folder", "folder", 1)]
)
def test_what_the_system_reports_names_the_file(
    tmp_path: Path, name: str, content: str | None, code: int
) -> None:
    path = tmp_path / name
    if content:
        path.mkdir()
    try:
        path.read_bytes()
    except OSError as error:
        found, line = ended_with(error)
    assert found == code
    assert line.startswith(f"synthset: {path}: ")
    assert line.endswith("check the path, its rights and the disk")


def test_a_user_without_a_home_gets_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    code, line = ended_with(AssertionError("never raised"))
    assert code == 2
    assert line == "synthset: this user has no home folder: set HOME to a folder that it may write"

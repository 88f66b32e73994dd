"""What commands print holds every name, whatever the terminal can show."""

import io
import sys
from pathlib import Path

import pytest

from synthset import main as module
from synthset.output import err


def test_a_terminal_without_unicode_gets_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("训练", "🐱"):
        for number in range(4):
            (tmp_path / label).mkdir(exist_ok=True)
            (tmp_path / label / f"{number}.jpg").write_bytes(b"content is read elsewhere")
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["synthset", "plan", "demo", "--photos", str(tmp_path)])
    monkeypatch.setattr(module, "PREFECT_DEFAULTS", {})
    with pytest.raises(SystemExit) as ended:
        module.main()
    sys.stdout.flush()
    assert ended.value.code == 0
    assert rb"\u8bad\u7ec3" in printed.getvalue()
    assert rb"\U0001f431" in printed.getvalue()


@pytest.mark.parametrize("line", ["no recipe [/red]", "no recipe :cat:", "[b]bold[/b]"])
def test_error_lines_show_names_as_they_are(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    err.print(line, soft_wrap=True)
    assert capsys.readouterr().err == f"{line}\n"

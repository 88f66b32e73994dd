"""Scripts that write what people had when a program failed; they lie next to the checkout."""

import runpy
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def write_case(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, filled by a script; the test is skipped where there is no such script."""
    script = CASES / f"{name}.py"
    if not script.is_file():
        pytest.skip(f"needs ../shared/cases/{name}.py")
    monkeypatch.setattr(sys, "argv", [script.name, str(folder)])
    runpy.run_path(str(script), run_name="__main__")
    return folder

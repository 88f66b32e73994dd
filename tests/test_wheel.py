"""The wheel holds the files that the commands read."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("synthset", "deployments", "flows", "tasks", "models", "recipes")


@pytest.mark.slow
def test_the_wheel_holds_recipes_deployment_files_and_demo_photos(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", tmp_path, source], check=True, capture_output=True, timeout=280)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    patterns = (
        "deployments/*.yaml",
        "deployments/**/*.json",
        "recipes/**/*.yaml",
        "flows/demo_photos/**/*.jpg",
    )
    for pattern in patterns:
        files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)]
        assert files
        assert names.issuperset(files), set(files) - names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)

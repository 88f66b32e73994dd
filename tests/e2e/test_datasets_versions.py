"""Runs and exports are read with another major version of `datasets`, in an environment of its own.

The version that the tests use is the newest; many people have the one before.
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.export.formats import export_dataset
from tests.readers import indices_of_datasets
from tests.tasks.export.test_formats import HARD, make_run
from tests.tiny import ROOT, Undisturbed

pytestmark = pytest.mark.e2e
INSTALL_S = 540
READ = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.readers import indices_of_datasets
folder, config, column = sys.argv[2:]
print(json.dumps(indices_of_datasets(Path(folder), config or None, column)))
"""


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the major version before the installed one."""
    major = int(importlib.metadata.version("datasets").partition(".")[0])
    folder = tmp_path_factory.mktemp("datasets") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    wanted = [f"datasets>={major - 1},<{major}", "pillow"]
    command = [python, "-m", "pip", "install", "--quiet", "--retries", "1", *wanted]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if ended.returncode != 0:
        pytest.skip(f"needs a package index for {wanted[0]}: {ended.stderr.strip()[-200:]}")
    return python


def read_with(python: Path, folder: Path, config: str = "", column: str = "label") -> Any:
    """What the other version reads, as `indices_of_datasets` returns it."""
    command = [python, "-c", READ, ROOT, folder, config, column]
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def as_json(found: Any) -> Any:
    return json.loads(json.dumps(found))


def test_both_versions_read_the_same_of_a_run(other_python: Path, undisturbed: Undisturbed) -> None:
    for name in undisturbed.summary["datasets"]:
        found = indices_of_datasets(undisturbed.out, name)
        assert set(found) == {"train", "val", "test"}
        assert read_with(other_python, undisturbed.out, name) == as_json(found)


@pytest.mark.parametrize(
    ("form", "column"), [("imagefolder", "label"), ("huggingface", "class_index")]
)
def test_both_versions_read_the_same_of_an_export(
    other_python: Path, tmp_path: Path, form: str, column: str
) -> None:
    out = make_run(tmp_path / "out", classes=sorted(HARD))
    export_dataset(out, "mixed", tmp_path / "to", form)
    found = indices_of_datasets(tmp_path / "to", column=column)
    assert {split: len(rows) for split, rows in found.items()} == dict.fromkeys(
        ("train", "val", "test"), len(HARD) + 1
    )
    assert read_with(other_python, tmp_path / "to", column=column) == as_json(found)

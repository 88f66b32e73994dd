"""The stage and the generator of CONTRIBUTING.md work when its code blocks are applied."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.markdown import ROOT, Block, read_blocks
from tests.tiny import RECIPE, Cli, draw_photos, manifest_of

GUIDE = ROOT / "CONTRIBUTING.md"
NEW_FILE = re.compile(r"New file `(?P<file>[^`]+)`:")
EDIT = re.compile(
    r"In `(?P<file>[^`]+)`, (?P<where>after|before|in place of) the line that begins with"
    r" `(?P<start>[^`]+)`:"
)
TIMEOUT_S = 120.0
# One reference of each class.
LIMIT = ("--limit", "2")


@pytest.mark.slow
def test_adds_the_stage_and_the_generator_of_the_guide(cli: Cli, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    copy_tracked_files(checkout)
    blocks = read_blocks(GUIDE)
    changed = [apply_block(checkout, block) for block in blocks if block.language == "python"]

    recipe = yaml.safe_load(RECIPE)
    (guide_recipe,) = [yaml.safe_load(block.code) for block in blocks if block.language == "yaml"]
    recipe["generators"] |= {"augmented": guide_recipe["generators"]["augmented"]}
    recipe |= {"datasets": [*recipe["datasets"], guide_recipe["datasets"][-1]], "train": None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    draw_photos(tmp_path / "photos")

    tools = Path(sys.executable).parent
    environment = cli.environment({"PYTHONPATH": str(checkout)})
    files = [str(file) for file in dict.fromkeys(changed)]

    def call(*command: str | Path) -> None:
        run_command(command, checkout, environment)

    call(tools / "ruff", "check", *files)
    call(tools / "ruff", "format", "--check", *files)
    call(tools / "lint-imports")
    call(sys.executable, "-m", "pytest", *[file for file in files if file.startswith("tests/")])
    paths = ("--photos", tmp_path / "photos", "--out", tmp_path / "out")
    call(sys.executable, "-m", "synthset.main", "run", tmp_path / "recipe.yaml", *paths, *LIMIT)

    rows = manifest_of(tmp_path / "out")
    made = [row for row in rows if row["generator"] == "augmented" and row["accepted"]]
    assert len(made) == 2 * 4
    assert any("augmented" in row["datasets"] for row in made)
    for label in ("block", "disc"):
        assert list((tmp_path / "out/datasets/augmented/train" / label).glob("*.jpg"))
    assert len(list((tmp_path / "out/store/denoise").rglob("*.png"))) == 2 * 3
    views = [row for row in rows if row["generator"] == "multiview"]
    assert all("denoise" in row["stages"] for row in views)


def copy_tracked_files(target: Path) -> None:
    """Copy the checkout's tracked files as they are now, changed or not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def apply_block(checkout: Path, block: Block) -> str:
    """Write the block's file, or insert the block; returns the path of the file."""
    new = NEW_FILE.fullmatch(block.intro)
    if new is not None:
        path = checkout / new["file"]
        assert not path.exists(), f"{block}: {new['file']} exists"
        path.write_text(block.code)
        return new["file"]
    edit = EDIT.fullmatch(block.intro)
    assert edit is not None, f"{block}: the line before it names no file: {block.intro}"
    path = checkout / edit["file"]
    lines = path.read_text().splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if line.startswith(edit["start"])]
    assert len(found) == 1, f"{block}: {len(found)} lines begin with {edit['start']!r}"
    first = found[0] + (edit["where"] == "after")
    last = first + (edit["where"] == "in place of")
    lines[first:last] = [block.code]
    path.write_text("".join(lines))
    return edit["file"]


def run_command(command: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> None:
    """Run a command in the copy; fails with its output if it fails."""
    ended = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    shown = " ".join(map(str, command))
    assert ended.returncode == 0, f"{shown}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"

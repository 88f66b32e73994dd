"""Regions: which photo a mask is of, and which files are refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.engine.run_context import RunContext
from tasks.ingest.regions import ingest_regions, list_regions
from tasks.store.store import open_store


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


def _write_mask(file: Path, rows: int) -> Path:
    mask = np.zeros((20, 30), np.uint8)
    mask[:rows] = 200
    file.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(file), mask)
    return file


def test_a_file_is_of_all_photos_and_its_content_decides_the_bytes(
    run: RunContext, tmp_path: Path
) -> None:
    file = _write_mask(tmp_path / "ground.png", 5)
    (first,) = ingest_regions(run, file)
    assert first.variant == {"of": ""}
    assert (run.load(first) == 255).sum() == 5 * 30
    (second,) = ingest_regions(run, _write_mask(file, 6))
    assert second.digest != first.digest


def test_files_of_a_folder_are_of_the_photos_with_their_names(
    run: RunContext, tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    for name in ("b.png", "a.png"):
        _write_mask(folder / name, 5)
    (folder / "notes.txt").write_text("no mask")
    assert [region.variant["of"] for region in ingest_regions(run, folder)] == ["a", "b"]
    assert ingest_regions(run, None) == []


def test_unusable_regions_are_refused(run: RunContext, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    with pytest.raises(ValueError, match="is no file and no folder"):
        list_regions(folder)
    folder.mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        list_regions(folder)
    (folder / "a.png").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"a\.png is no picture; give PNG masks"):
        ingest_regions(run, folder)
    _write_mask(folder / "a.png", 0)
    with pytest.raises(ValueError, match="has no px of 128 or more"):
        ingest_regions(run, folder)
    (folder / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.jpg and a\.png are of the same photo"):
        list_regions(folder)

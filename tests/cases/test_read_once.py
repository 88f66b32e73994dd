"""Photos that change or vanish while a run is on: what is hashed is what is used."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.files import read_unchanged
from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest import photos as listing
from tasks.ingest import read_files as reading
from tasks.ingest.find_sources import FoundSources, Layout
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.store.store import open_store

SPLITS = SplitParameters(compare_pictures=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photos of each of two classes, as in the cases 32 and 32b."""
    folder = tmp_path / "photos"
    for number in range(12):
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(file)
    return folder


def open_run(folder: Path) -> RunContext:
    return RunContext(open_store(folder.parent / "store"), "test")


def change_after_listing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    listed = listing.find_sources

    def find(folder: Path, layout: Layout) -> FoundSources:
        found = listed(folder, layout)
        change()
        return found

    monkeypatch.setattr(listing, "find_sources", find)


def test_pixels_under_a_key_are_those_of_its_digest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = folder / "a" / "0.png"
    old = victim.read_bytes()

    def read_and_swap(path: Path) -> bytes:
        content = read_unchanged(path)
        if path == victim:
            Image.new("RGB", (64, 64), (255, 0, 0)).save(victim)
        return content

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_unchanged", read_and_swap)
        ingest_photos(open_run(folder), folder, Ingest(), SPLITS)
    victim.write_bytes(old)
    run = open_run(folder)
    sources = ingest_photos(run, folder, Ingest(), SPLITS)
    (image,) = (image for image in sources.images if image.file == "a/0.png")
    np.testing.assert_array_equal(run.load(image.image), np.asarray(Image.open(victim)))


def test_a_deleted_photo_is_refused_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_after_listing(monkeypatch, (folder / "a" / "0.png").unlink)
    sources = ingest_photos(open_run(folder), folder, Ingest(), SPLITS)
    assert sources.refused == (("a/0.png", "can't be read (No such file or directory)"),)
    assert len(sources.images) == 11


def test_a_photo_that_became_a_folder_or_half_a_photo_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, half = folder / "a" / "0.png", folder / "b" / "1.png"

    def change() -> None:
        whole.unlink()
        whole.mkdir()
        half.write_bytes(half.read_bytes()[:3000])

    change_after_listing(monkeypatch, change)
    sources = ingest_photos(open_run(folder), folder, Ingest(), SPLITS)
    assert [file for file, _ in sources.refused] == ["a/0.png", "b/1.png"]
    assert sources.refused[0][1] == "can't be read (Is a directory)"
    assert "cut short" in sources.refused[1][1]


def test_a_photo_that_is_written_while_it_is_read_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, look = folder / "a" / "0.png", os.fstat

    def look_and_append(number: int) -> os.stat_result:
        found = look(number)
        if os.path.samestat(found, victim.stat()):
            with victim.open("ab") as writing:
                writing.write(b"more")
        return found

    monkeypatch.setattr(os, "fstat", look_and_append)
    sources = ingest_photos(open_run(folder), folder, Ingest(), SPLITS)
    assert sources.refused == (
        ("a/0.png", "it changed while it was read; run again when it is complete"),
    )

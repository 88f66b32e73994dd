from pathlib import Path

import numpy as np
import pytest

from models.data.pixels import decode, encode_png
from models.data.records import Annotation
from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext, StageCount
from tasks.ingest.backgrounds import NoBackgroundsError, ingest_backgrounds
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.ingest.references import choose_references
from tasks.store.store import open_store

CLASSES = ("cup", "spoon")


def draw(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return encode_png(np.kron(coarse, np.ones((10, 10, 1), np.uint8)))


def write(folder: Path, file: str, blob: bytes) -> None:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine photos of each of two classes."""
    folder = tmp_path / "photos"
    for label in CLASSES:
        for number in range(9):
            write(folder, f"{label}/{number}.png", draw(10 * number + len(label)))
    return folder


def test_splits_and_names_photos_and_refuses_an_unreadable_one(
    run: RunContext, photos: Path
) -> None:
    write(photos, "cup/broken.jpg", b"\xff\xd8\xff not a photo")
    sources = ingest_photos(run, photos, Ingest(), SplitParameters())
    assert sources.classes == list(CLASSES)
    assert len(sources.images) == 18
    assert [file for file, _ in sources.refused] == ["cup/broken.jpg"]
    for split in ("train", "val", "test"):
        assert {image.label for image in sources.of(split)} == set(CLASSES)
    for image in sources.images:
        assert image.name == image.image.name == f"{image.label}/{Path(image.file).stem}"
        assert image.annotations == (Annotation(label=Path(image.file).parent.name),)


def test_reads_no_photo_twice(run: RunContext, photos: Path) -> None:
    first = ingest_photos(run, photos, Ingest(), SplitParameters())
    again = RunContext(run.store, "again")
    assert ingest_photos(again, photos, Ingest(), SplitParameters()) == first
    assert again.counts["ingest"] == StageCount(cached=18)


def test_a_moved_photo_folder_gives_the_same_sources(run: RunContext, photos: Path) -> None:
    first = ingest_photos(run, photos, Ingest(), SplitParameters())
    moved = photos.rename(photos.with_name("moved"))
    again = RunContext(run.store, "again")
    assert ingest_photos(again, moved, Ingest(), SplitParameters()) == first
    assert again.counts["ingest"] == StageCount(cached=18)


def test_a_prompt_file_becomes_the_prompt_of_its_photo(run: RunContext, photos: Path) -> None:
    (photos / "cup" / "3.txt").write_text("a blue cup")
    sources = ingest_photos(run, photos, Ingest(), SplitParameters())
    prompts = {image.name: image.prompt for image in sources.images if image.prompt}
    assert prompts == {"cup/3": "a blue cup"}


def test_photos_of_the_same_name_in_two_splits_get_different_names(
    run: RunContext, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    for split in ("train", "val", "test"):
        for label in CLASSES:
            for number in range(2):
                seed = 100 * number + 7 * len(split) + len(label) + 1000 * (split == "val")
                write(folder, f"{split}/{label}/{number}.png", draw(seed))
    write(folder, "train/cup/0.jpeg", draw(999))
    sources = ingest_photos(run, folder, Ingest(), SplitParameters())
    names = [image.name for image in sources.images]
    assert len(set(names)) == len(names) == 13
    assert {"cup/0", "cup/0-train", "cup/1"} <= {image.name for image in sources.of("train")}
    assert {image.name for image in sources.of("test") if image.label == "cup"} == {
        "cup/0-test",
        "cup/1-test",
    }


def test_names_a_missing_or_empty_folder_of_backgrounds(run: RunContext, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"backgrounds: .*nowhere is no folder"):
        ingest_backgrounds(run, tmp_path / "nowhere", Ingest(), [], SplitParameters())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"backgrounds: .*empty holds no photo"):
        ingest_backgrounds(run, tmp_path / "empty", Ingest(), [], SplitParameters())
    assert ingest_backgrounds(run, None, Ingest(), [], SplitParameters()) == ([], [])


def test_backgrounds_come_in_the_order_of_their_names(run: RunContext, tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "notes.txt"):
        write(tmp_path / "scenes", name, draw(len(name) + ord(name[0])))
    found, _ = ingest_backgrounds(run, tmp_path / "scenes", Ingest(), [], SplitParameters())
    assert [artifact.name for artifact in found] == ["backgrounds/a.png", "backgrounds/b.png"]


def test_a_cut_out_is_no_background(run: RunContext, tmp_path: Path) -> None:
    cut_out = np.dstack([decode(draw(1)), np.kron(np.eye(2) * 255, np.ones((30, 30)))])
    write(tmp_path / "scenes", "a.png", encode_png(cut_out.astype(np.uint8)))
    with pytest.raises(NoBackgroundsError, match=r"every photo of .* is a cut-out; use other"):
        ingest_backgrounds(run, tmp_path / "scenes", Ingest(), [], SplitParameters())
    write(tmp_path / "scenes", "b.png", draw(2))
    found, refused = ingest_backgrounds(run, tmp_path / "scenes", Ingest(), [], SplitParameters())
    assert [artifact.name for artifact in found] == ["backgrounds/b.png"]
    assert [entry.file for entry in refused] == ["backgrounds/a.png"]
    assert refused[0].reason.startswith("a cut-out; a background needs")


def test_references_are_drawn_per_class_and_a_limit_takes_some_of_each_class(
    run: RunContext, photos: Path
) -> None:
    train = ingest_photos(run, photos, Ingest(), SplitParameters()).of("train")
    three = choose_references(train, 3, None, 0)
    assert [reference.label for reference in three] == ["cup"] * 3 + ["spoon"] * 3
    assert {found.label for found in choose_references(train, None, 2, 0)} == set(CLASSES)
    assert choose_references(train[::-1], 3, None, 0) == three
    assert choose_references(train, 3, None, 1) != three


def test_draws_do_not_follow_from_how_the_store_compresses(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for level in (1, 9):
        monkeypatch.setattr("models.data.png._LEVEL", level)
        run = RunContext(open_store(tmp_path / f"store-{level}"), "test")
        sources = ingest_photos(run, photos, Ingest(), SplitParameters())
        chosen = choose_references(sources.of("train"), 2, None, 0)
        splits = {source.file: source.split for source in sources.images}
        bytes_of = {source.file: source.image.digest for source in sources.images}
        found.append(([source.name for source in chosen], splits, bytes_of))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]

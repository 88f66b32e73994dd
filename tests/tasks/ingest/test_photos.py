from pathlib import Path

import numpy as np
import pytest

from models.data.find_photos import PhotoFile
from models.data.pixels import encode_png
from models.data.splitting import SplitParameters
from tasks.engine.run_context import RunContext, StageCount
from tasks.ingest.photos import Ingest, ingest_photos, ingest_plates
from tasks.ingest.references import choose_references
from tasks.store.store import open_store


def draw(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return encode_png(np.kron(coarse, np.ones((10, 10, 1), np.uint8)))


def photo(folder: Path, file: str, blob: bytes, split: str | None = None) -> PhotoFile:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
    label = Path(file).parent.name
    return PhotoFile(path, file, label, split)  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


def test_photos_are_split_and_named_and_the_bad_one_is_refused(
    run: RunContext, tmp_path: Path
) -> None:
    files = [
        photo(tmp_path, f"{label}/{n}.png", draw(10 * n + len(label)))
        for label in ("cup", "spoon")
        for n in range(8)
    ]
    files.append(photo(tmp_path, "cup/broken.jpg", b"not a photo"))
    found = ingest_photos(run, files, Ingest(), SplitParameters())
    assert found.classes == ["cup", "spoon"]
    assert len(found.photos) == 16
    assert [file for file, _ in found.refused] == ["cup/broken.jpg"]
    assert {len(found.of(split)) > 0 for split in ("train", "val", "test")} == {True}
    assert all(one.name == f"{one.label}/{Path(one.file).stem}" for one in found.photos)


def test_what_was_read_is_not_read_again(run: RunContext, tmp_path: Path) -> None:
    files = [
        photo(tmp_path, f"{label}/{n}.png", draw(10 * n + len(label)))
        for label in ("cup", "spoon")
        for n in range(6)
    ]
    first = ingest_photos(run, files, Ingest(), SplitParameters())
    again = RunContext(run.store, "again")
    assert ingest_photos(again, files, Ingest(), SplitParameters()) == first
    assert again.counts["ingest"] == StageCount(cached=12)


def test_the_same_name_in_two_splits_stays_apart(run: RunContext, tmp_path: Path) -> None:
    files = [
        photo(
            tmp_path, f"{split}/{label}/{n}.png", draw(100 * n + 7 * len(split) + len(label)), split
        )
        for split in ("train", "val", "test")
        for label in ("cup", "spoon")
        for n in range(2)
    ]
    files.append(photo(tmp_path, "train/cup/0.jpeg", draw(999), "train"))
    found = ingest_photos(run, files, Ingest(), SplitParameters())
    names = [one.name for one in found.photos]
    assert len(set(names)) == len(names) == 13
    train = {one.name for one in found.of("train")}
    assert {"cup/0", "cup/0-train", "cup/1"} <= train
    assert {one.name for one in found.of("test") if one.label == "cup"} == {
        "cup/0-test",
        "cup/1-test",
    }


def test_plates_of_a_missing_or_empty_folder_are_one_clear_line(
    run: RunContext, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        ingest_plates(run, tmp_path / "nowhere", Ingest())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no photo"):
        ingest_plates(run, tmp_path / "empty", Ingest())
    assert ingest_plates(run, None, Ingest()) == []


def test_references_are_drawn_per_class_and_the_limit_goes_round(
    run: RunContext, tmp_path: Path
) -> None:
    files = [
        photo(tmp_path, f"{label}/{n}.png", draw(10 * n + len(label)))
        for label in ("cup", "spoon")
        for n in range(9)
    ]
    photos = ingest_photos(run, files, Ingest(), SplitParameters()).of("train")
    three = choose_references(photos, 3, None, 0)
    assert [one.label for one in three] == ["cup"] * 3 + ["spoon"] * 3
    assert {one.label for one in choose_references(photos, None, 2, 0)} == {"cup", "spoon"}
    assert choose_references(photos[::-1], 3, None, 0) == three
    assert choose_references(photos, 3, None, 1) != three

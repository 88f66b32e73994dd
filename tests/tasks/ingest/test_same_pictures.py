"""Changed copies of test photos are refused, as photos and backgrounds; reruns compute nothing."""

from pathlib import Path

import numpy as np
import pytest

from models.data.pixels import Pixels, encode_png
from models.data.records import Sources
from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.ingest import same_pictures
from tasks.ingest.backgrounds import NoBackgroundsError, ingest_backgrounds
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.store.store import open_store
from tests.models.leakage.photos import crop, read_photos


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two test photos; train and val hold changed copies of the first and other photos."""
    scenes = read_photos(8)
    files = {
        "test/cup/a.png": scenes[0],
        "test/jug/b.png": scenes[1],
        "train/cup/cropped.png": crop(scenes[0], 0.3),
        "val/jug/turned.png": np.ascontiguousarray(np.rot90(crop(scenes[0], 0.1))),
        "train/cup/c.png": scenes[2],
        "train/jug/d.png": scenes[3],
        "val/cup/e.png": scenes[4],
        "val/jug/f.png": scenes[5],
    }
    for file, pixels in files.items():
        write(tmp_path / "photos" / file, pixels)
    return tmp_path / "photos"


def write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))


def ingest(run: RunContext, folder: Path, **changes: object) -> Sources:
    return ingest_photos(run, folder, Ingest(), SplitParameters.model_validate(changes))


def test_refuses_changed_copies_of_a_test_photo_and_computes_them_once(
    run: RunContext, photos: Path
) -> None:
    sources = ingest(run, photos)
    assert sources.refused == (
        ("train/cup/cropped.png", "shows the same picture as the test photo test/cup/a.png"),
        ("val/jug/turned.png", "shows the same picture as the test photo test/cup/a.png"),
    )
    again = RunContext(run.store, "again")
    assert ingest(again, photos) == sources
    assert {count.computed for count in again.counts.values()} == {0}


def test_hashes_alone_find_no_crop_and_the_notes_say_so(run: RunContext, photos: Path) -> None:
    sources = ingest(run, photos, compare_pictures=False)
    assert sources.refused == ()
    assert "photos were compared by hash alone (split.compare_pictures)" in sources.notes


def test_the_shortlist_finds_them_too(
    run: RunContext, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ingest(run, photos).refused
    monkeypatch.setattr(same_pictures, "list_all_pairs", lambda _: None)
    sources = ingest(RunContext(run.store, "again"), photos)
    assert sources.refused == expected
    assert any("10 most alike photos of each" in note for note in sources.notes)


def test_photos_of_one_group_stay_in_one_split(run: RunContext, photos: Path) -> None:
    sources = ingest(run, photos, group_pattern=r"cup/([ec])\.png", compare_pictures=False)
    assert sources.refused == ()
    sources = ingest(run, photos, group_pattern=r"/[ac](\.png)$", compare_pictures=False)
    assert sources.refused == (
        ("train/cup/c.png", "of the same scene as the test photo test/cup/a.png"),
    )


def test_refuses_backgrounds_that_show_a_held_out_photo(
    run: RunContext, photos: Path, tmp_path: Path
) -> None:
    heldout = ingest(run, photos).of("val", "test")
    scenes = read_photos(8)
    folder = tmp_path / "scenes"
    write(folder / "cropped.png", crop(scenes[1], 0.2))
    write(folder / "mirrored.png", np.ascontiguousarray(scenes[4][:, ::-1]))
    write(folder / "other.png", scenes[6])
    splits = SplitParameters()
    found, refused = ingest_backgrounds(run, folder, Ingest(), heldout, splits)
    assert [photo.name for photo in found] == ["backgrounds/other.png"]
    assert [(entry.file, entry.reason) for entry in refused] == [
        ("backgrounds/cropped.png", "shows the test photo test/jug/b.png"),
        ("backgrounds/mirrored.png", "shows the val photo val/cup/e.png"),
    ]
    (folder / "other.png").unlink()
    with pytest.raises(NoBackgroundsError, match=r"every photo of .* shows a val or test photo"):
        ingest_backgrounds(run, folder, Ingest(), heldout, splits)

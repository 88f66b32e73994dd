"""Files of real users: what they carry is used or named."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from models.data.splits.splitting import SplitParameters
from tasks.engine.run_context import RunContext
from tasks.generate.segment import segment
from tasks.ingest.photos import ingest_photos
from tasks.ingest.read_files import Ingest
from tasks.settings.segment import SegmentGrabCut
from tasks.store.store import open_store

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
SPLITS = SplitParameters(compare_pictures=False, near_duplicate_bits=0)
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases: users' files")


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


def write(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Path:
    """The input that the script of a case writes."""
    monkeypatch.setattr(sys, "argv", [case, str(folder / "photos"), *more])
    runpy.run_path(str(CASES / case))
    return folder / "photos"


@pytest.mark.parametrize(
    ("case", "notes"),
    [
        (
            "01_png_big_metadata.py",
            ["disc/profile.png: ICC profile ignored, it does not fit the pixels"],
        ),
        ("02_png_ancillary_crc.py", ["box/crc.png: the damaged chunk pHYs is ignored"]),
        (
            "03_jpeg_without_end_marker.py",
            ["box/no_end.jpg: the end marker is missing, no pixel is"],
        ),
    ],
)
def test_metadata_does_not_decide_about_sound_pixels(
    case: str, notes: list[str], run: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = ingest_photos(run, write(case, tmp_path, monkeypatch), Ingest(), SPLITS)
    assert sources.refused == ()
    assert [note for note in sources.notes if ".png: " in note or ".jpg: " in note] == notes


def test_narrow_16_bit_photos_are_stretched_with_a_note(
    run: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write("05_sixteen_bit_narrow.py", tmp_path, monkeypatch)
    sources = ingest_photos(run, photos, Ingest(), SPLITS)
    assert len(sources.images) == 20
    (note,) = (note for note in sources.notes if "of 256 grey levels; stretched" in note)
    assert note.startswith("long/0.png and 19 other photos: values ")
    for image in sources.images:
        assert len(np.unique(run.load(image.image))) > 200


def test_the_alpha_of_a_cut_out_is_its_mask(
    run: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without prints, all photos of a class are copies of one.
    photos = write("07_cutouts_alpha_unused.py", tmp_path, monkeypatch, "print")
    sources = ingest_photos(run, photos, Ingest(), SPLITS)
    image = sources.images[0]
    (note,) = image.annotations
    assert note.mask is not None
    assert note.box == (40, 50, 221, 201)
    (cut_out,) = segment(run, SegmentGrabCut(), [image.image])
    np.testing.assert_array_equal(run.load(cut_out)[..., 3] > 127, run.load(note.mask) > 127)


def test_boxes_are_no_prompts(
    run: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write("h2_yolo_boxes_beside_photos.py", tmp_path, monkeypatch)
    sources = ingest_photos(run, photos, Ingest(), SPLITS)
    assert {image.prompt for image in sources.images} == {None}
    assert len(sources.refused) == 16
    assert all("rows of numbers, such as boxes" in reason for _, reason in sources.refused)

"""HEIC photos, which pillow-heif reads; without it, the reason says what to do."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data import find_photos as finding
from models.data.find_photos import find_photos
from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file import open_image
from models.data.photo_file.open_image import SUFFIXES, readable_formats
from models.data.read_photo import read_photo
from tests.models.data.photo_file.files import draw_scene, save

SCENE = draw_scene()


@pytest.fixture(autouse=True)
def formats() -> tuple[str, ...]:
    """The readable formats; the call tells Pillow how HEIC is written too."""
    return readable_formats()


@pytest.fixture
def without_pillow_heif(monkeypatch: pytest.MonkeyPatch, formats: tuple[str, ...]) -> None:
    """Formats and suffixes as they are where pillow-heif is not installed."""
    others = tuple(name for name in formats if name != "HEIF")
    monkeypatch.setattr(open_image, "_READS_HEIF", False)
    monkeypatch.setattr(open_image, "readable_formats", lambda: others)
    monkeypatch.setattr(finding, "SUFFIXES", SUFFIXES - {".heic", ".heif"})


@pytest.mark.parametrize("alpha", [False, True])
def test_a_heic_photo_comes_back_nearly(alpha: bool) -> None:
    image = Image.fromarray(SCENE)
    if alpha:
        image.putalpha(255)
    read = read_photo(save(image, "HEIF", quality=95))
    assert read.pixels.shape == SCENE.shape
    assert np.abs(read.pixels.astype(int) - SCENE).mean() < 4
    assert read.notes == ()


def test_a_heic_photo_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    # From bytes, pillow-heif writes both EXIF and the property `irot`, as phones do.
    blob = save(Image.fromarray(SCENE), "HEIF", exif=exif.tobytes(), quality=95)
    assert b"irot" in blob
    read = read_photo(blob)
    upright = np.rot90(SCENE, 3)
    assert read.pixels.shape == upright.shape
    assert np.abs(read.pixels.astype(int) - upright).mean() < 4


def test_the_main_picture_of_several_is_read() -> None:
    images = [Image.fromarray(draw_scene(seed)) for seed in (0, 1)]
    blob = save(images[0], "HEIF", save_all=True, append_images=images[1:], primary_index=1)
    read = read_photo(blob)
    assert np.abs(read.pixels.astype(int) - draw_scene(1)).mean() < 6
    assert read.notes == ("the main picture of 2",)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_heic_photo_that_is_cut_short_is_refused(share: float) -> None:
    blob = save(Image.fromarray(SCENE), "HEIF")
    with pytest.raises(PhotoRejectedError, match="corrupt"):
        read_photo(blob[: int(len(blob) * share)])


@pytest.mark.usefixtures("without_pillow_heif")
def test_without_pillow_heif_the_reason_says_what_to_do(tmp_path: Path) -> None:
    blob = save(Image.fromarray(SCENE), "HEIF")
    with pytest.raises(PhotoRejectedError) as caught:
        read_photo(blob)
    assert str(caught.value) == "a HEIC photo; export it as JPEG or install pillow-heif"
    for file in ("cat/a.png", "cat/b.heic", "dog/a.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(blob)
    photos, refused = find_photos(tmp_path)
    assert [photo.file for photo in photos] == ["cat/a.png", "dog/a.png"]
    assert [(entry.file, entry.reason) for entry in refused] == [
        ("cat/b.heic", "HEIC is not read here; export it as JPEG or install pillow-heif")
    ]

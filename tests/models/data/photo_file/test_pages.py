"""Pages and bands that are not used are named; the largest page is the photo."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.data.photo_colours import PhotoRejectedError
from models.data.read_photo import read_photo, read_size
from tests.models.data.photo_file.files import draw_scene, save, save_tiff

SCENE = draw_scene()
SMALL = np.ascontiguousarray(draw_scene(1)[:40, :40])


def test_the_largest_page_is_taken(tmp_path: Path) -> None:
    blob = save_tiff(SMALL, SCENE, SMALL, photometric="rgb")
    read = read_photo(blob)
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert read.notes == ("page 2 of 3, the largest",)
    file = tmp_path / "pages.tif"
    file.write_bytes(blob)
    assert read_size(file) == (96, 64) == read.file_size


def test_a_mask_page_is_not_the_photo() -> None:
    mask = Image.new("1", (400, 300), 1)
    mask.encoderinfo = {"tiffinfo": {254: 4}}
    blob = save(Image.fromarray(SCENE), "TIFF", save_all=True, append_images=[mask])
    assert read_photo(blob).notes == ("page 1 of 2",)


def test_the_second_picture_of_a_stereo_photo_is_named() -> None:
    blob = save(
        Image.fromarray(SCENE), "MPO", save_all=True, append_images=[Image.fromarray(SCENE)]
    )
    assert read_photo(blob).notes == ("page 1 of 2",)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_bands_beyond_the_third_are_named(tmp_path: Path, dtype: type, planes: str) -> None:
    bands = np.dstack([SCENE, SCENE, SCENE[..., :1]])
    deep = bands.astype(dtype) * (257 if dtype is np.uint16 else 1)
    stored = deep if planes == "contig" else np.moveaxis(deep, 2, 0)
    blob = save_tiff(stored, photometric="rgb", planarconfig=planes)
    read = read_photo(blob)
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert "bands 4 to 7 of 7 are not used" in read.notes
    file = tmp_path / "bands.tif"
    file.write_bytes(blob)
    assert read_size(file) == (96, 64)


def test_more_bands_than_memory_are_refused_unread() -> None:
    many = np.zeros((40, 40, 900), np.uint8)
    blob = save_tiff(many, photometric="minisblack", planarconfig="contig")
    with pytest.raises(PhotoRejectedError, match="40x40 px of 900 bands are 1,440,000 bytes"):
        read_photo(blob, max_pixels=80_000)


def test_the_second_band_of_two_is_named() -> None:
    two = save_tiff(
        np.ascontiguousarray(SCENE[..., :2]),
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unspecified"],
    )
    read = read_photo(two)
    np.testing.assert_array_equal(read.pixels[..., 0], SCENE[..., 0])
    assert "band 2 of 2 is not used" in read.notes

"""Values of more than 8 bits become 8-bit values without losing the photo."""

import cv2
import numpy as np
import pytest
from PIL import Image

from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file.value_range import scale_values
from models.data.read_photo import read_photo
from tests.models.data.photo_file.files import draw_scene, save, save_tiff

SCENE = draw_scene()
RAMP = np.linspace(51_000, 51_900, 64 * 64).astype(np.uint16).reshape(64, 64)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_narrow_range_is_stretched_with_a_note(order: str) -> None:
    read = read_photo(save_tiff(RAMP, byteorder=order))
    assert read.file_size == (64, 64)
    assert (read.pixels.min(), read.pixels.max()) == (0, 255)
    assert len(np.unique(read.pixels)) > 200
    assert any("of 256 grey levels; stretched" in note for note in read.notes)


def test_dead_pixels_do_not_hide_a_narrow_range() -> None:
    spoilt = RAMP.copy()
    spoilt[3, 3], spoilt[9, 9] = 0, 65535
    read = read_photo(save(Image.fromarray(spoilt), "PNG"))
    assert len(np.unique(read.pixels)) > 200


def test_a_range_of_the_recipe_holds_for_all_photos() -> None:
    read = read_photo(save(Image.fromarray(RAMP), "PNG"), value_range=(51_000, 52_800))
    assert (read.pixels.min(), read.pixels.max()) == (0, 128)
    narrow = read_photo(save(Image.fromarray(RAMP), "PNG"), value_range=(51_200, 51_400))
    assert any("those from 51000 to 51900 are clipped" in note for note in narrow.notes)
    whole = read_photo(save(Image.fromarray(RAMP), "PNG"), value_range="full")
    assert len(np.unique(whole.pixels)) < 6


def test_floats_need_a_range() -> None:
    celsius = np.linspace(19, 41, 64 * 64, dtype=np.float32).reshape(64, 64)
    blob = save(Image.fromarray(celsius), "TIFF")
    with pytest.raises(PhotoRejectedError, match=r"19 to 41 have no known range; set ingest"):
        read_photo(blob)
    assert read_photo(blob, value_range=(19, 41)).pixels.max() == 255


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize(("factor", "start"), [(257, 0), (16, 0), (3, 40_000)])
def test_deep_colour_keeps_its_colours(suffix: str, factor: int, start: int) -> None:
    deep = SCENE.astype(np.uint16) * factor + start
    read = read_photo(cv2.imencode(suffix, np.ascontiguousarray(deep[..., ::-1]))[1].tobytes())
    error = np.abs(read.pixels.astype(int) - SCENE)
    assert error.max() <= (1 if start == 0 else 40)
    assert np.corrcoef(read.pixels.ravel(), SCENE.ravel())[0, 1] > 0.99


def test_white_is_zero_is_turned_round_after_scaling() -> None:
    scaled, _ = scale_values(RAMP, "auto", is_inverted=True)
    assert (scaled[0, 0], scaled[-1, -1]) == (255, 0)


def test_one_colour_is_not_stretched() -> None:
    scaled, note = scale_values(np.full((8, 8), 30_000, np.uint16), "auto")
    assert set(np.unique(scaled)) == {117}
    assert note == "16-bit scaled"

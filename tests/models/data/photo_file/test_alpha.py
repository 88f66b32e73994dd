"""An alpha channel is the mask of an object, or it is not used; it never changes the colours."""

import cv2
import numpy as np
import pytest
from PIL import Image

from models.data.photo_file.alpha import judge_alpha
from models.data.read_photo import read_photo
from tests.models.data.photo_file.files import (
    HEIGHT,
    WIDTH,
    draw_disc,
    draw_scene,
    insert_chunk,
    save,
    save_tiff,
)

SCENE, DISC = draw_scene(), draw_disc()
CUT_OUT = Image.fromarray(np.dstack([SCENE, DISC]))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "QOI", "JPEG2000", "AVIF"])
def test_the_alpha_of_a_cut_out_is_its_mask(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    read = read_photo(save(CUT_OUT, kind, **options))
    assert read.alpha is not None
    assert np.abs(read.alpha.astype(int) - DISC).mean() < 3
    assert (np.abs(read.pixels[0, 0].astype(int) - 127) < 3).all()


def test_the_transparent_colour_of_a_palette_and_of_a_gif_is_outside_the_mask() -> None:
    palette = Image.fromarray(np.where(DISC > 0, 5, 3).astype(np.uint8), "P")
    palette.putpalette([200, 30, 30] * 256)
    for kind in ("PNG", "GIF"):
        read = read_photo(save(palette, kind, transparency=3))
        assert read.alpha is not None
        np.testing.assert_array_equal(read.alpha, DISC)


def test_grey_with_alpha_is_a_cut_out() -> None:
    grey = Image.merge("LA", [Image.fromarray(SCENE[..., 0]), Image.fromarray(DISC)])
    read = read_photo(save(grey, "PNG"))
    assert read.alpha is not None
    np.testing.assert_array_equal(read.pixels[32, 48], [SCENE[32, 48, 0]] * 3)


def test_the_mask_is_turned_and_scaled_with_the_colours() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = CUT_OUT.resize((4 * WIDTH, 4 * HEIGHT))
    large.putpixel((8, 200), (0, 0, 0, 255))
    read = read_photo(save(large, "PNG", exif=exif), max_side=WIDTH)
    assert read.alpha is not None
    assert read.pixels.shape == (WIDTH, HEIGHT, 3)
    assert read.file_size == (4 * HEIGHT, 4 * WIDTH)
    assert np.abs(read.alpha.astype(int) - np.rot90(DISC, 3)).mean() < 4


@pytest.mark.parametrize(
    ("alpha", "note"),
    [
        (np.zeros_like(DISC), "holds no object"),
        (np.full_like(DISC, 100), "holds no object"),
        (SCENE[..., 1], "holds a band of many values"),
        (
            np.where(np.arange(WIDTH) < 1, 0, 255) * np.ones((HEIGHT, 1)),
            "covers 99.0% of the photo",
        ),
        (
            np.where(DISC[::-1] * 0 + np.eye(HEIGHT, WIDTH) * (np.arange(WIDTH) < 6), 255, 0),
            "covers 0.1%",
        ),
    ],
    ids=["empty", "half", "band", "nearly full", "speck"],
)
def test_an_alpha_that_is_no_mask_leaves_the_colours_as_they_are(
    alpha: np.ndarray, note: str
) -> None:
    read = read_photo(save(Image.fromarray(np.dstack([SCENE, alpha.astype(np.uint8)])), "PNG"))
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert read.alpha is None
    (found,) = read.notes
    assert note in found
    assert found.startswith("alpha not used")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_the_alpha_of_a_16_bit_cut_out_is_its_mask(suffix: str) -> None:
    deep = np.dstack([SCENE[..., ::-1], DISC]).astype(np.uint16) * 257
    read = read_photo(cv2.imencode(suffix, deep)[1].tobytes())
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, DISC)
    np.testing.assert_array_equal(read.pixels[DISC > 0], SCENE[DISC > 0])


@pytest.mark.parametrize(("dtype", "factor"), [(np.uint16, 257), (np.float32, 1 / 255)])
@pytest.mark.parametrize("bands", [1, 3])
def test_alpha_of_other_tiffs_is_the_mask(dtype: type, factor: float, bands: int) -> None:
    values = (np.dstack([SCENE[..., :bands], DISC]) * np.float64(factor)).astype(dtype)
    kind = "rgb" if bands == 3 else "minisblack"
    blob = save_tiff(values, photometric=kind, planarconfig="contig", extrasamples=["unassalpha"])
    read = read_photo(blob)
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, DISC)


def test_a_grey_value_that_is_transparent_is_outside_the_mask() -> None:
    values = np.where(DISC > 0, SCENE[..., 0].astype(np.uint16) * 200 + 9, 7)
    image = Image.fromarray(values.astype(np.uint16))
    blob = insert_chunk(save(image, "PNG"), b"tRNS", (7).to_bytes(2, "big"))
    read = read_photo(blob)
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, DISC)


def test_a_band_without_a_meaning_is_named() -> None:
    four = np.dstack([SCENE, SCENE[..., 1]])
    read = read_photo(save_tiff(four, photometric="rgb", extrasamples=["unspecified"]))
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert read.notes == ("band 4 of 4 is not used",)


def test_a_grey_object_is_shown_on_white() -> None:
    grey = np.dstack([np.full((HEIGHT, WIDTH, 3), 127, np.uint8), DISC])
    read = read_photo(save(Image.fromarray(grey), "PNG"))
    assert read.pixels[0, 0, 0] == 255
    assert read.pixels[32, 48, 0] == 127
    assert read.notes == ("alpha used as the object's mask, shown on grey 255",)


def test_a_recipe_can_ignore_alpha() -> None:
    read = read_photo(save(CUT_OUT, "PNG"), alpha="ignore")
    np.testing.assert_array_equal(read.pixels, SCENE)
    assert read.notes == ("alpha not used (ingest.alpha)",)


def test_scaling_does_not_mix_colours_with_a_band() -> None:
    band = np.where(draw_disc() > 0, 200, 40).astype(np.uint8)
    image = Image.fromarray(np.dstack([SCENE, band])).resize((2 * WIDTH, 2 * HEIGHT), 0)
    read = read_photo(save(image, "PNG"), max_side=WIDTH)
    assert np.abs(read.pixels.astype(int) - SCENE).mean() < 2


def test_soft_edges_are_still_a_mask() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    soft = np.clip(255 * (30 - np.hypot(x - 48, y - 32)) / 8, 0, 255).astype(np.uint8)
    assert judge_alpha(soft, "mask").is_mask

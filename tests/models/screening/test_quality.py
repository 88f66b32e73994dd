"""Known images give known measures; hashes survive scaling, recompression and brightness."""

import cv2
import numpy as np
import pytest

from models.screening.quality import dhash, dhash_mirrored, hamming, measure


def rng(seed=0):
    return np.random.default_rng(seed)


def picture(seed=0, size=(160, 200)):
    """Smooth random blobs with an object in the middle."""
    small = rng(seed).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    pixels = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
    matte = np.zeros(size[::-1], np.uint8)
    matte[60:120, 40:100] = 255
    return np.dstack([pixels, matte])


def test_numbers_of_a_known_picture():
    rgba = np.zeros((100, 200, 4), np.uint8)
    rgba[:, 100:, :3] = 255
    rgba[20:70, 30:130, 3] = 255
    found = measure(rgba)
    assert found.contrast == pytest.approx(0.5, abs=1e-3)
    assert found.object_fraction == pytest.approx(0.25)
    assert found.box == (30, 20, 100, 50)
    assert found.cut_fraction == 0.0
    assert found.components == 1
    assert len(found.dhash) == 64
    assert int(found.dhash, 16) == dhash(np.ascontiguousarray(rgba[..., :3]))


def test_a_blank_image_without_object():
    found = measure(np.full((64, 48, 4), (90, 90, 90, 0), np.uint8))
    assert (found.contrast, found.sharpness, found.object_fraction) == (0.0, 0.0, 0.0)
    assert (found.box, found.components, found.cut_fraction) == (None, 0, 0.0)


def test_a_cut_object_has_part_of_its_outline_on_the_border():
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[25:75, 0:50, 3] = 255
    assert measure(rgba).cut_fraction == pytest.approx(0.25, abs=0.01)
    rgba[..., 3] = 255
    assert measure(rgba).cut_fraction == 1.0


def test_sharpness_falls_with_blur_and_not_with_size():
    rgba = picture()
    rgba[60:120, 40:100, :3] = rng(3).integers(0, 256, (15, 15, 3)).repeat(4, 0).repeat(4, 1)
    blurred = rgba.copy()
    blurred[..., :3] = cv2.GaussianBlur(rgba[..., :3], (0, 0), 3)
    assert measure(blurred).sharpness < 0.4 * measure(rgba).sharpness
    large = cv2.resize(rgba, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    assert measure(large).sharpness == pytest.approx(measure(rgba).sharpness, rel=0.35)


@pytest.mark.parametrize("scale", [1, 4])
def test_specks_are_not_counted_as_parts(scale):
    rgba = np.zeros((200 * scale, 200 * scale, 4), np.uint8)
    for x in (20, 120):
        rgba[40 * scale : 100 * scale, x * scale : (x + 50) * scale, 3] = 255
    rgba[150 * scale : 152 * scale, 90 * scale : 92 * scale, 3] = 255
    assert measure(rgba).components == 2
    rgba[150 * scale : 170 * scale, 20 * scale : 32 * scale, 3] = 255
    assert measure(rgba).components == 3


def test_the_box_encloses_all_of_the_object():
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[5, 7, 3] = rgba[30, 50, 3] = 255
    assert measure(rgba).box == (7, 5, 44, 26)


def test_an_image_without_alpha_has_no_figures_of_an_object():
    rgba = picture()
    rgba[..., 3] = 255
    rgb = np.ascontiguousarray(rgba[..., :3])
    found, whole = measure(rgb), measure(rgba)
    assert (found.contrast, found.sharpness, found.dhash) == (
        whole.contrast,
        whole.sharpness,
        whole.dhash,
    )
    assert (found.object_fraction, found.cut_fraction) == (None, None)
    assert (found.box, found.components) == (None, None)


@pytest.mark.parametrize("size", [(160, 200), (768, 1024)])
def test_hashes_survive_scaling_recompression_and_brightness(size):
    rgb = np.ascontiguousarray(picture(4, size)[..., :3])
    code = dhash(rgb)
    _, blob = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 60])
    brighter = np.clip(rgb.astype(int) * 0.8 + 20, 0, 255).astype(np.uint8)
    smaller = cv2.resize(rgb, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    for copy in (cv2.imdecode(blob, cv2.IMREAD_COLOR), brighter, smaller):
        assert hamming(code, dhash(copy)) <= 10
    assert hamming(code, dhash(np.ascontiguousarray(picture(5, size)[..., :3]))) > 60


def test_a_mirror_image_has_the_mirrored_hash():
    rgb = np.ascontiguousarray(picture(6)[..., :3])
    assert dhash_mirrored(rgb) == dhash(np.ascontiguousarray(rgb[:, ::-1]))
    assert hamming(dhash(rgb), dhash_mirrored(rgb)) > 60


def test_the_bits_of_a_hash_run_row_by_row():
    ramp = np.tile(np.arange(0, 255, 5, dtype=np.uint8)[None, :51, None], (48, 1, 3))
    assert dhash(ramp, 4) == 2**16 - 1
    assert dhash(np.ascontiguousarray(ramp[:, ::-1]), 4) == 0
    both = np.vstack([ramp, ramp[:, ::-1]])
    assert dhash(both, 4) == 0xFF00

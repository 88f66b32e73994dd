"""Crops lie in their scene, and pasting changes the masked pixels alone."""

import numpy as np
import pytest

from models.data.pixels import Bools
from models.diffusion.ddpm.repaint.crop import Crop, crop_around, cut, cut_mask, fill_box, paste


def mask_of(height: int, width: int, rows: slice, columns: slice) -> Bools:
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = True
    return mask


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        # Centred, at the model's size.
        (slice(40, 48), slice(60, 70), Crop(49, 28, 32)),
        # Twice the box.
        (slice(40, 64), slice(50, 80), Crop(35, 22, 60)),
        # Moved into the scene.
        (slice(0, 8), slice(112, 120), Crop(88, 0, 32)),
        # No larger than the scene's shorter side.
        (slice(0, 90), slice(0, 60), Crop(0, 0, 100)),
    ],
)
def test_a_crop_lies_around_its_mask(rows: slice, columns: slice, expected: Crop) -> None:
    mask = mask_of(100, 120, rows, columns)
    crop = crop_around(mask, 32, 2.0)
    assert crop == expected
    assert mask[crop.slices].shape == (crop.side, crop.side)
    assert mask[crop.slices].sum() == mask.sum()


def test_masks_that_no_crop_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="its box is 61 px long, and the scene 80x50"):
        crop_around(mask_of(50, 80, slice(0, 5), slice(0, 61)), 32, 1.0)
    with pytest.raises(ValueError, match="nothing is to be painted"):
        crop_around(np.zeros((50, 80), bool), 32, 1.0)


@pytest.mark.parametrize("side", [16, 32, 48])
def test_known_pixels_are_equal_to_the_bit(side: int) -> None:
    rng = np.random.default_rng(side)
    scene = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    mask = mask_of(64, 80, slice(20, 27), slice(30, 41))
    mask[22, 33] = False
    crop = Crop(28, 15, side)
    size = 32
    assert cut(scene, crop, size).shape == (size, size, 3)
    small = cut_mask(mask, crop, size)
    assert small.shape == (size, size)
    assert small.any()
    painted = np.full((size, size, 3), 7, np.uint8)
    result = paste(scene, painted, mask, crop)
    assert (result[mask] == 7).all()
    np.testing.assert_array_equal(result[~mask], scene[~mask])
    assert not (scene[mask] == 7).all()


def test_every_pixel_that_touches_the_mask_is_painted() -> None:
    mask = mask_of(64, 64, slice(33, 34), slice(1, 63))
    small = cut_mask(mask, Crop(0, 0, 64), 16)
    assert small.sum() == 16
    assert small[8].all()


def test_the_box_of_a_mask() -> None:
    mask = np.eye(5, dtype=bool)
    mask[4, 4] = mask[0, 0] = False
    assert fill_box(mask).sum() == 9
    assert fill_box(mask)[1:4, 1:4].all()
    assert not fill_box(np.zeros((3, 3), bool)).any()

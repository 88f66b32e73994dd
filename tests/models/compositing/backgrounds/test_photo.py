"""Backgrounds cut from photos: shape, horizon and light."""

import numpy as np
import pytest

from models.compositing.backgrounds.photo import background_from_photo


def rng(seed=0):
    return np.random.default_rng(seed)


def photo(height=90, width=140):
    pixels = np.full((height, width, 3), (120, 160, 220), np.uint8)
    pixels[height // 2 :] = (90, 110, 60)
    noise = rng(0).integers(-8, 9, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (300, 200), (50, 50)])
def test_a_photo_covers_the_background_without_distortion(size):
    background = background_from_photo(photo(), size, rng(2))
    assert background.pixels.shape == (size[1], size[0], 3)
    assert background.pixels[:3].mean((0, 1))[2] > 150, "the sky stays above"


def test_the_horizon_of_a_photo_is_where_ground_and_sky_meet():
    background = background_from_photo(photo(), (140, 90), rng(1))
    rows = background.pixels.astype(float).mean(1)
    assert np.argmax(np.abs(np.diff(rows[:, 2]))) / 90 == pytest.approx(
        background.horizon, abs=0.04
    )


def test_a_uniform_photo_is_a_surface_seen_from_above():
    uniform = rng(0).integers(100, 140, (90, 140, 3)).astype(np.uint8)
    assert background_from_photo(uniform, (60, 80), rng(1)).horizon == 0.0


def test_the_light_comes_from_the_bright_side_of_a_photo_that_may_be_mirrored():
    ramp = np.tile(np.linspace(40, 220, 140)[None, :, None], (90, 1, 3)).astype(np.uint8)
    sides = set()
    for seed in range(8):
        background = background_from_photo(ramp, (60, 60), rng(seed))
        brighter_right = background.pixels[:, 30:].mean() > background.pixels[:, :30].mean()
        assert (background.light[0] > 0) == brighter_right
        sides.add(bool(brighter_right))
    assert sides == {True, False}


def test_rejects_a_grey_image():
    with pytest.raises(ValueError, match="give an RGB photo"):
        background_from_photo(np.zeros((40, 40), np.uint8), (120, 160), rng())

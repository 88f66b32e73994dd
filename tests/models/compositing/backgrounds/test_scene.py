"""Plates: every scene draws, the seed decides, prompts find scenes, photos keep their shape."""

import numpy as np
import pytest

from models.compositing.backgrounds.noise import SIDE, grain, octave_noise
from models.compositing.backgrounds.scene import (
    SCENES,
    plate_from_photo,
    procedural_plate,
    scene_from_prompt,
)
from models.compositing.backgrounds.surfaces import SURFACES

SIZE = (120, 160)


def rng(seed=0):
    return np.random.default_rng(seed)


def plate(scene, seed=0):
    return procedural_plate(scene, SIZE, rng(seed))


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_drawn_at_its_size_and_is_no_blank(scene):
    drawn = plate(scene, seed=5)
    assert drawn.pixels.shape == (160, 120, 3)
    assert drawn.pixels.dtype == np.uint8
    assert 0.0 <= drawn.horizon < 0.75
    assert -1 <= drawn.light[0] <= 1
    assert 0 <= drawn.light[1] <= 1
    assert 15 < drawn.pixels.mean() < 245
    assert drawn.pixels.std() > 1.5


def test_same_seed_same_bytes_and_another_seed_another_plate():
    first, again, other = (plate("on grass", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert (first.horizon, first.light) == (again.horizon, again.light)
    assert np.abs(first.pixels.astype(int) - other.pixels).mean() > 5


def test_scenes_have_both_views_from_above_and_views_with_a_horizon():
    horizons = [plate("on a wooden table", seed).horizon for seed in range(12)]
    assert any(horizon == 0 for horizon in horizons)
    assert any(horizon > 0.15 for horizon in horizons)
    assert all(plate("against a brick wall", seed).horizon > 0.4 for seed in range(3))


def test_scenes_differ_in_colour():
    greens = [plate("on grass", seed).pixels[100:].mean((0, 1)) for seed in range(3)]
    assert all(green[1] > green[2] for green in greens)
    means = {scene: plate(scene, 3).pixels.mean((0, 1)) for scene in SCENES}
    spread = np.std(list(means.values()), axis=0)
    assert (spread > 10).all()


@pytest.mark.parametrize("name", SURFACES)
def test_a_surface_tiles(name):
    surface = SURFACES[name](rng(4))
    assert surface.albedo.shape == (SIDE, SIDE, 3)
    assert surface.relief.shape == (SIDE, SIDE)
    assert surface.albedo.min() >= 0
    assert surface.albedo.max() <= 1
    for axis in (0, 1):
        steps = np.abs(np.diff(surface.albedo, axis=axis)).mean((1 - axis, 2))
        ends = surface.albedo.take([-1, 0], axis=axis)
        step = np.abs(np.diff(ends, axis=axis)).mean()
        # A row between boards steps more than the mean row; none may step more than all of them.
        assert step <= 1.5 * steps.max() + 1e-3


def test_noise_is_normalised_and_tiles():
    for noise in (octave_noise(rng(1), 4), grain(rng(1), 2.0)):
        assert abs(float(noise.mean())) < 1e-2
        assert float(noise.std()) == pytest.approx(1.0, abs=1e-2)
        inner = np.abs(np.diff(noise, axis=0)).mean()
        assert np.abs(noise[0] - noise[-1]).mean() < 2 * inner


@pytest.mark.parametrize(
    ("prompt", "scene"),
    [
        ("a photo of a kiwi on grass", "on grass"),
        ("a red shoe lying on the lawn", "on grass"),
        ("A Wooden Toy ON GRASS", "on grass"),
        ("a wooden spoon in the sand", "on sand"),
        ("a cup, brick behind it", "against a brick wall"),
        ("an apple on a marble floor", "on a marble floor"),
        ("shoes on the street", "on asphalt"),
    ],
)
def test_a_prompt_finds_its_scene(prompt, scene):
    assert scene_from_prompt(prompt, rng()) == scene


def test_a_prompt_without_a_scene_draws_one_by_the_generator():
    # "brickwork" and "sandal" are no words of a scene.
    drawn = {scene_from_prompt("a brickwork sandal", rng(seed)) for seed in range(40)}
    assert drawn <= set(SCENES)
    assert len(drawn) > 5
    assert scene_from_prompt("a cup", rng(3)) == scene_from_prompt("a cup", rng(3))


def photo(height=90, width=140):
    pixels = np.full((height, width, 3), (120, 160, 220), np.uint8)
    pixels[height // 2 :] = (90, 110, 60)
    noise = rng(0).integers(-8, 9, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (300, 200), (50, 50)])
def test_a_photo_covers_the_plate_without_distortion(size):
    drawn = plate_from_photo(photo(), size, rng(2))
    assert drawn.pixels.shape == (size[1], size[0], 3)
    assert drawn.pixels[:3].mean((0, 1))[2] > 150, "the sky stays above"


def test_the_horizon_of_a_photo_is_where_ground_and_sky_meet():
    drawn = plate_from_photo(photo(), (140, 90), rng(1))
    rows = drawn.pixels.astype(float).mean(1)
    assert np.argmax(np.abs(np.diff(rows[:, 2]))) / 90 == pytest.approx(drawn.horizon, abs=0.04)


def test_an_even_photo_is_a_surface_seen_from_above():
    even = rng(0).integers(100, 140, (90, 140, 3)).astype(np.uint8)
    assert plate_from_photo(even, (60, 80), rng(1)).horizon == 0.0


def test_a_photo_is_lit_from_its_bright_side_and_may_be_mirrored():
    ramp = np.tile(np.linspace(40, 220, 140)[None, :, None], (90, 1, 3)).astype(np.uint8)
    sides = set()
    for seed in range(8):
        drawn = plate_from_photo(ramp, (60, 60), rng(seed))
        brighter_right = drawn.pixels[:, 30:].mean() > drawn.pixels[:, :30].mean()
        assert (drawn.light[0] > 0) == brighter_right
        sides.add(bool(brighter_right))
    assert sides == {True, False}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"'on the moon' is unknown.*on grass"):
        procedural_plate("on the moon", SIZE, rng())
    with pytest.raises(ValueError, match="8 x 160 px is too small"):
        procedural_plate("on grass", (8, 160), rng())
    with pytest.raises(ValueError, match="no RGB photo"):
        plate_from_photo(np.zeros((40, 40), np.uint8), SIZE, rng())

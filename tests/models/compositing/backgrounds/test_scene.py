"""Procedural backgrounds: every scene renders, the seed decides, prompts name scenes."""

import numpy as np
import pytest

from models.compositing.backgrounds.noise import SIDE, grain, octave_noise
from models.compositing.backgrounds.scene import (
    SCENES,
    procedural_background,
    scene_from_prompt,
)
from models.compositing.backgrounds.surfaces import SURFACES

SIZE = (120, 160)


def rng(seed=0):
    return np.random.default_rng(seed)


def background(scene, seed=0):
    return procedural_background(scene, SIZE, rng(seed))


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_has_its_size_and_is_not_blank(scene):
    rendered = background(scene, seed=5)
    assert rendered.pixels.shape == (160, 120, 3)
    assert rendered.pixels.dtype == np.uint8
    assert 0.0 <= rendered.horizon < 0.75
    assert -1 <= rendered.light[0] <= 1
    assert 0 <= rendered.light[1] <= 1
    assert 15 < rendered.pixels.mean() < 245
    assert rendered.pixels.std() > 1.5


def test_same_seed_same_bytes_and_another_seed_another_background():
    first, again, other = (background("on grass", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert (first.horizon, first.light) == (again.horizon, again.light)
    assert np.abs(first.pixels.astype(int) - other.pixels).mean() > 5


def test_scenes_have_top_views_and_views_with_a_horizon():
    horizons = [background("on a wooden table", seed).horizon for seed in range(12)]
    assert any(horizon == 0 for horizon in horizons)
    assert any(horizon > 0.15 for horizon in horizons)
    assert all(background("against a brick wall", seed).horizon > 0.4 for seed in range(3))


def test_scenes_differ_in_colour():
    greens = [background("on grass", seed).pixels[100:].mean((0, 1)) for seed in range(3)]
    assert all(green[1] > green[2] for green in greens)
    means = {scene: background(scene, 3).pixels.mean((0, 1)) for scene in SCENES}
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
        # The step across the border may be as large as the one between two boards, but not larger.
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
def test_finds_the_scene_that_a_prompt_names(prompt, scene):
    assert scene_from_prompt(prompt, rng()) == scene


def test_a_prompt_without_a_scene_gets_a_random_one():
    # "brickwork" and "sandal" only contain words of scenes.
    rendered = {scene_from_prompt("a brickwork sandal", rng(seed)) for seed in range(40)}
    assert rendered <= set(SCENES)
    assert len(rendered) > 5
    assert scene_from_prompt("a cup", rng(3)) == scene_from_prompt("a cup", rng(3))


def test_rejects_unknown_scenes():
    with pytest.raises(ValueError, match=r"'on the moon' is unknown.*on grass"):
        procedural_background("on the moon", SIZE, rng())

"""Composites: alpha fits the object, no old background shows, hue stays, shadows are plausible."""

import cv2
import numpy as np
import pytest

from models.compositing.backgrounds.scene import Background
from models.compositing.composite import composite
from models.compositing.settings import CompositeSettings

SIZE = (180, 240)
RED = (200, 40, 30)


def rng(seed=0):
    return np.random.default_rng(seed)


def ball(side=100, colour=RED, background=(20, 220, 40)):
    """A disc on a green background. Its alpha is a px too wide, as estimated alphas often are."""
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[..., :3] = background
    centre = (side // 2, side // 2)
    cv2.circle(rgba, centre, side // 3, (*colour, 0), -1)
    alpha = np.zeros((side, side), np.uint8)
    cv2.circle(alpha, centre, side // 3 + 1, 255, -1)
    rgba[..., 3] = alpha
    return rgba


def flat(colour=(128, 128, 128), horizon=0.0, light=(-0.6, 0.6)):
    pixels = np.full((SIZE[1], SIZE[0], 3), colour, np.uint8)
    return Background(pixels, horizon, light)


def box_of(rgba):
    return cv2.boundingRect((rgba[..., 3] > 127).astype(np.uint8))


@pytest.mark.parametrize("horizon", [0.0, 0.4])
def test_the_object_has_the_configured_size_and_is_inside_the_margins(horizon):
    settings = CompositeSettings(smallest=0.4, largest=0.6, margin=0.1)
    for seed in range(6):
        scene = composite(ball(), flat(horizon=horizon), SIZE, rng(seed), settings=settings)
        assert scene.shape == (240, 180, 4)
        x, y, width, height = box_of(scene)
        assert x >= 0.1 * 180 - 2
        assert x + width <= 0.9 * 180 + 2
        assert y >= 0.1 * 240 - 2
        assert y + height <= 0.9 * 240 + 2
        assert 0.4 * 180 - 8 <= max(width, height) <= 0.6 * 180 + 2


def test_a_standing_object_has_its_foot_on_the_ground():
    for seed in range(8):
        _, y, _, height = box_of(composite(ball(), flat(horizon=0.45), SIZE, rng(seed)))
        assert y + height > 0.6 * 240


def test_the_alpha_covers_the_object():
    scene = composite(ball(), flat(), SIZE, rng(3)).astype(int)
    inside = cv2.erode((scene[..., 3] > 250).astype(np.uint8), np.ones((5, 5))) > 0
    outside = cv2.dilate((scene[..., 3] > 0).astype(np.uint8), np.ones((3, 3))) == 0
    redness = scene[..., 0] - scene[..., 1]
    assert redness[inside].min() > 80
    assert np.abs(redness[outside]).max() < 25


@pytest.mark.parametrize("scale", [60, 100, 400])
def test_the_edge_shows_nothing_of_the_old_background(scale):
    scene = composite(ball(scale), flat((120, 120, 120)), SIZE, rng(1)).astype(int)
    greenness = scene[..., 1] - np.maximum(scene[..., 0], scene[..., 2])
    assert greenness.max() < 12


def test_the_edge_has_no_dark_rim():
    bright = (220, 215, 210)
    settings = CompositeSettings(shadow=0, colour_matching=0)
    scene = composite(ball(colour=(225, 120, 110)), flat(bright), SIZE, rng(1), settings=settings)
    edge = (scene[..., 3] > 20) & (scene[..., 3] < 235)
    assert edge.sum() > 50
    assert scene[..., 0][edge].min() > 195


@pytest.mark.parametrize("colour", [RED, (150, 122, 112)])
@pytest.mark.parametrize("ground", [(40, 60, 160), (60, 140, 60), (240, 240, 240), (20, 20, 25)])
def test_matched_colours_keep_their_hue_and_most_of_their_chroma(ground, colour):
    none, full = CompositeSettings(colour_matching=0), CompositeSettings(colour_matching=1)
    before, after = (
        composite(ball(colour=colour), flat(ground), SIZE, rng(2), settings=settings)
        for settings in (none, full)
    )
    solid = (before[..., 3] > 250) & (after[..., 3] > 250)
    labs = [
        cv2.cvtColor(image[..., :3].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[solid].mean(0)
        for image in (before, after)
    ]
    assert 0.5 < np.linalg.norm(labs[1] - labs[0]) < 20
    hues = [np.degrees(np.arctan2(lab[2], lab[1])) for lab in labs]
    assert abs(hues[1] - hues[0]) < 8
    assert np.hypot(*labs[1][1:]) > 0.8 * np.hypot(*labs[0][1:])


def test_lightness_moves_towards_the_scene():
    means = []
    for ground in ((25, 25, 25), (235, 235, 235)):
        scene = composite(ball(colour=(128, 120, 120)), flat(ground), SIZE, rng(2))
        means.append(scene[..., :3][scene[..., 3] > 250].mean())
    assert means[1] - means[0] > 6


def shadow_of(horizon, light, seed=4):
    background = flat((170, 170, 170), horizon, light)
    bare = CompositeSettings(shadow=0)
    with_shadow = composite(
        ball(), background, SIZE, rng(seed), settings=CompositeSettings(shadow=0.8)
    )
    without = composite(ball(), background, SIZE, rng(seed), settings=bare)
    np.testing.assert_array_equal(with_shadow[..., 3], without[..., 3])
    dark = without[..., :3].mean(2) - with_shadow[..., :3].mean(2)
    dark[with_shadow[..., 3] > 0] = 0
    return dark, box_of(with_shadow)


@pytest.mark.parametrize("horizon", [0.0, 0.4])
def test_the_shadow_falls_away_from_the_light(horizon):
    for light, sign in (((-0.9, 0.4), 1), ((0.9, 0.4), -1)):
        dark, (x, _, width, _) = shadow_of(horizon, light)
        assert dark.max() > 25
        centre = (dark.sum(0) * np.arange(180)).sum() / dark.sum()
        assert sign * (centre - (x + width / 2)) > 0.02 * width


def test_the_shadow_is_darkest_at_the_foot_and_never_far_away():
    dark, (x, y, width, height) = shadow_of(0.4, (-0.4, 0.7))
    row, column = np.unravel_index(np.argmax(dark), dark.shape)
    assert y + 0.75 * height < row < y + 1.15 * height
    assert x - 0.2 * width < column < x + 1.2 * width
    assert dark[: int(y - 0.1 * height)].max() < 2
    assert (dark >= -1).all()


def test_a_foot_that_is_farther_away_touches_the_ground():
    """A table's hind leg ends higher in the image; only depth shows that it touches the ground."""
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[..., :3] = (120, 80, 50)
    rgba[10:60, 10:90, 3] = 255
    rgba[60:98, 14:24, 3] = 255
    rgba[60:78, 70:80, 3] = 255
    depth = np.full((100, 100), 0.9, np.float32)
    depth[:, 60:] = 0.3
    background = flat((190, 190, 190), 0.3, (0.0, 0.9))
    settings = CompositeSettings(smallest=0.6, largest=0.6, colour_matching=0)
    under = {}
    for name, values in (("without", None), ("with", depth)):
        scene = composite(rgba, background, SIZE, rng(2), depth=values, settings=settings)
        x, y, width, height = box_of(scene)
        foot = scene[
            y + int(0.79 * height) : y + int(0.84 * height),
            x + int(0.72 * width) : x + int(0.9 * width), :3,
        ]  # fmt: skip
        under[name] = foot.mean()
    assert under["with"] < under["without"] - 4


def test_depth_darkens_the_side_that_faces_away_from_the_light():
    ys, xs = np.indices((100, 100), dtype=np.float32)
    bulge = np.sqrt(np.clip(1 - ((xs - 50) ** 2 + (ys - 50) ** 2) / 34**2, 0, 1))
    background = flat((128, 128, 128), 0.0, (-0.9, 0.6))
    settings = CompositeSettings(max_rotation=0, colour_matching=0, shadow=0)
    scene = composite(
        ball(), background, SIZE, rng(1), depth=bulge.astype(np.float32), settings=settings
    )
    x, y, width, height = box_of(scene)
    middle = slice(y + height // 3, y + 2 * height // 3)
    left = scene[middle, x + width // 8 : x + width // 3, 0].mean()
    right = scene[middle, x + 2 * width // 3 : x + 7 * width // 8, 0].mean()
    assert left > right + 3


def test_the_scene_far_from_the_object_is_the_background():
    pixels = np.zeros((240, 180, 3), np.uint8)
    pixels[...] = np.linspace(60, 200, 240)[:, None, None]
    scene = composite(ball(), Background(pixels, 0.0), SIZE, rng(0))
    far = cv2.dilate((scene[..., 3] > 0).astype(np.uint8), np.ones((91, 91))) == 0
    assert far.any()
    np.testing.assert_allclose(scene[..., :3][far].astype(int), pixels[far], atol=2)


def test_a_background_of_another_size_is_cropped_and_scaled():
    small = Background(np.full((60, 90, 3), 140, np.uint8), 0.0)
    assert composite(ball(), small, SIZE, rng()).shape == (240, 180, 4)


def test_the_same_seed_gives_the_same_bytes():
    first, again = (composite(ball(), flat(horizon=0.4), SIZE, rng(9)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (composite(ball(), flat(horizon=0.4), SIZE, rng(8)) != first).any()


def test_does_not_change_its_inputs():
    rgba, background = ball(), flat()
    copies = rgba.copy(), background.pixels.copy()
    composite(rgba, background, SIZE, rng())
    np.testing.assert_array_equal(rgba, copies[0])
    np.testing.assert_array_equal(background.pixels, copies[1])


def test_rejects_objects_without_alpha_and_depth_of_another_size():
    empty = ball()
    empty[..., 3] = 0
    with pytest.raises(ValueError, match="alpha is empty"):
        composite(empty, flat(), SIZE, rng())
    with pytest.raises(ValueError, match="no RGBA image"):
        composite(ball()[..., :3], flat(), SIZE, rng())
    with pytest.raises(ValueError, match="depth of shape"):
        composite(ball(), flat(), SIZE, rng(), depth=np.zeros((5, 5), np.float32))

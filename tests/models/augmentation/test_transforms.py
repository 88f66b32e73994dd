"""Augmentation: size, alignment of alpha and colours, whole objects, and seeds."""

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.transforms.v2 import functional as transforms

from models.augmentation.settings import AugmentRanges
from models.augmentation.transforms import GREY, _draw_motion, _keep_inside, augment_image

UNCHANGED = AugmentRanges.model_validate(dict.fromkeys(AugmentRanges.model_fields, 0))
MOVED = UNCHANGED.model_copy(
    update={"flip": 0.5, "rotate": 25, "scale": 0.3, "shear": 15, "perspective": 0.15}
)


def rng(seed=0):
    return np.random.default_rng(seed)


def draw_object(axes=(30, 44), centre=(60, 70), size=(120, 160)):
    """Return a two-coloured ellipse on grey, whose colours show where alpha must be."""
    rgba = np.full((size[1], size[0], 4), GREY, np.uint8)
    rgba[..., 3] = 0
    cv2.ellipse(rgba, centre, axes, 20, 0, 360, (210, 60, 50, 255), -1)
    cv2.ellipse(rgba, centre, axes, 20, 0, 90, (40, 70, 200, 255), -1)
    return rgba


@pytest.mark.parametrize("channels", [3, 4])
def test_changes_nothing_if_all_ranges_are_zero(channels):
    image = rng(1).integers(0, 256, (50, 70, channels)).astype(np.uint8)
    np.testing.assert_array_equal(augment_image(image, UNCHANGED, rng()), image)


@pytest.mark.parametrize("seed", range(6))
def test_keeps_size_and_dtype_and_moves_alpha_with_the_colours(seed):
    moved = augment_image(draw_object(), MOVED, rng(seed))
    assert moved.shape == (160, 120, 4)
    assert moved.dtype == np.uint8
    is_coloured = np.ptp(moved[..., :3].astype(int), axis=2) > 60
    is_opaque = moved[..., 3] > 127
    assert (is_coloured & is_opaque).sum() / (is_coloured | is_opaque).sum() > 0.95


@pytest.mark.parametrize("seed", range(12))
def test_a_whole_object_stays_whole(seed):
    """This holds even for an object that nearly fills the canvas."""
    moved = augment_image(draw_object(axes=(50, 74), centre=(60, 80)), MOVED, rng(seed))
    alpha = moved[..., 3]
    assert not alpha[[0, -1]].any()
    assert not alpha[:, [0, -1]].any()
    assert (alpha > 127).mean() > 0.2


def test_fills_new_areas_with_grey():
    image = np.full((80, 80, 3), 255, np.uint8)
    moved = augment_image(image, UNCHANGED.model_copy(update={"rotate": 40.0}), rng(3))
    corners = moved[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    assert np.abs(corners - GREY).max() <= 1


def test_colour_changes_keep_alpha_and_the_main_colour():
    colours = AugmentRanges(flip=0, rotate=0, scale=0, shear=0, perspective=0)
    image = draw_object()
    for seed in range(6):
        changed = augment_image(image, colours, rng(seed))
        np.testing.assert_array_equal(changed[..., 3], image[..., 3])
        assert (changed[..., :3] != image[..., :3]).any()
        red = changed[40:60, 55:65, :3].astype(int).mean((0, 1))
        assert red[0] > red[1] + 40
        assert red[0] > red[2] + 40


def test_flip_gives_the_mirror_image():
    image = draw_object()
    always = UNCHANGED.model_copy(update={"flip": 1.0})
    np.testing.assert_array_equal(augment_image(image, always, rng()), image[:, ::-1])


def test_contrast_keeps_the_mean():
    image = rng(2).integers(60, 200, (60, 60, 3)).astype(np.uint8)
    ranges = UNCHANGED.model_copy(update={"contrast": 0.5})
    is_stronger = set()
    for seed in range(4):
        changed = augment_image(image, ranges, rng(seed))
        assert abs(changed.mean() - image.mean()) < 3
        is_stronger.add(changed.std() > image.std())
    assert is_stronger == {True, False}


def test_blur_smooths_and_noise_roughens():
    image = rng(2).integers(0, 256, (320, 240, 3)).astype(np.uint8)
    blurred = augment_image(image, UNCHANGED.model_copy(update={"blur": 5.0}), rng(1))
    assert blurred.std() < 0.7 * image.std()
    uniform = np.full((60, 60, 3), 128, np.uint8)
    noisy = augment_image(uniform, UNCHANGED.model_copy(update={"noise": 20.0}), rng(1))
    assert 0.5 < noisy.astype(float).std() < 20


def test_depends_on_the_seed_and_not_on_threads():
    image = draw_object()
    threads = cv2.getNumThreads()
    results = []
    try:
        for count in (1, 2):
            cv2.setNumThreads(count)
            results.append(augment_image(image, AugmentRanges(), rng(7)))
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(*results)
    assert (augment_image(image, AugmentRanges(), rng(8)) != results[0]).any()


@pytest.mark.parametrize("seed", range(4))
def test_colours_change_as_torchvision_changes_them(seed):
    image = cv2.GaussianBlur(rng(3).integers(0, 256, (60, 80, 3)).astype(np.uint8), (0, 0), 2)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    limits = {"brightness": 0.2, "contrast": 0.3, "saturation": 0.5, "hue": 0.4}
    changed = augment_image(image, UNCHANGED.model_copy(update=limits), rng(seed))
    draws = rng(seed)
    # Chance of a mirror image, rotation, shear, scale and corners are drawn first.
    draws.uniform(size=12)
    factors = {name: draws.uniform(-limit, limit) for name, limit in limits.items()}
    expected = torch.from_numpy(image).permute(2, 0, 1)
    expected = transforms.adjust_brightness(expected, 1 + factors["brightness"])
    expected = transforms.adjust_contrast(expected, 1 + factors["contrast"])
    expected = transforms.adjust_saturation(expected, 1 + factors["saturation"])
    expected = transforms.adjust_hue(expected, factors["hue"]).permute(1, 2, 0).numpy()
    difference = np.abs(changed.astype(int) - expected)
    # torchvision rounds down after each change.
    assert difference.max() <= 6
    assert difference.mean() < 2
    assert np.abs(expected.astype(int) - image).mean() > 8


def test_geometry_moves_px_as_torchvision_moves_them():
    image = cv2.GaussianBlur(draw_object(), (0, 0), 2)
    moved = augment_image(image, MOVED, rng(1))
    draws = rng(1)
    flipped = image[:, ::-1] if draws.uniform() < MOVED.flip else image
    matrix = _keep_inside(flipped[..., 3], _draw_motion((120, 160), MOVED, draws))
    back = np.linalg.inv(matrix)
    expected = transforms.perspective(
        torch.from_numpy(flipped.copy()).permute(2, 0, 1),
        startpoints=None,
        endpoints=None,
        fill=[GREY] * 3 + [0],
        coefficients=(back / back[2, 2]).ravel()[:8].tolist(),
    )
    difference = np.abs(moved.astype(int) - expected.permute(1, 2, 0).numpy())
    # Half a px to the side gives a mean of 0.46.
    assert difference.mean() < 0.2


def test_leaves_its_input_unchanged():
    image = draw_object()
    before = image.copy()
    augment_image(image, AugmentRanges(), rng(1))
    np.testing.assert_array_equal(image, before)


def test_names_bad_input():
    with pytest.raises(ValueError, match=r"shape \(40, 40\) can't be augmented"):
        augment_image(np.zeros((40, 40), np.uint8), UNCHANGED, rng())
    with pytest.raises(ValidationError, match="rotate"):
        AugmentRanges(rotate=-1)
    with pytest.raises(ValidationError, match="rotation"):
        AugmentRanges.model_validate({"rotation": 5})

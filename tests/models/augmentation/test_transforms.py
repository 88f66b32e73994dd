"""Augmentation: sizes stay, matte and colours move together, objects stay whole, seeds decide."""

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from models.augmentation.transforms import GREY, AugmentRanges, augment_image

STILL = AugmentRanges(
    flip=0, rotate=0, scale=0, shear=0, perspective=0, brightness=0, contrast=0, saturation=0,
    hue=0, blur=0, noise=0,
)  # fmt: skip
MOVES = STILL.model_copy(
    update={"flip": 0.5, "rotate": 25, "scale": 0.3, "shear": 15, "perspective": 0.15}
)


def rng(seed=0):
    return np.random.default_rng(seed)


def cut_out(axes=(30, 44), centre=(60, 70), size=(120, 160)):
    """A two-coloured ellipse on grey; its colours say exactly where the matte should be."""
    rgba = np.full((size[1], size[0], 4), GREY, np.uint8)
    rgba[..., 3] = 0
    cv2.ellipse(rgba, centre, axes, 20, 0, 360, (210, 60, 50, 255), -1)
    cv2.ellipse(rgba, centre, axes, 20, 0, 90, (40, 70, 200, 255), -1)
    return rgba


@pytest.mark.parametrize("channels", [3, 4])
def test_nothing_switched_on_changes_nothing(channels):
    image = rng(1).integers(0, 256, (50, 70, channels)).astype(np.uint8)
    np.testing.assert_array_equal(augment_image(image, STILL, rng()), image)


@pytest.mark.parametrize("seed", range(6))
def test_size_and_type_stay_and_matte_follows_colours(seed):
    moved = augment_image(cut_out(), MOVES, rng(seed))
    assert moved.shape == (160, 120, 4)
    assert moved.dtype == np.uint8
    coloured = np.ptp(moved[..., :3].astype(int), axis=2) > 60
    solid = moved[..., 3] > 127
    assert (coloured & solid).sum() / (coloured | solid).sum() > 0.95


@pytest.mark.parametrize("seed", range(12))
def test_an_object_that_was_whole_stays_whole(seed):
    """Even one that nearly fills the canvas; whatever turns, nothing is cut at the border."""
    moved = augment_image(cut_out(axes=(50, 74), centre=(60, 80)), MOVES, rng(seed))
    matte = moved[..., 3]
    assert not matte[[0, -1]].any()
    assert not matte[:, [0, -1]].any()
    assert (matte > 127).mean() > 0.2


def test_what_comes_into_view_is_grey():
    image = np.full((80, 80, 3), 255, np.uint8)
    moved = augment_image(image, STILL.model_copy(update={"rotate": 40.0}), rng(3))
    corners = moved[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    assert np.abs(corners - GREY).max() <= 1


def test_colour_changes_leave_the_matte_alone_and_keep_the_class_colour():
    colours = AugmentRanges(flip=0, rotate=0, scale=0, shear=0, perspective=0)
    image = cut_out()
    for seed in range(6):
        changed = augment_image(image, colours, rng(seed))
        np.testing.assert_array_equal(changed[..., 3], image[..., 3])
        assert (changed[..., :3] != image[..., :3]).any()
        red = changed[40:60, 55:65, :3].astype(int).mean((0, 1))
        assert red[0] > red[1] + 40
        assert red[0] > red[2] + 40


def test_flip_is_a_mirror_image():
    image = cut_out()
    always = STILL.model_copy(update={"flip": 1.0})
    np.testing.assert_array_equal(augment_image(image, always, rng()), image[:, ::-1])


def test_contrast_spreads_about_the_mean():
    image = rng(2).integers(60, 200, (60, 60, 3)).astype(np.uint8)
    only = STILL.model_copy(update={"contrast": 0.5})
    deviations = set()
    for seed in range(4):
        changed = augment_image(image, only, rng(seed))
        assert abs(changed.mean() - image.mean()) < 3
        deviations.add(changed.std() > image.std())
    assert deviations == {True, False}


def test_blur_and_noise_do_what_they_say():
    image = rng(2).integers(0, 256, (320, 240, 3)).astype(np.uint8)
    blurred = augment_image(image, STILL.model_copy(update={"blur": 5.0}), rng(1))
    assert blurred.std() < 0.7 * image.std()
    even = np.full((60, 60, 3), 128, np.uint8)
    noisy = augment_image(even, STILL.model_copy(update={"noise": 20.0}), rng(1))
    assert 0.5 < noisy.astype(float).std() < 20


def test_the_seed_decides_whatever_torch_has_drawn_and_however_many_threads_run():
    image = cut_out()
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(count)
            state = torch.get_rng_state()
            results.append(augment_image(image, AugmentRanges(), rng(7)))
            assert torch.equal(torch.get_rng_state(), state), "the shared generator is untouched"
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*results)
    assert (augment_image(image, AugmentRanges(), rng(8)) != results[0]).any()


def test_the_view_is_left_as_it_was():
    image = cut_out()
    before = image.copy()
    augment_image(image, AugmentRanges(), rng(1))
    np.testing.assert_array_equal(image, before)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"shape \(40, 40\) can't be augmented"):
        augment_image(np.zeros((40, 40), np.uint8), STILL, rng())
    with pytest.raises(ValidationError, match="rotate"):
        AugmentRanges(rotate=-1)
    with pytest.raises(ValidationError, match="rotation"):
        AugmentRanges.model_validate({"rotation": 5})

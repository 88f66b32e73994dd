"""Augmentation of train images repeats, and does what its ranges say."""

from typing import Any, get_args

import numpy as np
import pytest
import torch

from models.data.specs import Augmentation
from models.data.square import GREY
from models.training.classification.augment import augment
from models.training.policy_settings import PolicyRanges

# No change but flips.
STILL = PolicyRanges(
    brightness=0, contrast=0, saturation=0, hue=0, blur_min=0.01, blur_max=0.01, rotation=0
)


@pytest.mark.parametrize("name", get_args(Augmentation))
def test_augmentation_depends_on_its_generator_alone(name: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    before, state = pixels.copy(), torch.get_rng_state()
    first = [augment(pixels, name, np.random.default_rng(seed)) for seed in range(12)]
    torch.rand(3)
    second = [augment(pixels, name, np.random.default_rng(seed)) for seed in range(12)]
    torch.set_rng_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(image.shape == (40, 40, 3) and image.dtype == np.uint8 for image in first)
    assert np.array_equal(pixels, before)
    differing = {image.tobytes() for image in first}
    assert len(differing) == {"none": 1, "flip": 2}.get(name, len(differing))
    assert name in ("none", "flip") or len(differing) >= 6


def copies(pixels: Any, name: Any, ranges: PolicyRanges, count: int = 24) -> set[bytes]:
    return {
        augment(pixels, name, np.random.default_rng(seed), ranges).tobytes()
        for seed in range(count)
    }


def test_ranged_policies_flip_by_their_chance() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    mirrored, turned = pixels[:, ::-1].tobytes(), pixels[::-1].tobytes()
    assert copies(pixels, "custom", STILL) == {pixels.tobytes(), mirrored}
    both = {pixels.tobytes(), mirrored, turned, pixels[::-1, ::-1].tobytes()}
    assert copies(pixels, "rotate_blur_flip", STILL) == both
    never = STILL.model_copy(update={"flip": 0.0})
    assert copies(pixels, "rotate_blur_flip", never) == {pixels.tobytes()}


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "hue"])
def test_only_the_custom_policy_changes_colours(change: str) -> None:
    pixels = np.full((24, 24, 3), (200, 90, 40), np.uint8)
    pixels[:12] = (60, 90, 160)
    ranges = STILL.model_copy(update={"flip": 0.0, change: 0.3})
    assert len(copies(pixels, "custom", ranges)) > 12
    assert copies(pixels, "rotate_blur_flip", ranges) == {pixels.tobytes()}


def test_blur_and_rotation_have_ranges() -> None:
    pixels = np.zeros((25, 25, 3), np.uint8)
    pixels[12, 12] = 255
    blurred = STILL.model_copy(update={"blur_kernel": 5, "blur_min": 2.0, "blur_max": 2.0})
    spot = augment(pixels, "rotate_blur_flip", np.random.default_rng(0), blurred)
    assert np.count_nonzero(spot[..., 0]) == 25
    turned = STILL.model_copy(update={"rotation": 45.0})
    grey = augment(np.full((25, 25, 3), 255, np.uint8), "custom", np.random.default_rng(0), turned)
    assert grey[0, 0].tolist() == [GREY] * 3
    assert grey[12, 12].tolist() == [255] * 3

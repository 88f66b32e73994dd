"""Mending of masks: which holes close, which parts go, and that a good mask is left alone."""

import cv2
import numpy as np
import pytest

from models.segmentation.cleanup import clean_mask, mask_iou


@pytest.fixture
def mug() -> np.ndarray:
    """A soft-edged object with a large opening (a handle)."""
    mask = np.zeros((200, 240), np.float32)
    cv2.rectangle(mask, (50, 40), (150, 160), 1.0, -1)
    cv2.circle(mask, (160, 100), 35, 1.0, 12)
    return cv2.GaussianBlur(mask, (0, 0), 1.5)


def test_a_good_mask_keeps_its_pixels(mug: np.ndarray) -> None:
    mended = clean_mask(mug, fill_holes=0.01, keep_parts=0.2)
    assert np.abs(mended - mug).max() < 0.02


def test_small_holes_close_without_a_rim_and_openings_stay(mug: np.ndarray) -> None:
    hole = np.zeros_like(mug)
    cv2.circle(hole, (90, 90), 5, 1.0, -1)
    broken = mug * (1 - cv2.GaussianBlur(hole, (0, 0), 1.5))
    mended = clean_mask(broken, fill_holes=0.02, keep_parts=0.2)
    assert (mended[78:103, 78:103] > 0.99).all()
    assert np.abs(mended - mug).max() < 0.05
    assert mended[100, 165] < 0.1
    left = clean_mask(broken, fill_holes=0.0, keep_parts=0.2)
    assert left[90, 90] < 0.5


def test_crumbs_and_veils_go_and_the_second_shoe_stays() -> None:
    mask = np.zeros((120, 200), np.float32)
    cv2.ellipse(mask, (50, 60), (25, 40), 0, 0, 360, 1.0, -1)
    cv2.ellipse(mask, (120, 60), (25, 35), 0, 0, 360, 1.0, -1)
    pair = mask.copy()
    cv2.circle(mask, (180, 20), 6, 1.0, -1)
    mask[90:118, 170:198] = 0.3
    assert np.array_equal(clean_mask(mask, fill_holes=0, keep_parts=0.2), pair)
    alone = clean_mask(mask, fill_holes=0, keep_parts=1)
    assert alone[60, 50] == 1
    assert not alone[:, 100:].any()
    assert np.array_equal(clean_mask(mask, fill_holes=0, keep_parts=0), mask)


def test_an_empty_mask_is_left_alone() -> None:
    empty = np.full((9, 9), 0.2, np.float32)
    assert clean_mask(empty, fill_holes=0.5, keep_parts=1) is empty


def test_iou() -> None:
    one, other = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    assert mask_iou(one, other) == 0
    one[:2], other[1:3] = 1, 0.7
    assert mask_iou(one, other) == pytest.approx(1 / 3)

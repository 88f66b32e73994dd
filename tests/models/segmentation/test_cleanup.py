"""Cleaning of masks: which holes close, which parts go, and that a good mask stays."""

import cv2
import numpy as np
import pytest

from models.segmentation.cleanup import clean_mask
from models.segmentation.masks import mask_iou


@pytest.fixture
def mug() -> np.ndarray:
    """A soft-edged object with a large opening, as in a handle."""
    mask = np.zeros((200, 240), np.float32)
    cv2.rectangle(mask, (50, 40), (150, 160), 1.0, -1)
    cv2.circle(mask, (160, 100), 35, 1.0, 12)
    return cv2.GaussianBlur(mask, (0, 0), 1.5)


def test_a_good_mask_keeps_its_pixels(mug: np.ndarray) -> None:
    cleaned = clean_mask(mug, fill_holes=0.01, keep_parts=0.2)
    assert np.abs(cleaned - mug).max() < 0.02


def test_closes_small_holes_without_a_rim_and_keeps_openings(mug: np.ndarray) -> None:
    hole = np.zeros_like(mug)
    cv2.circle(hole, (90, 90), 5, 1.0, -1)
    broken = mug * (1 - cv2.GaussianBlur(hole, (0, 0), 1.5))
    cleaned = clean_mask(broken, fill_holes=0.02, keep_parts=0.2)
    assert (cleaned[78:103, 78:103] > 0.99).all()
    assert np.abs(cleaned - mug).max() < 0.05
    assert cleaned[100, 165] < 0.1
    unfilled = clean_mask(broken, fill_holes=0.0, keep_parts=0.2)
    assert unfilled[90, 90] < 0.5


def test_removes_small_parts_and_haze_and_keeps_the_second_shoe() -> None:
    mask = np.zeros((120, 200), np.float32)
    cv2.ellipse(mask, (50, 60), (25, 40), 0, 0, 360, 1.0, -1)
    cv2.ellipse(mask, (120, 60), (25, 35), 0, 0, 360, 1.0, -1)
    pair = mask.copy()
    cv2.circle(mask, (180, 20), 6, 1.0, -1)
    mask[90:118, 170:198] = 0.3
    assert np.array_equal(clean_mask(mask, fill_holes=0, keep_parts=0.2), pair)
    largest = clean_mask(mask, fill_holes=0, keep_parts=1)
    assert largest[60, 50] == 1
    assert not largest[:, 100:].any()
    assert np.array_equal(clean_mask(mask, fill_holes=0, keep_parts=0), mask)


def test_returns_an_empty_mask_unchanged() -> None:
    empty = np.full((9, 9), 0.2, np.float32)
    assert clean_mask(empty, fill_holes=0.5, keep_parts=1) is empty


def test_iou_of_two_alphas() -> None:
    first, second = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    assert mask_iou(first, second) == 0
    first[:2], second[1:3] = 1, 0.7
    assert mask_iou(first, second) == pytest.approx(1 / 3)

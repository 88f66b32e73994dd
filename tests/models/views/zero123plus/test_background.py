"""Objects on grey: pasted, centred and resized, and segmented again."""

import cv2
import numpy as np
import pytest

from models.data.pixels import Bools, Floats, Pixels
from models.segmentation.saliency import NoObjectError
from models.views.zero123plus.background import (
    center_on_square,
    paste_on_grey,
    resize_view,
    segment_view,
)

SIDE = 320


def iou(alpha: Floats, truth: Bools) -> float:
    inside = alpha >= 0.5
    return float((inside & truth).sum() / (inside | truth).sum())


def draw_disc(radius: float = 90, centre: tuple[int, int] = (160, 160)) -> Bools:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)


def draw_view(
    truth: Bools,
    colour: tuple[int, int, int],
    *,
    background: tuple[int, int, int] = (127, 127, 127),
    noise: float = 2.0,
) -> Pixels:
    """Return an object as the network draws it: a soft edge, and a little noise everywhere."""
    alpha = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 0.8)[..., None]
    image = alpha * np.array(colour) + (1 - alpha) * np.array(background)
    shading = np.linspace(-12, 12, SIDE)[:, None, None] * truth[..., None]
    grain = np.random.default_rng(1).normal(0, noise, image.shape)
    return np.asarray(np.clip(image + shading + grain, 0, 255), np.uint8)


@pytest.mark.parametrize("colour", [(200, 60, 40), (235, 235, 235), (30, 30, 30), (90, 90, 160)])
@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_finds_an_object_on_grey(colour: tuple[int, int, int], noise: float) -> None:
    truth = draw_disc()
    assert iou(segment_view(draw_view(truth, colour, noise=noise)), truth) > 0.97


@pytest.mark.parametrize("background", [(120, 120, 120), (134, 132, 128)])
def test_accepts_a_grey_off_by_some_levels(background: tuple[int, int, int]) -> None:
    truth = draw_disc()
    assert iou(segment_view(draw_view(truth, (40, 90, 60), background=background)), truth) > 0.97


def test_keeps_grey_parts_within_the_object() -> None:
    truth = draw_disc()
    view = draw_view(truth, (190, 150, 30))
    shades = np.linspace(119, 136, 60).astype(np.uint8)
    view[140:180, 130:190] = shades[None, :, None]
    assert iou(segment_view(view), truth) > 0.96


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_background_seen_through_a_handle_stays_background(noise: float) -> None:
    truth = draw_disc() & ~draw_disc(35, (190, 160))
    assert iou(segment_view(draw_view(truth, (190, 150, 30), noise=noise)), truth) > 0.95


def test_drops_small_parts_on_the_background() -> None:
    truth = draw_disc()
    view = draw_view(truth, (190, 40, 30))
    view[20:24, 20:24] = (255, 0, 0)
    view[300:303, 40:43] = (0, 0, 255)
    alpha = segment_view(view)
    assert iou(alpha, truth) > 0.97
    assert alpha[:40, :40].max() < 0.5


def test_finds_an_object_at_the_border() -> None:
    truth = draw_disc(130, (160, 240))
    assert iou(segment_view(draw_view(truth, (190, 40, 30))), truth) > 0.96


def test_keeps_both_parts_of_an_object() -> None:
    truth = draw_disc(50, (90, 160)) | draw_disc(45, (230, 160))
    assert iou(segment_view(draw_view(truth, (30, 40, 150))), truth) > 0.96


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_rejects_a_view_without_an_object(noise: float) -> None:
    with pytest.raises(NoObjectError, match="all grey background"):
        segment_view(draw_view(np.zeros((SIDE, SIDE), np.bool_), (0, 0, 0), noise=noise))


def test_finds_a_salient_object_on_a_background_that_is_not_grey() -> None:
    truth = draw_disc()
    view = draw_view(truth, (200, 60, 40), background=(235, 240, 245))
    assert iou(segment_view(view), truth) > 0.9


def test_centres_the_object_on_a_square() -> None:
    rgba = np.zeros((100, 200, 4), np.uint8)
    rgba[20:60, 30:125] = (9, 8, 7, 255)
    square = center_on_square(rgba)
    assert square.shape == (100, 100, 4)  # 95 px at 0.95 of the side
    rows, columns = (np.flatnonzero(square[..., 3].any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (30, 69, 2, 96)
    assert np.array_equal(square[30:70, 2:97], rgba[20:60, 30:125])
    assert np.array_equal(paste_on_grey(square)[0, 0], [127, 127, 127])


def test_faint_alpha_does_not_widen_the_box() -> None:
    rgba = np.zeros((100, 200, 4), np.uint8)
    rgba[..., 3] = 3
    rgba[20:60, 30:125] = (9, 8, 7, 255)
    assert center_on_square(rgba).shape == (100, 100, 4)


def test_rejects_an_empty_alpha() -> None:
    with pytest.raises(NoObjectError, match="alpha is empty"):
        center_on_square(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match="HxWx4"):
        center_on_square(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("size", [64, 320, 500])
def test_resizing_keeps_alpha_aligned(size: int) -> None:
    truth = draw_disc()
    view = np.dstack([draw_view(truth, (200, 60, 40), noise=0), truth.astype(np.uint8) * 255])
    resized_view = resize_view(view, size)
    assert resized_view.shape == (size, size, 4)
    expected = cv2.resize(truth.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    assert iou(resized_view[..., 3] / np.float32(255), expected >= 0.5) > 0.97
    assert resized_view[size // 2, size // 2, 0] > 180

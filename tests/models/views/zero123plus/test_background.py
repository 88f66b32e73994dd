import cv2
import numpy as np
import numpy.typing as npt
import pytest

from models.data.pixels import Pixels
from models.segmentation.saliency import NoObjectError
from models.views.zero123plus.background import matte_of_view, on_grey, recentred, resized

SIDE = 320


def iou(alpha: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> float:
    inside = alpha >= 0.5
    return float((inside & truth).sum() / (inside | truth).sum())


def disc(radius: float = 90, centre: tuple[int, int] = (160, 160)) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)


def painted(
    truth: npt.NDArray[np.bool_],
    colour: tuple[int, int, int],
    *,
    ground: tuple[int, int, int] = (127, 127, 127),
    noise: float = 2.0,
) -> Pixels:
    """An object as the network paints it: a soft edge, and a little noise everywhere."""
    alpha = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 0.8)[..., None]
    image = alpha * np.array(colour) + (1 - alpha) * np.array(ground)
    shading = np.linspace(-12, 12, SIDE)[:, None, None] * truth[..., None]
    grain = np.random.default_rng(1).normal(0, noise, image.shape)
    return np.asarray(np.clip(image + shading + grain, 0, 255), np.uint8)


@pytest.mark.parametrize("colour", [(200, 60, 40), (235, 235, 235), (30, 30, 30), (90, 90, 160)])
@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_an_object_on_grey_is_found(colour: tuple[int, int, int], noise: float) -> None:
    truth = disc()
    assert iou(matte_of_view(painted(truth, colour, noise=noise)), truth) > 0.97


@pytest.mark.parametrize("ground", [(120, 120, 120), (134, 132, 128)])
def test_the_grey_may_be_off_by_some_levels(ground: tuple[int, int, int]) -> None:
    truth = disc()
    assert iou(matte_of_view(painted(truth, (40, 90, 60), ground=ground)), truth) > 0.97


def test_grey_parts_within_the_object_are_the_objects() -> None:
    truth = disc()
    view = painted(truth, (190, 150, 30))
    shades = np.linspace(119, 136, 60).astype(np.uint8)
    view[140:180, 130:190] = shades[None, :, None]
    assert iou(matte_of_view(view), truth) > 0.96


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_ground_seen_through_a_handle_is_ground(noise: float) -> None:
    truth = disc() & ~disc(35, (190, 160))
    assert iou(matte_of_view(painted(truth, (190, 150, 30), noise=noise)), truth) > 0.95


def test_specks_on_the_ground_are_not_the_object() -> None:
    truth = disc()
    view = painted(truth, (190, 40, 30))
    view[20:24, 20:24] = (255, 0, 0)
    view[300:303, 40:43] = (0, 0, 255)
    alpha = matte_of_view(view)
    assert iou(alpha, truth) > 0.97
    assert alpha[:40, :40].max() < 0.5


def test_an_object_that_reaches_the_border_is_found() -> None:
    truth = disc(130, (160, 240))
    assert iou(matte_of_view(painted(truth, (190, 40, 30))), truth) > 0.96


def test_an_object_of_two_parts_keeps_both() -> None:
    truth = disc(50, (90, 160)) | disc(45, (230, 160))
    assert iou(matte_of_view(painted(truth, (30, 40, 150))), truth) > 0.96


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_a_view_without_object_is_refused(noise: float) -> None:
    with pytest.raises(NoObjectError, match="all grey ground"):
        matte_of_view(painted(np.zeros((SIDE, SIDE), np.bool_), (0, 0, 0), noise=noise))


def test_on_a_ground_that_is_not_grey_the_object_is_found_by_its_saliency() -> None:
    truth = disc()
    view = painted(truth, (200, 60, 40), ground=(235, 240, 245))
    assert iou(matte_of_view(view), truth) > 0.9


def test_recentred_fills_the_square() -> None:
    rgba = np.zeros((100, 200, 4), np.uint8)
    rgba[20:60, 30:125] = (9, 8, 7, 255)
    square = recentred(rgba)
    assert square.shape == (100, 100, 4)  # 95 px at 0.95 of the side
    rows, columns = (np.flatnonzero(square[..., 3].any(axis=axis)) for axis in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (30, 69, 2, 96)
    assert np.array_equal(square[30:70, 2:97], rgba[20:60, 30:125])
    assert np.array_equal(on_grey(square)[0, 0], [127, 127, 127])


def test_a_trace_of_matte_does_not_widen_the_box() -> None:
    rgba = np.zeros((100, 200, 4), np.uint8)
    rgba[..., 3] = 3
    rgba[20:60, 30:125] = (9, 8, 7, 255)
    assert recentred(rgba).shape == (100, 100, 4)


def test_an_empty_matte_cannot_be_recentred() -> None:
    with pytest.raises(NoObjectError, match="matte is empty"):
        recentred(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match="HxWx4"):
        recentred(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("size", [64, 320, 500])
def test_resized_keeps_the_matte_aligned(size: int) -> None:
    truth = disc()
    view = np.dstack([painted(truth, (200, 60, 40), noise=0), truth.astype(np.uint8) * 255])
    smaller = resized(view, size)
    assert smaller.shape == (size, size, 4)
    expected = cv2.resize(truth.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    assert iou(smaller[..., 3] / np.float32(255), expected >= 0.5) > 0.97
    assert smaller[size // 2, size // 2, 0] > 180

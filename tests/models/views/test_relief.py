"""Relief depth, rendered views and the square crop, on drawn objects."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from models.segmentation.saliency import NoObjectError
from models.views.cameras import MAX_TURN, ZERO123_VIEWS, Camera, relief_yaw
from models.views.relief import crop_square, relief_depth, render_views
from tests.demo_scenes.render import render

FRONT = Camera(0, 0)


def draw_disc(size: int = 200, radius: int = 60, centre: tuple[int, int] | None = None):
    """Return a disc on green: red on the left, blue on the right, with a soft edge."""
    x, y = centre or (size // 2, size // 2)
    enlarged = np.zeros((size * 4, size * 4), np.uint8)
    cv2.circle(enlarged, (x * 4, y * 4), radius * 4, 255, -1)
    alpha = cv2.resize(enlarged, (size, size), interpolation=cv2.INTER_AREA)
    colour = np.zeros((size, size, 3), np.uint8)
    colour[:, :x] = (220, 30, 30)
    colour[:, x:] = (30, 30, 220)
    opacity = alpha[..., None] / 255
    mixed = colour * opacity + np.array([20, 200, 20]) * (1 - opacity)
    return np.dstack([mixed.astype(np.uint8), alpha])


def box_of(view):
    x, y, width, height = cv2.boundingRect((view[..., 3] >= 128).astype(np.uint8))
    return x, y, width, height


def test_the_six_views_of_zero123plus():
    assert [camera.azimuth for camera in ZERO123_VIEWS] == [30, 90, 150, 210, 270, 330]
    assert [camera.elevation for camera in ZERO123_VIEWS] == [20, -10, 20, -10, 20, -10]


@pytest.mark.parametrize("size", [64, 160, 301])
def test_views_are_centred_and_fill_the_canvas(size):
    for view in render_views(draw_disc(), (FRONT, *ZERO123_VIEWS), size=size):
        x, y, width, height = box_of(view)
        assert view.shape == (size, size, 4)
        assert view.dtype == np.uint8
        assert abs(max(width, height) - 0.85 * size) <= 3
        assert abs(x + width / 2 - size / 2) <= 2
        assert abs(y + height / 2 - size / 2) <= 2


def test_the_front_view_reproduces_the_photo():
    rgba = draw_disc(200, 60)
    view = render_views(rgba, [FRONT], size=160)[0]
    # Drawn at four times the size the disc is 120.25 pixels wide around (99.625, 99.625).
    scale = 136 / 120.25
    shift = 79.5 - scale * 99.625
    move = np.array([[scale, 0, shift], [0, scale, shift]])
    expected = cv2.warpAffine(rgba, move, (160, 160), flags=cv2.INTER_LINEAR)
    assert np.abs(view[..., 3].astype(int) - expected[..., 3]).mean() < 1.5
    inside = cv2.erode((view[..., 3] == 255).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert inside.sum() > 12000
    assert np.abs(view[inside][:, :3].astype(int) - expected[inside][:, :3]).mean() < 2


def test_colours_and_alpha_agree():
    for view in render_views(draw_disc(), ZERO123_VIEWS, size=128):
        empty, opaque = view[..., 3] == 0, view[..., 3] == 255
        assert (view[empty][:, :3] == 127).all()
        assert np.abs(view[opaque][:, :3].astype(int) - 127).max(1).min() > 30
        # No green: the photo's background does not reach the view's edge.
        green = view[..., 1].astype(int) - view[..., [0, 2]].max(-1)
        assert green.max() <= 12


def test_views_have_no_holes_or_specks():
    for view in render_views(draw_disc(), ZERO123_VIEWS, size=160):
        inside = (view[..., 3] >= 128).astype(np.uint8)
        assert cv2.connectedComponents(inside)[0] == 2
        assert cv2.connectedComponents(1 - inside, connectivity=4)[0] == 2


def test_a_camera_on_the_right_sees_more_of_the_right():
    right, left = render_views(draw_disc(), [Camera(60, 0), Camera(-60, 0)], size=160)

    def blue_share(view):
        inside = view[..., 3] == 255
        return (view[inside][:, 2] > view[inside][:, 0]).mean()

    assert blue_share(right) > 0.55
    assert blue_share(left) < 0.45


def test_a_camera_above_sees_more_of_the_top():
    rgba = np.ascontiguousarray(np.rot90(draw_disc(), -1))  # red above, blue below
    above = render_views(rgba, [Camera(0, 30)], size=160)[0]
    inside = above[..., 3] == 255
    assert (above[inside][:, 0] > above[inside][:, 2]).mean() > 0.55


def test_the_back_view_is_the_mirror_image():
    front, back = render_views(draw_disc(), [FRONT, Camera(180, 0)], size=160)
    mirrored = back[:, ::-1]
    inside = (front[..., 3] == 255) & (mirrored[..., 3] == 255)
    inside = cv2.erode(inside.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert np.median(np.abs(front[inside].astype(int) - mirrored[inside])) < 40
    assert back[80, 60, 2] > back[80, 60, 0]  # blue is now on the left


def test_turned_views_are_relit():
    rgba = draw_disc()
    rgba[..., :3] = 150
    lit = render_views(rgba, [Camera(70, 0)], size=128)[0]
    front = render_views(rgba, [FRONT], size=128)[0]
    inside = lit[..., 3] == 255
    assert lit[inside][:, 0].std() > 3
    assert front[front[..., 3] == 255][:, 0].std() < 1


def test_yaw_is_compressed():
    assert relief_yaw(0) == 0
    assert relief_yaw(30) == pytest.approx(21)
    assert relief_yaw(90) == pytest.approx(42)
    assert relief_yaw(150) == pytest.approx(159)
    assert relief_yaw(210) == pytest.approx(-159)
    assert relief_yaw(330) == pytest.approx(-21)


def test_an_object_cut_off_by_the_photo_fills_the_view():
    rgba = draw_disc(120, 60, (60, 120))
    view = render_views(rgba, [FRONT], size=128)[0]
    _, _, width, height = box_of(view)
    assert width / height == pytest.approx(121 / 60, rel=0.06)
    assert view[..., 3].max() == 255


@pytest.mark.parametrize("shape", [(5, 4), (9, 40), (37, 8)])
def test_accepts_tiny_photos(shape):
    rgba = np.full((*shape, 4), 255, np.uint8)
    rgba[..., 1] = 90
    for view in render_views(rgba, (FRONT, *ZERO123_VIEWS), size=48):
        assert view.shape == (48, 48, 4)
        assert view[..., 3].max() > 200
    assert crop_square(rgba, size=32).shape == (32, 32, 4)
    depth = relief_depth(rgba[..., :3], np.ones(shape, np.float32))
    assert depth.shape == shape


def test_gives_the_same_bytes_from_any_thread_in_any_order():
    photos = [draw_disc(160, radius) for radius in (30, 50, 70)]

    def views(rgba):
        return b"".join(view.tobytes() for view in render_views(rgba, ZERO123_VIEWS[:2], size=96))

    expected = [views(rgba) for rgba in photos]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(views, photos[::-1]))[::-1] == expected


def test_depth_shows_a_round_object_before_a_receding_ground():
    rgba = draw_disc(200, 50)
    depth = relief_depth(rgba[..., :3], (rgba[..., 3] / 255).astype(np.float32))
    assert depth.dtype == np.float32
    assert depth.min() == 0
    assert depth.max() == 1
    assert depth[100, 100] > depth[100, 140] > depth[100, 148] > depth[100, 160]
    assert depth[100, 60] == pytest.approx(depth[100, 140], abs=0.05)
    ground = depth[:, 10]
    assert (np.diff(ground) > 0).all()
    assert depth[144, 100] > depth[156, 100]  # the foot is nearer than the ground below it


def test_the_square_crop_keeps_the_aspect_and_pads_with_grey():
    rgba = draw_disc(120, 40, (20, 60))  # leaves the photo on the left
    crop = crop_square(rgba, size=96)
    assert crop.shape == (96, 96, 4)
    assert (crop[:, :15, :3] == 127).all()
    assert (crop[:, :15, 3] == 0).all()
    _, _, width, height = box_of(crop)
    assert height == pytest.approx(80, abs=2)
    assert width / height == pytest.approx(61 / 81, abs=0.04)


def test_rejects_an_empty_alpha():
    rgba = np.zeros((40, 40, 4), np.uint8)
    with pytest.raises(NoObjectError, match="alpha is empty"):
        render_views(rgba, [FRONT], size=64)
    with pytest.raises(NoObjectError, match="alpha is empty"):
        crop_square(rgba, size=64)
    with pytest.raises(NoObjectError, match="alpha is empty"):
        relief_depth(rgba[..., :3], np.zeros((40, 40), np.float32))


def test_names_bad_input():
    rgba = draw_disc()
    with pytest.raises(ValueError, match="rgba must be"):
        render_views(rgba[..., :3], [FRONT], size=64)
    with pytest.raises(ValueError, match="size must be"):
        render_views(rgba, [FRONT], size=8)
    with pytest.raises(ValueError, match="must match"):
        relief_depth(rgba[..., :3], np.zeros((3, 3), np.float32))


def test_surfaces_move_in_the_true_direction():
    # Compared with a turn the wrong way, not with the unturned photo: see models/views/relief.py.
    right, wrong = [], []
    azimuth = np.degrees(np.arcsin(20 / MAX_TURN))  # is turned by 20 degrees
    cameras = [Camera(azimuth, 0), Camera(-azimuth, 0)]
    for label in ("bottle", "bowl", "car", "mug", "teapot", "vase"):
        photo, truth = (render(label, 311, size=(160, 120), azimuth=a) for a in (0, 20))
        cutouts = [np.dstack([v.pixels, v.mask.astype(np.uint8) * 255]) for v in (photo, truth)]
        expected = render_views(cutouts[1], [FRONT], size=96)[0]
        views = render_views(cutouts[0], cameras, size=96)
        shared = np.minimum.reduce([expected[..., 3], *(view[..., 3] for view in views)]) == 255
        for errors, view in zip((right, wrong), views, strict=True):
            errors.append(np.abs(expected[shared].astype(int) - view[shared]).mean())
    assert np.mean(right) < np.mean(wrong)

"""Shifts: the known region is exact, the object appears once and whole, borders show no seam."""

import cv2
import numpy as np
import pytest

from models.compositing.backgrounds.scene import procedural_plate
from models.outpainting.extend_scene import ExtendedScene, grid_offsets, seam_contrast, shift_scene

WIDTH, HEIGHT = 144, 192
REACH = 0.15


def rng(seed=0):
    return np.random.default_rng(seed)


def scene(name="on a tiled floor", seed=0, box=(52, 80, 40, 40)):
    pixels = procedural_plate(name, (WIDTH, HEIGHT), rng(seed)).pixels
    rgba = np.dstack([pixels, np.zeros((HEIGHT, WIDTH), np.uint8)])
    x, y, width, height = box
    rgba[y : y + height, x : x + width] = (255, 0, 255, 255)
    return rgba


def magenta(image):
    colours = image.astype(int)
    return (colours[..., 0] > 180) & (colours[..., 1] < 90) & (colours[..., 2] > 180)


def test_offsets_fill_the_grid_row_by_row():
    assert grid_offsets(1, 0.2) == [(0.0, 0.0)]
    assert grid_offsets(2, 0.1) == [(-0.1, -0.1), (0.1, -0.1), (-0.1, 0.1), (0.1, 0.1)]
    nine = grid_offsets(3, 0.15)
    assert nine[4] == (0.0, 0.0)
    assert nine[1] == (0.0, -0.15)
    assert len(set(nine)) == 9


@pytest.mark.parametrize(("k", "reach", "named"), [(0, 0.1, "k is 0"), (2, 0.7, r"reach is 0\.7")])
def test_a_wrong_grid_is_named(k, reach, named):
    with pytest.raises(ValueError, match=named):
        grid_offsets(k, reach)


@pytest.mark.parametrize("name", ["on a tiled floor", "on grass", "in a studio"])
def test_the_known_region_is_exact_and_matte_moves_along(name):
    rgba = scene(name, 3)
    extended = ExtendedScene(rgba, REACH, rng(1))
    for dx, dy in grid_offsets(3, REACH):
        moved = extended.shift(dx, dy)
        x, y = extended.offset(dx, dy)
        assert (x, y) == (round(dx * WIDTH), round(dy * HEIGHT))
        assert moved.shape == rgba.shape
        here = (slice(max(y, 0), HEIGHT + min(y, 0)), slice(max(x, 0), WIDTH + min(x, 0)))
        there = (slice(max(-y, 0), HEIGHT + min(-y, 0)), slice(max(-x, 0), WIDTH + min(-x, 0)))
        np.testing.assert_array_equal(moved[here], rgba[there])
        border = np.ones((HEIGHT, WIDTH), bool)
        border[here] = False
        assert not moved[..., 3][border].any()


def test_no_shift_is_the_scene_itself():
    rgba = scene()
    np.testing.assert_array_equal(shift_scene(rgba, 0.0, 0.0, rng()), rgba)


@pytest.mark.parametrize(
    "box", [(4, 80, 60, 60), (52, 128, 60, 60), (60, 3, 70, 60), (8, 8, 128, 170)]
)
def test_the_object_never_appears_in_the_border(box):
    """Also where it stands so near to an edge that a mirror image of the edge would show it."""
    rgba = scene("on concrete", 2, box)
    extended = ExtendedScene(rgba, REACH, rng(1))
    count = int((rgba[..., 3] > 0).sum())
    for dx, dy in grid_offsets(3, REACH):
        moved = extended.shift(dx, dy)
        assert int((moved[..., 3] > 0).sum()) == count, "and it stays whole"
        np.testing.assert_array_equal(magenta(moved), moved[..., 3] > 0)


def test_a_shift_stops_where_the_object_meets_the_edge():
    extended = ExtendedScene(scene(box=(4, 80, 60, 60)), REACH, rng())
    assert extended.offset(-REACH, 0.0) == (-4, 0)
    assert extended.offset(REACH, 0.0) == (round(REACH * WIDTH), 0)


def test_an_object_that_was_cut_stays_at_its_edge():
    """Moved inwards it would float with a straight cut; moved outwards it would lose more."""
    extended = ExtendedScene(scene(box=(0, 80, 60, 60)), REACH, rng())
    assert extended.offset(REACH, 0.1) == (0, round(0.1 * HEIGHT))
    assert extended.offset(-REACH, 0.1)[0] == 0


@pytest.mark.parametrize(
    "name", ["on a wooden floor", "on grass", "against a brick wall", "on gravel", "on a bed sheet"]
)
def test_borders_show_no_seam(name):
    for seed in range(2):
        rgba = scene(name, seed)
        extended = ExtendedScene(rgba, REACH, rng(seed))
        for dx, dy in ((REACH, 0), (-REACH, 0), (0, REACH), (0, -REACH)):
            moved = extended.shift(dx, dy)
            assert seam_contrast(moved, *extended.offset(dx, dy)) < 1.7


def test_an_object_beside_the_border_leaves_no_seam():
    """The ground taken for its shadow reaches the edge there, and yet the edge must be met."""
    for seed in range(4):
        extended = ExtendedScene(
            scene("against a brick wall", seed, (5, 10, 118, 170)), REACH, rng()
        )
        x, y = extended.offset(REACH, 0.0)
        assert x > 15
        assert seam_contrast(extended.shift(REACH, 0.0), x, y) < 1.7


def test_a_seam_is_measured():
    even = rng(0).integers(100, 130, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    assert seam_contrast(even, 20, 0) == pytest.approx(1.0, abs=0.2)
    assert seam_contrast(even, 0, 0) == 0.0
    for dx, dy in ((20, 0), (-20, 0), (0, 20), (0, -20)):
        broken = even.copy()
        rows = slice(0, dy) if dy > 0 else slice(HEIGHT + dy, None) if dy else slice(None)
        columns = slice(0, dx) if dx > 0 else slice(WIDTH + dx, None) if dx else slice(None)
        broken[rows, columns] += 60
        assert seam_contrast(broken, dx, dy) > 4


def test_a_border_is_no_mirror_image():
    rgba = scene("on cobblestones", 5)
    x = round(REACH * WIDTH)
    moved = shift_scene(rgba, REACH, 0.0, rng(1)).astype(int)
    near, mirrored = moved[:, :x, :3], moved[:, x + 1 : 2 * x + 1, :3][:, ::-1]
    assert np.abs(near - mirrored).mean() > 10


def test_stripes_go_on_in_step():
    """A pattern of period 16 px is continued with its period, not mirrored or smeared."""
    columns = (np.arange(WIDTH) // 8 % 2 * 150 + 50).astype(np.uint8)
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[..., :3] = columns[None, :, None]
    moved = shift_scene(rgba, -REACH, 0.0, rng(1))
    x = round(REACH * WIDTH)
    expected = ((np.arange(WIDTH) + x) // 8 % 2 * 150 + 50)[-x:]
    assert np.abs(moved[:, -x:, 0].astype(int) - expected).mean() < 25


def test_shifts_of_one_scene_agree_on_what_lies_outside():
    extended = ExtendedScene(scene("on sand"), REACH, rng(4))
    far, near = extended.shift(REACH, 0.0), extended.shift(REACH / 2, 0.0)
    step = extended.offset(REACH, 0.0)[0] - extended.offset(REACH / 2, 0.0)[0]
    np.testing.assert_array_equal(far[:, step:], near[:, : WIDTH - step])


def test_same_seed_same_bytes():
    one, again = (shift_scene(scene(), 0.1, -0.1, rng(6)) for _ in range(2))
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize(("size", "reach"), [((16, 16), 0.5), ((40, 200), 0.5), ((33, 17), 0.2)])
def test_small_scenes_and_far_reaches_work(size, reach):
    width, height = size
    rgba = np.dstack(
        [rng(1).integers(0, 255, (height, width, 3)), np.zeros((height, width))]
    ).astype(np.uint8)
    rgba[height // 2, width // 2, 3] = 255
    for dx, dy in grid_offsets(2, reach):
        assert shift_scene(rgba, dx, dy, rng()).shape == rgba.shape


def test_the_scene_is_left_as_it_was_and_shifts_are_copies():
    rgba = scene()
    before = rgba.copy()
    extended = ExtendedScene(rgba, REACH, rng())
    extended.shift(0.1, 0.1)[...] = 0
    np.testing.assert_array_equal(rgba, before)
    np.testing.assert_array_equal(extended.shift(0.0, 0.0), before)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="can't move; give HxWx4"):
        ExtendedScene(scene()[..., :3], REACH, rng())
    with pytest.raises(ValueError, match="reach is -0"):
        ExtendedScene(scene(), -0.1, rng())
    with pytest.raises(ValueError, match=r"dy is 0\.3, farther than the reach"):
        ExtendedScene(scene(), REACH, rng()).shift(0.0, 0.3)


def test_real_photos_show_no_seam(shared_photos):
    for path in sorted((shared_photos / "backgrounds").glob("wallpaper_*.jpg"))[:5]:
        photo = cv2.resize(cv2.imread(str(path)), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        rgba = np.dstack([photo[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
        extended = ExtendedScene(rgba, REACH, rng())
        for dx, dy in grid_offsets(2, REACH):
            assert seam_contrast(extended.shift(dx, dy), *extended.offset(dx, dy)) < 2.0

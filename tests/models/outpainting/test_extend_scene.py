"""Shifts keep the known region exact and the object whole, and their borders show no seam."""

import cv2
import numpy as np
import pytest

from models.compositing.backgrounds.scene import procedural_background
from models.outpainting.extend_scene import ExtendedScene, grid_offsets
from tests.models.outpainting.seams import seam_contrast

WIDTH, HEIGHT = 144, 192
MAX_SHIFT = 0.15


def rng(seed=0):
    return np.random.default_rng(seed)


def scene(name="on a tiled floor", seed=0, box=(52, 80, 40, 40)):
    pixels = procedural_background(name, (WIDTH, HEIGHT), rng(seed)).pixels
    rgba = np.dstack([pixels, np.zeros((HEIGHT, WIDTH), np.uint8)])
    x, y, width, height = box
    rgba[y : y + height, x : x + width] = (255, 0, 255, 255)
    return rgba


def shifted(rgba, dx, dy, seed=0):
    return ExtendedScene(rgba, max(abs(dx), abs(dy)), rng(seed)).shift(dx, dy)


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


@pytest.mark.parametrize("name", ["on a tiled floor", "on grass", "in a studio"])
def test_the_known_region_is_exact_and_alpha_shifts_along(name):
    rgba = scene(name, 3)
    extended = ExtendedScene(rgba, MAX_SHIFT, rng(1))
    for dx, dy in grid_offsets(3, MAX_SHIFT):
        result = extended.shift(dx, dy)
        x, y = extended.offset(dx, dy)
        assert (x, y) == (round(dx * WIDTH), round(dy * HEIGHT))
        assert result.shape == rgba.shape
        known = (slice(max(y, 0), HEIGHT + min(y, 0)), slice(max(x, 0), WIDTH + min(x, 0)))
        source = (slice(max(-y, 0), HEIGHT + min(-y, 0)), slice(max(-x, 0), WIDTH + min(-x, 0)))
        np.testing.assert_array_equal(result[known], rgba[source])
        border = np.ones((HEIGHT, WIDTH), bool)
        border[known] = False
        assert not result[..., 3][border].any()


def test_a_shift_by_nothing_is_the_scene_itself():
    rgba = scene()
    np.testing.assert_array_equal(shifted(rgba, 0.0, 0.0), rgba)


@pytest.mark.parametrize(
    "box", [(4, 80, 60, 60), (52, 128, 60, 60), (60, 3, 70, 60), (8, 8, 128, 170)]
)
def test_the_object_never_appears_in_the_border(box):
    """Not even when it is so near to an edge that a mirror image of the edge would show it."""
    rgba = scene("on concrete", 2, box)
    extended = ExtendedScene(rgba, MAX_SHIFT, rng(1))
    count = int((rgba[..., 3] > 0).sum())
    for dx, dy in grid_offsets(3, MAX_SHIFT):
        result = extended.shift(dx, dy)
        assert int((result[..., 3] > 0).sum()) == count, "the object stays whole"
        np.testing.assert_array_equal(magenta(result), result[..., 3] > 0)


def test_a_shift_stops_where_the_object_meets_the_edge():
    extended = ExtendedScene(scene(box=(4, 80, 60, 60)), MAX_SHIFT, rng())
    assert extended.offset(-MAX_SHIFT, 0.0) == (-4, 0)
    assert extended.offset(MAX_SHIFT, 0.0) == (round(MAX_SHIFT * WIDTH), 0)


def test_an_object_that_was_cut_stays_at_its_edge():
    """Shifted inwards it would show a straight cut; shifted outwards it would lose more."""
    extended = ExtendedScene(scene(box=(0, 80, 60, 60)), MAX_SHIFT, rng())
    assert extended.offset(MAX_SHIFT, 0.1) == (0, round(0.1 * HEIGHT))
    assert extended.offset(-MAX_SHIFT, 0.1)[0] == 0


@pytest.mark.parametrize(
    "name", ["on a wooden floor", "on grass", "against a brick wall", "on gravel", "on a bed sheet"]
)
def test_borders_show_no_seam(name):
    for seed in range(2):
        rgba = scene(name, seed)
        extended = ExtendedScene(rgba, MAX_SHIFT, rng(seed))
        for dx, dy in ((MAX_SHIFT, 0), (-MAX_SHIFT, 0), (0, MAX_SHIFT), (0, -MAX_SHIFT)):
            assert seam_contrast(extended.shift(dx, dy), *extended.offset(dx, dy)) < 1.7


def test_an_object_next_to_the_border_leaves_no_seam():
    """The region removed for its shadow reaches the edge, but the border must continue the edge."""
    for seed in range(4):
        extended = ExtendedScene(
            scene("against a brick wall", seed, (5, 10, 118, 170)), MAX_SHIFT, rng()
        )
        x, y = extended.offset(MAX_SHIFT, 0.0)
        assert x > 15
        assert seam_contrast(extended.shift(MAX_SHIFT, 0.0), x, y) < 1.7


def test_the_metric_measures_seams():
    uniform = rng(0).integers(100, 130, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    assert seam_contrast(uniform, 20, 0) == pytest.approx(1.0, abs=0.2)
    assert seam_contrast(uniform, 0, 0) == 0.0
    for dx, dy in ((20, 0), (-20, 0), (0, 20), (0, -20)):
        broken = uniform.copy()
        rows = slice(0, dy) if dy > 0 else slice(HEIGHT + dy, None) if dy else slice(None)
        columns = slice(0, dx) if dx > 0 else slice(WIDTH + dx, None) if dx else slice(None)
        broken[rows, columns] += 60
        assert seam_contrast(broken, dx, dy) > 4


def test_a_border_is_not_a_mirror_image():
    rgba = scene("on cobblestones", 5)
    x = round(MAX_SHIFT * WIDTH)
    result = shifted(rgba, MAX_SHIFT, 0.0, seed=1).astype(int)
    border, mirrored = result[:, :x, :3], result[:, x + 1 : 2 * x + 1, :3][:, ::-1]
    assert np.abs(border - mirrored).mean() > 10


def test_stripes_continue_with_their_period():
    """A pattern of period 16 px continues with its period; it is not mirrored or smeared."""
    columns = (np.arange(WIDTH) // 8 % 2 * 150 + 50).astype(np.uint8)
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[..., :3] = columns[None, :, None]
    result = shifted(rgba, -MAX_SHIFT, 0.0, seed=1)
    x = round(MAX_SHIFT * WIDTH)
    expected = ((np.arange(WIDTH) + x) // 8 % 2 * 150 + 50)[-x:]
    assert np.abs(result[:, -x:, 0].astype(int) - expected).mean() < 25


def test_shifts_of_one_scene_agree_on_what_lies_outside():
    extended = ExtendedScene(scene("on sand"), MAX_SHIFT, rng(4))
    far, near = extended.shift(MAX_SHIFT, 0.0), extended.shift(MAX_SHIFT / 2, 0.0)
    step = extended.offset(MAX_SHIFT, 0.0)[0] - extended.offset(MAX_SHIFT / 2, 0.0)[0]
    np.testing.assert_array_equal(far[:, step:], near[:, : WIDTH - step])


def test_the_same_seed_gives_the_same_bytes():
    first, again = (shifted(scene(), 0.1, -0.1, seed=6) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("size", "max_shift"), [((16, 16), 0.5), ((40, 200), 0.5), ((33, 17), 0.2)]
)
def test_shifts_small_scenes_far(size, max_shift):
    width, height = size
    rgba = np.dstack(
        [rng(1).integers(0, 255, (height, width, 3)), np.zeros((height, width))]
    ).astype(np.uint8)
    rgba[height // 2, width // 2, 3] = 255
    for dx, dy in grid_offsets(2, max_shift):
        assert shifted(rgba, dx, dy).shape == rgba.shape


def test_does_not_change_the_scene_and_returns_copies():
    rgba = scene()
    before = rgba.copy()
    extended = ExtendedScene(rgba, MAX_SHIFT, rng())
    extended.shift(0.1, 0.1)[...] = 0
    np.testing.assert_array_equal(rgba, before)
    np.testing.assert_array_equal(extended.shift(0.0, 0.0), before)


def test_rejects_scenes_without_alpha_and_shifts_that_are_too_far():
    with pytest.raises(ValueError, match="can't be shifted; give HxWx4"):
        ExtendedScene(scene()[..., :3], MAX_SHIFT, rng())
    with pytest.raises(ValueError, match=r"dy is 0\.3; give at most the scene's max_shift"):
        ExtendedScene(scene(), MAX_SHIFT, rng()).shift(0.0, 0.3)


def test_borders_of_real_photos_show_no_seam(shared_photos):
    for path in sorted((shared_photos / "backgrounds").glob("wallpaper_*.jpg"))[:5]:
        photo = cv2.resize(cv2.imread(str(path)), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        rgba = np.dstack([photo[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
        extended = ExtendedScene(rgba, MAX_SHIFT, rng())
        for dx, dy in grid_offsets(2, MAX_SHIFT):
            assert seam_contrast(extended.shift(dx, dy), *extended.offset(dx, dy)) < 2.0

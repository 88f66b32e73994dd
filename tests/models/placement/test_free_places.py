"""Free places: exactly those corners where a box hits nothing and stays inside."""

import numpy as np
import pytest

from models.placement.free_places import Scene, draw_corner


def test_free_corners_are_those_that_a_check_of_each_px_finds() -> None:
    rng = np.random.default_rng(0)
    region = rng.random((23, 31)) < 0.98
    occupied = ((3.5, 2.0, 6.0, 5.5), (20.0, 10.0, 4.0, 9.0))
    scene = Scene(31, 23, occupied, region)
    free, step = scene.free_corners((4, 3), margin=1, placed=[(12, 15, 3, 3)])
    taken = np.zeros((23, 31), np.bool_)
    for x, y, width, height in (*occupied, (12, 15, 3, 3)):
        last_row, last_column = int(np.ceil(y + height)), int(np.ceil(x + width))
        taken[int(y) : last_row, int(x) : last_column] = True
    expected = np.zeros((21, 28), np.bool_)
    for row in range(21):
        for column in range(28):
            around = taken[max(row - 1, 0) : row + 4, max(column - 1, 0) : column + 5]
            is_inside = region[row : row + 3, column : column + 4].all()
            expected[row, column] = is_inside and not around.any()
    assert step == 1
    assert expected.any()
    np.testing.assert_array_equal(free, expected)


def test_large_scenes_have_fewer_corners_and_the_same_rule() -> None:
    region = np.zeros((40, 3000), np.bool_)
    region[:, 2000:] = True
    scene = Scene(3000, 40, ((2500.0, 0.0, 100.0, 40.0),), region)
    free, step = scene.free_corners((50, 10), margin=0)
    columns = np.flatnonzero(free.any(axis=0)) * step
    assert step == 3
    assert set(columns.tolist()) == {
        x for x in range(0, 2951, 3) if x >= 2000 and (x + 50 <= 2500 or x >= 2600)
    }


def test_a_box_larger_than_the_frame_has_no_place() -> None:
    scene = Scene(20, 10, region=np.ones((10, 20), np.bool_))
    free, step = scene.free_corners((5, 11), margin=0)
    assert draw_corner(free, step, np.random.default_rng(0)) is None


def test_a_draw_reaches_every_free_corner_of_the_rows_and_no_other() -> None:
    scene = Scene(6, 6, ((0.0, 0.0, 3.0, 6.0),))
    free, step = scene.free_corners((2, 2), margin=0)
    rng = np.random.default_rng(0)
    drawn = {draw_corner(free, step, rng, (1.5, 3.2)) for _ in range(100)}
    assert drawn == {(3, 2), (4, 2), (3, 3), (4, 3)}


def test_a_region_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the region is 4x5 px, and its scene 20x10"):
        Scene(20, 10, region=np.ones((5, 4), np.bool_))

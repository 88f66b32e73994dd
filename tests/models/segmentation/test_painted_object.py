"""The mask of a painted object is found by what has changed, and only near its place."""

import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.pixels import Bools, Pixels
from models.segmentation.painted_object import find_painted_object

RNG = np.random.default_rng(0)
GROUND = RNG.integers(90, 110, (60, 60, 3)).astype(np.uint8)
PAINT = np.zeros((60, 60), bool)
PAINT[14:46, 14:46] = True
BOX = (18.0, 18.0, 24.0, 24.0)
ROWS, COLUMNS = np.indices((60, 60))


def painted(shape: Bools) -> Pixels:
    """The ground with an object, and other noise around it in the painted part."""
    after = GROUND.copy()
    after[PAINT] = RNG.integers(90, 110, (int(PAINT.sum()), 3))
    after[shape] = (200, 40, 30)
    return after


def test_the_mask_is_that_of_the_object() -> None:
    disc = np.hypot(ROWS - 29.5, COLUMNS - 31.5) < 11
    mask = find_painted_object(GROUND, painted(disc), PAINT, BOX)
    assert mask is not None
    assert (mask & disc).sum() / (mask | disc).sum() > 0.9
    np.testing.assert_allclose(box_of_mask(mask), box_of_mask(disc), atol=2)
    assert not mask[~PAINT].any()


def test_a_small_object_on_new_ground_has_its_own_mask() -> None:
    before = GROUND.copy()
    before[PAINT] = (150, 60, 60)
    disc = np.hypot(ROWS - 29.5, COLUMNS - 29.5) < 8
    mask = find_painted_object(before, painted(disc), PAINT, BOX)
    assert mask is not None
    assert (mask & disc).sum() / (mask | disc).sum() > 0.85


def test_no_mask_without_an_object_or_far_from_its_place() -> None:
    for after in (GROUND, painted(np.zeros_like(PAINT))):
        empty = find_painted_object(GROUND, after, PAINT, BOX)
        assert empty is not None
        assert not empty.any()
    small = (ROWS > 40) & (COLUMNS > 40) & PAINT
    assert find_painted_object(GROUND, painted(small), PAINT, BOX) is None

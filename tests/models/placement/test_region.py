"""The region of a scene: polygons, a mask, or both."""

import numpy as np

from models.placement.region import region_of

_LEFT = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)


def test_without_polygons_and_mask_the_whole_frame_is_the_region() -> None:
    assert region_of((), None, 20, 10) is None


def test_polygons_are_shares_of_width_and_height() -> None:
    region = region_of(_LEFT, None, 20, 10)
    assert region is not None
    assert region[:, :10].all()
    assert not region[:, 10:].any()


def test_a_mask_of_another_size_is_scaled_and_both_must_hold() -> None:
    mask = np.zeros((20, 40), np.uint8)
    mask[10:] = 255
    region = region_of((), mask, 20, 10)
    both = region_of(_LEFT, mask, 20, 10)
    assert region is not None
    assert both is not None
    assert (region.sum(), both.sum()) == (100, 50)
    assert not region[:5].any()

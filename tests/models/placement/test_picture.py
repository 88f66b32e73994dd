"""The picture of a placement shows real and new boxes, the region, and a legend."""

import numpy as np

from models.placement.picture import NEW, REAL, draw_picture


def test_boxes_have_two_colours_and_the_outside_is_dark() -> None:
    scene = np.full((60, 80, 3), 100, np.uint8)
    region = np.zeros((60, 80), np.bool_)
    region[:, 40:] = True
    new = [((50.0, 20.0, 10.0, 10.0), 0.5)]
    picture = draw_picture(scene, [(10.0, 10.0, 12.0, 12.0)], new, "car", region, 160)
    assert picture.shape[1] == 160
    assert picture.shape[0] > 120
    assert (picture[:120, :80] == REAL).all(axis=-1).any()
    assert (picture[:120, 80:] == NEW).all(axis=-1).any()
    assert not (picture[:120, 80:] == REAL).all(axis=-1).any()
    assert picture[110, 10].tolist() == [40, 40, 40]
    assert picture[110, 150].tolist() == [100, 100, 100]

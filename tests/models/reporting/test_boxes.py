"""Boxes on photos: a colour for hits, misses and false alarms, and words that count them."""

import numpy as np

from models.evaluation.detection.matching import read_found, read_objects
from models.reporting.boxes import (
    FALSE_ALARM,
    HIT,
    LONGEST_SIDE,
    MISS,
    REAL,
    draw_found,
    draw_objects,
)

CLASSES = ("cat", "dog")
PHOTO = np.full((50, 100, 3), 128, np.uint8)
OBJECTS = read_objects([[[0, 10, 10, 20, 20], [1, 60, 10, 20, 30]]])
FOUND = read_found([[[0, 0.9, 11, 10, 20, 20], [0, 0.8, 60, 10, 20, 30], [1, 0.2, 60, 10, 20, 30]]])


def test_hits_misses_and_false_alarms_have_their_colours_and_are_counted() -> None:
    drawn = draw_found(PHOTO, OBJECTS, FOUND, 0.5, CLASSES)
    assert drawn.pixels.shape == (LONGEST_SIDE // 2, LONGEST_SIDE, 3)
    assert drawn.words == "cat 1 of 1; dog 0 of 1; 1 false alarm of cat"
    shown = {tuple(colour) for colour in drawn.pixels.reshape(-1, 3).tolist()}
    assert {HIT, MISS, FALSE_ALARM} <= shown
    left_edge = drawn.pixels[round(20 * 3.84), round(11 * 3.84)]
    assert tuple(left_edge.tolist()) == HIT


def test_boxes_below_the_score_are_left_out() -> None:
    assert draw_found(PHOTO, OBJECTS, FOUND, 0.1, CLASSES).words == (
        "cat 1 of 1; dog 1 of 1; 1 false alarm of cat"
    )
    nothing = read_objects([[]])
    assert draw_found(PHOTO, nothing, FOUND, 0.95, CLASSES).words == "nothing found, rightly"


def test_real_objects_are_drawn_within_the_photo() -> None:
    outside = read_objects([[[0, -20, -10, 400, 300]]])
    picture = draw_objects(np.dstack([PHOTO, PHOTO[..., 0]]), outside)
    assert tuple(picture[1, 200].tolist()) == REAL

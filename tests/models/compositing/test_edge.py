"""The cleaned edge shows the object's own colours, and its alpha shrinks."""

import cv2
import numpy as np
import pytest

from models.compositing.edge import EDGE_PAD, clean_edge, edge_width

RED, GREEN = (200, 40, 30), (20, 220, 40)


def disc(side, rim):
    """A red disc on green, whose alpha is `rim` px too wide."""
    rgba = np.full((side, side, 4), (*GREEN, 0), np.uint8)
    centre, radius = (side // 2, side // 2), side // 3
    cv2.circle(rgba, centre, radius + rim, (*GREEN, 255), -1)
    cv2.circle(rgba, centre, radius, (*RED, 255), -1)
    return rgba


@pytest.mark.parametrize("side", [60, 120, 600])
def test_the_old_background_is_gone(side):
    rgba = disc(side, rim=1)
    clean = clean_edge(rgba, edge_width(rgba.shape[:2]))
    visible = clean[clean[..., 3] > 40].astype(int)
    greenness = visible[:, 1] - np.maximum(visible[:, 0], visible[:, 2])
    assert np.quantile(greenness, 0.999) < 0


def test_adds_the_padding_and_shrinks_the_alpha():
    rgba = disc(120, rim=0)
    clean = clean_edge(rgba, 2.0)
    assert clean.shape == (120 + 2 * EDGE_PAD, 120 + 2 * EDGE_PAD, 4)
    before, after = (image[..., 3].sum() / 255 for image in (rgba, clean))
    outline = 2 * np.pi * 40
    assert before - 1.2 * outline < after < before - 0.3 * outline


def test_the_middle_keeps_its_colours():
    clean = clean_edge(disc(120, rim=1), 2.0)
    middle = slice(40 + EDGE_PAD, 80 + EDGE_PAD)
    assert (clean[middle, middle] == (*RED, 255)).all()

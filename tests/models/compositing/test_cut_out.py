"""Cut-outs are trimmed to their object, and their levels keep its colour up to the edge."""

import numpy as np

from models.compositing.cut_out import prepare_cut_out, trim_cut_out
from tests.models.compositing.cut_outs import draw_disc


def test_trimming_leaves_the_object_alone() -> None:
    image = np.full((90, 120, 4), 200, np.uint8)
    image[..., 3] = 0
    image[20:60, 30:100] = (250, 40, 10, 255)
    trimmed = trim_cut_out(image, 300)
    assert trimmed is not None
    assert trimmed.shape == (40, 70, 4)
    assert (trimmed == (250, 40, 10, 255)).all()
    small = trim_cut_out(image, 35)
    assert small is not None
    assert small.shape == (20, 35, 4)
    assert (small == (250, 40, 10, 255)).all()


def test_an_image_without_an_object_has_no_cut_out() -> None:
    image = np.full((9, 12, 4), 127, np.uint8)
    assert trim_cut_out(image, 300) is None


def test_levels_are_premultiplied_halves() -> None:
    cut_out = prepare_cut_out(draw_disc(200, (240, 120, 60)))
    assert cut_out.size == (200, 200)
    assert [level.shape[:2] for level in cut_out.levels] == [
        (200, 200),
        (100, 100),
        (50, 50),
        (25, 25),
    ]
    for level in cut_out.levels:
        expected = level[..., 3:] * (np.array([240, 120, 60]) / 255)
        assert np.abs(level[..., :3] - expected).max() <= 2

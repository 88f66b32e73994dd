"""Placements stay inside the margins, and placed objects keep their pixels and depth."""

import numpy as np
import pytest

from models.compositing.placement import (
    PlacedObject,
    draw_placement,
    keep_original_pixels,
    place_object,
)
from models.compositing.settings import CompositeSettings


@pytest.mark.parametrize("box", [(10, 200), (200, 10), (90, 90)])
def test_boxes_of_any_shape_stay_inside_the_margins(box: tuple[int, int]) -> None:
    limits = CompositeSettings(smallest=0.9, largest=1.0, margin=0.1, max_rotation=45)
    for seed in range(10):
        placement = draw_placement(box, 0.0, (180, 240), np.random.default_rng(seed), limits)
        cos, sin = (abs(function(np.radians(placement.rotation))) for function in (np.cos, np.sin))
        half = 0.5 * placement.scale * np.array(
            [box[0] * cos + box[1] * sin, box[0] * sin + box[1] * cos]
        )  # fmt: skip
        assert (np.array(placement.centre) - half >= 0.1 * np.array([180, 240]) - 1e-6).all()
        assert (np.array(placement.centre) + half <= 0.9 * np.array([180, 240]) + 1e-6).all()


@pytest.mark.parametrize("size", [(64, 64), (71, 203), (300, 90)])
def test_a_placed_object_lies_within_the_margins(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    image, depth = np.zeros((90, 40, 4), np.uint8), np.zeros((90, 40), np.uint16)
    image[5:80, 8:30], depth[5:80, 8:30] = (10, 200, 30, 255), 50000
    limits = CompositeSettings(smallest=0.4, largest=0.8)
    for _ in range(20):
        placed = place_object(image, depth, size, rng, limits)
        rows, columns = np.nonzero(placed.rgba[..., 3])
        assert rows.min() >= 0.06 * size[1] - 2
        assert rows.max() <= 0.94 * size[1] + 1
        assert columns.min() >= 0.06 * size[0] - 2
        assert columns.max() <= 0.94 * size[0] + 1
        opaque = placed.rgba[..., 3] > 200
        assert (placed.rgba[opaque][:, :3] == (10, 200, 30)).all()
        assert (np.abs(placed.depth[opaque].astype(int) - 50000) < 20000).all()
        assert (placed.depth[placed.rgba[..., 3] == 0] == 0).mean() > 0.99


def test_rejects_an_object_without_alpha_and_a_depth_of_another_size() -> None:
    image, depth = np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9), np.uint16)
    rng, limits = np.random.default_rng(0), CompositeSettings()
    with pytest.raises(ValueError, match="alpha is empty"):
        place_object(image, depth, (64, 64), rng, limits)
    with pytest.raises(ValueError, match="doesn't fit the object's"):
        place_object(image, depth[1:], (64, 64), rng, limits)


def test_keeping_original_pixels_changes_only_the_object() -> None:
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[10:30, 10:30] = (250, 240, 230, 255)
    scene = np.full((40, 40, 3), 20, np.uint8)
    result = keep_original_pixels(scene, PlacedObject(rgba, np.zeros((40, 40), np.uint16)))
    assert (result[rgba[..., 3] == 0] == 20).all()
    assert (result[14:26, 14:26] == (250, 240, 230)).all()
    assert 20 < result[10, 20, 0] < 250, "the edge is feathered"

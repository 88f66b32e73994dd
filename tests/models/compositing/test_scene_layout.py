"""Every object of a layout keeps the limits that the settings give."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.compositing.cut_out import OBJECT_ALPHA, prepare_cut_out
from models.compositing.scene_layout import Layout, draw_layout
from models.compositing.scene_settings import SceneSettings
from models.data.pixels import Bools
from tests.models.compositing.cut_outs import draw_disc

DISC = prepare_cut_out(draw_disc(80, (250, 30, 30)))


def draw(seed: int, objects: int = 6, distractors: int = 0, **changes: Any) -> Layout:
    settings = SceneSettings(width=160, height=120, **changes)
    rng = np.random.default_rng(seed)
    return draw_layout([DISC] * objects, [DISC] * distractors, settings, rng)


def masks_of(layout: Layout) -> list[tuple[int, Bools]]:
    """Per object, all px of its mask, and its mask in the frame; one px after the other."""
    height, width = layout.owner.shape
    found = []
    for placed in layout.placed:
        mask = np.zeros((height, width), np.bool_)
        rows, columns = np.nonzero(placed.patch[..., 3] >= OBJECT_ALPHA)
        for row, column in zip(rows + placed.top, columns + placed.left, strict=True):
            if 0 <= row < height and 0 <= column < width:
                mask[row, column] = True
        found.append((len(rows), mask))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_no_object_is_covered_or_cut_more_than_allowed(seed: int) -> None:
    limits = {"max_overlap": 0.3, "truncation": 0.25, "min_visibility": 0.6}
    layout = draw(seed, **limits)
    masks = masks_of(layout)
    for owner, (area, mask) in enumerate(masks, start=1):
        visible = int((layout.owner == owner).sum())
        inside = int(mask.sum())
        assert inside >= 0.75 * area
        assert visible >= 0.7 * inside
        assert visible >= 0.6 * area


def test_objects_stay_apart_in_the_frame_where_nothing_else_is_allowed() -> None:
    layout = draw(1, objects=9, max_overlap=0, truncation=0, smallest=0.3, largest=0.4)
    masks = masks_of(layout)
    assert len(masks) >= 4
    assert all(mask.sum() == area for area, mask in masks)
    assert max(sum(mask.astype(int) for _, mask in masks).ravel()) == 1


def test_the_first_object_has_a_place_however_full_the_scene_is() -> None:
    for seed in range(6):
        layout = draw(seed, objects=9, max_overlap=0, truncation=0, smallest=1.0, largest=1.0)
        assert [placed.number for placed in layout.placed] == [0]


def test_distractors_cover_objects_no_more_than_other_objects_may() -> None:
    layout = draw(3, objects=2, distractors=12, max_overlap=0.1, min_visibility=0.8)
    assert sum(placed.is_distractor for placed in layout.placed) >= 3
    for owner, (_, mask) in enumerate(masks_of(layout), start=1):
        if not layout.placed[owner - 1].is_distractor:
            assert (layout.owner == owner).sum() >= 0.9 * mask.sum()


def test_spread_draws_objects_to_the_middle() -> None:
    heap = draw(2, max_overlap=0.9, min_visibility=0.1, spread=0.1, smallest=0.2, largest=0.2)
    rows, columns = np.nonzero(heap.owner)
    assert rows.min() > 40
    assert rows.max() < 80
    assert columns.min() > 55
    assert columns.max() < 105


def test_sizes_of_one_scene_differ_as_little_as_wanted() -> None:
    layout = draw(
        2, max_overlap=0.9, smallest=0.2, largest=0.9, size_difference=0.05, max_rotation=0
    )
    sides = [placed.patch.shape[0] for placed in layout.placed]
    assert len(sides) > 2
    assert max(sides) <= 1.12 * min(sides) + 2


def test_limits_in_the_wrong_order_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"smallest is 0.9, above largest, 0.8"):
        SceneSettings(smallest=0.9)


def test_a_scene_without_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="a scene got 0 objects and 1 distractors"):
        draw(0, objects=0, distractors=1)

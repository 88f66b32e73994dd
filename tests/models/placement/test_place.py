"""New objects have real sizes, cover nothing, and stay in the frame and the region."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from models.data.objects import PixelBox
from models.data.pixels import Floats
from models.placement.free_places import Scene
from models.placement.place import find_candidates, place_at_random, place_by_relevance
from models.placement.real_sizes import draw_size, measure_boxes
from models.placement.settings import PlacementSettings

_REAL = ((10.0, 20.0, 24.0, 12.0), (50.0, 30.0, 12.0, 12.0))
_SIZES = measure_boxes([(_REAL, (100, 80))])


def _overlaps(box: Sequence[float], other: Sequence[float]) -> bool:
    return all(
        box[axis] < other[axis] + other[axis + 2] and other[axis] < box[axis] + box[axis + 2]
        for axis in (0, 1)
    )


def _of_left_places(boxes: Sequence[PixelBox]) -> Floats:
    """The further left, the more relevant."""
    return np.array([1 - box[0] / 100 for box in boxes], np.float32)


def _place(scene: Scene, settings: PlacementSettings, seed: int) -> list[PixelBox]:
    rng = np.random.default_rng(seed)
    if settings.context == "random":
        placed = place_at_random(scene, _SIZES, settings, rng)
    else:
        found = find_candidates(scene, _SIZES, settings, rng, _of_left_places)
        placed = place_by_relevance(found, settings, rng)
    return [place.box for place in placed]


@pytest.mark.parametrize("context", ["random", "relevant"])
@pytest.mark.parametrize("square", [False, True])
def test_new_objects_cover_nothing_and_stay_inside(context: str, square: bool) -> None:
    region = np.zeros((80, 100), np.bool_)
    region[30:, 20:95] = True
    scene = Scene(100, 80, _REAL, region)
    settings = PlacementSettings.model_validate(
        {"context": context, "square": square, "per_scene": 4, "candidates": 200}
    )
    counts = set()
    for seed in range(20):
        boxes = _place(scene, settings, seed)
        counts.add(len(boxes))
        for box in boxes:
            x, y, width, height = box
            assert 20 <= x <= 95 - width
            assert 30 <= y <= 80 - height
            assert not any(_overlaps(box, other) for other in _REAL)
            assert (width == height) or not square
        assert not any(_overlaps(one, other) for one, other in combinations(boxes, 2))
    assert max(counts) == 4


@pytest.mark.parametrize("context", ["random", "relevant"])
def test_margins_stay_free(context: str) -> None:
    settings = PlacementSettings.model_validate(
        {"context": context, "per_scene": 3, "margin": 0.5, "candidates": 200}
    )
    for seed in range(20):
        boxes = _place(Scene(100, 80, _REAL), settings, seed)
        for box in boxes:
            x, y, width, height = box
            gap = round(0.5 * max(width, height))
            grown = (x - gap, y - gap, width + 2 * gap, height + 2 * gap)
            others = [*_REAL, *(other for other in boxes if other != box)]
            assert not any(_overlaps(grown, other) for other in others)


@pytest.mark.parametrize("context", ["random", "relevant"])
def test_a_full_scene_gets_no_object(context: str) -> None:
    settings = PlacementSettings.model_validate({"context": context})
    assert _place(Scene(100, 80, ((0.0, 0.0, 100.0, 75.0),)), settings, 0) == []


def test_the_same_seed_gives_the_same_places_and_another_seed_others() -> None:
    settings, scene = PlacementSettings(per_scene=3), Scene(100, 80, _REAL)
    assert _place(scene, settings, 1) == _place(scene, settings, 1)
    assert _place(scene, settings, 1) != _place(scene, settings, 2)


def test_sizes_are_real_ones_within_the_jitter() -> None:
    rng = np.random.default_rng(0)
    exact = {draw_size(_SIZES, (200, 160), 0.0, False, rng)[0] for _ in range(50)}
    assert exact == {(48, 24), (24, 24)}
    for _ in range(50):
        (width, height), middle = draw_size(_SIZES, (100, 80), 0.2, False, rng)
        is_wide = middle == np.float32(26 / 80)
        assert abs(width / (24 if is_wide else 12) - 1) <= 0.2 + 0.05
        assert abs(height / 12 - 1) <= 0.2 + 0.05


def test_boxes_at_the_border_of_a_photo_give_no_size() -> None:
    boxes = ((0.0, 20.0, 5.0, 12.0), (50.0, 30.0, 12.0, 12.0))
    assert measure_boxes([(boxes, (100, 80))]).tolist() == [
        pytest.approx([0.12, 0.12, 0.45], abs=1e-6)
    ]
    assert len(measure_boxes([(boxes[:1], (100, 80))])) == 1
    assert measure_boxes([((), (100, 80))]).shape == (0, 3)


def test_objects_are_as_high_in_the_frame_as_real_ones_of_their_size() -> None:
    sizes = measure_boxes([(((40.0, 10.0, 8.0, 8.0), (40.0, 60.0, 16.0, 16.0)), (100, 80))])
    settings = PlacementSettings(vertical="as_real", size_jitter=0.0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (place,) = place_at_random(Scene(100, 80), sizes, settings, rng)
        _, y, width, height = place.box
        assert abs(y + height / 2 - (14 if width == 8 else 68)) <= 8


def test_the_best_places_are_drawn_first_and_differ() -> None:
    settings = PlacementSettings(context="relevant", candidates=100, top_share=0.1, per_scene=1)
    rng = np.random.default_rng(0)
    found = find_candidates(Scene(100, 80), _SIZES, settings, rng, _of_left_places)
    best = np.sort(found.scores)[-10]
    drawn = [place_by_relevance(found, settings, rng)[0] for _ in range(20)]
    assert all(place.score is not None and place.score >= best - 1e-4 for place in drawn)
    assert len({place.box for place in drawn}) > 3

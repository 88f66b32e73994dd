"""Photo sets hold the numbers and shares of photos of each class, alike or different ones first."""

import numpy as np
import pytest

from tasks.study.grid import Grid
from tasks.study.photo_sets import all_photos, draw_photo_sets, leave_out_numbers
from tests.tasks.assemble.cases import photos_of, samples

PHOTOS = photos_of(samples("", {"kiwi": 6, "plum": 7}))


def test_numbers_of_photos_that_a_class_lacks_are_left_out_by_name() -> None:
    grid, notes = leave_out_numbers(PHOTOS, Grid(photos_per_class=(6, 7, "all")))
    assert grid.photos_per_class == (6, "all")
    assert notes == ["7 photos per class: left out, because class kiwi has 6 train photos"]
    with pytest.raises(ValueError, match="kiwi has 6 train photos, fewer than 8; give smaller"):
        leave_out_numbers(PHOTOS, Grid(photos_per_class=(8, 9)))


def test_shares_that_give_the_same_photos_are_left_out_by_name() -> None:
    grid, notes = leave_out_numbers(PHOTOS, Grid(photos_per_class=("5%", "10%", "50%", "100%")))
    assert grid.photos_per_class == ("5%", "50%", "100%")
    assert notes == [
        "10% photos per class: left out, because they are the same as those of 5%",
    ]


def test_a_share_takes_that_part_of_each_class_and_at_least_one_photo() -> None:
    sets = draw_photo_sets(Grid(photos_per_class=("1%", "50%", "all"), seeds=1), PHOTOS, {})
    counts = [
        [sum(photo.label == label for photo in found.photos) for label in ("kiwi", "plum")]
        for (found,) in sets.values()
    ]
    assert counts == [[1, 1], [3, 4], [6, 7]]


def test_all_photos_are_those_that_a_set_holds() -> None:
    sets = draw_photo_sets(Grid(photos_per_class=(1, 2), seeds=2), PHOTOS, {})
    names = {photo.name for photo in all_photos(sets)}
    assert names == frozenset().union(*(found.names for drawn in sets.values() for found in drawn))
    assert len(names) < len(PHOTOS)


def test_alike_photos_are_nearest_to_the_first_and_different_ones_far_from_all() -> None:
    kiwis = photos_of(samples("", {"kiwi": 6}))
    angles = {photo.name: float(place) for place, photo in enumerate(kiwis)}
    features = {
        name: np.array([np.cos(angle / 4), np.sin(angle / 4)], np.float32)
        for name, angle in angles.items()
    }
    grid = Grid(photos_per_class=(3,), photos_by=("random", "alike", "different"), seeds=4)
    sets = draw_photo_sets(grid, kiwis, features)
    for replicate in range(4):
        random, alike, different = (
            [angles[photo.name] for photo in drawn[replicate].photos] for drawn in sets.values()
        )
        assert random[0] == alike[0] == different[0]
        assert max(alike) - min(alike) <= 3
        assert max(different) - min(different) >= 4

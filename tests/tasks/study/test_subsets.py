"""Subsets of a study are nested, hold images of their own photos alone, and never repeat one."""

import pytest

from models.data.records import Sample, SourceImage
from tasks.study.subsets import (
    Grid,
    Subset,
    draw_subsets,
    leave_out_numbers,
    photos_of,
    read_grid,
)
from tests.tasks.assemble.cases import samples

REAL = samples("", {"kiwi": 6, "plum": 7})
MADE = samples("cut", {"kiwi": 24, "plum": 28}, per_source=4)
PHOTOS = [
    SourceImage(
        name=sample.name,
        file=sample.name,
        split="train",
        image=sample.image,
        annotations=sample.annotations,
    )
    for sample in REAL
]


def draw(grid: Grid, made: list[Sample] = MADE) -> tuple[list[Subset], list[str]]:
    real = {sample.name: sample for sample in REAL}
    return draw_subsets(grid, PHOTOS, real, {"cut": made}, "flip", ("flip", "randaugment"))


def find(
    subsets: list[Subset], photos: str, share: float, replicate: int
) -> tuple[set[str], set[str]]:
    """The names of the real and of the generated images of a subset."""
    (found,) = (
        subset
        for subset in subsets
        if (subset.point.photos_per_class, subset.point.share) == (photos, share)
        and (subset.replicate, subset.point.augment) == (replicate, "flip")
    )
    names = [{s.name for s in found.train if bool(s.generator) is made} for made in (False, True)]
    assert sum(map(len, names)) == len(found.train) == found.point.real + found.point.synthetic
    return names[0], names[1]


def test_fewer_photos_and_smaller_shares_are_subsets_within_a_replicate() -> None:
    grid = Grid(photos_per_class=(2, 4, "all"), shares=(0.5, 1, 3), seeds=3)
    subsets, left_out = draw(grid)
    assert left_out == []
    for replicate in range(3):
        small, middle, everything = (
            find(subsets, number, 0, replicate)[0] for number in ("2", "4", "all")
        )
        assert small < middle < everything == {sample.name for sample in REAL}
        for number, count in (("2", 4), ("4", 8)):
            half, one, three = (
                find(subsets, number, share, replicate) for share in (0.5, 1.0, 3.0)
            )
            assert half[0] == one[0] == three[0]
            assert half[1] < one[1] < three[1]
            assert [len(images) for _, images in (half, one, three)] == [
                count // 2,
                count,
                3 * count,
            ]


def test_images_are_made_of_the_photos_of_their_subset_alone() -> None:
    subsets, _ = draw(Grid(photos_per_class=(2, 5), shares=(1, 4), seeds=4))
    for subset in subsets:
        photos = {sample.name for sample in subset.train if not sample.generator}
        assert all(photos.issuperset(sample.sources) for sample in subset.train)


def test_each_replicate_draws_other_photos_and_other_images_of_all_photos() -> None:
    subsets, _ = draw(Grid(photos_per_class=(3, "all"), shares=(1,), seeds=3))
    assert len({frozenset(find(subsets, "3", 0, replicate)[0]) for replicate in range(3)}) == 3
    assert len({frozenset(find(subsets, "all", 1, replicate)[1]) for replicate in range(3)}) == 3


def test_points_without_enough_images_are_left_out_by_name() -> None:
    grid = Grid(photos_per_class=(2, 4), shares=(0.1, 4, 5), seeds=2)
    subsets, left_out = draw(grid)
    assert {subset.point.share for subset in subsets} == {0, 4}
    assert left_out[1] == (
        "2 photos per class + 5 cut images per photo: left out, because class kiwi has 8 images of "
        "10 in replicate 0"
    )
    assert len(left_out) == 4

    rejected = [MADE[0].model_copy(update={"reject_reason": "blank"}), *MADE[1:]]
    _, left_out = draw(Grid(photos_per_class=("all",), shares=(4,), seeds=1), rejected)
    assert "class kiwi has 23 images of 24" in left_out[0]


def test_numbers_of_photos_that_a_class_lacks_are_left_out_by_name() -> None:
    grid, notes = leave_out_numbers(PHOTOS, Grid(photos_per_class=(6, 7, "all")))
    assert grid.photos_per_class == (6, "all")
    assert notes == ["7 photos per class: left out, because class kiwi has 6 train photos"]
    with pytest.raises(ValueError, match="kiwi has 6 train photos, fewer than 8; give smaller"):
        leave_out_numbers(PHOTOS, Grid(photos_per_class=(8, 9)))


def test_images_are_made_of_the_photos_that_a_subset_holds() -> None:
    grid = Grid(photos_per_class=(1, 2), shares=(1,), seeds=2)
    used = {photo.name for photo in photos_of(PHOTOS, grid)}
    subsets, _ = draw(grid)
    assert used == {sample.name for subset in subsets for sample in subset.train} - {
        sample.name for sample in MADE
    }
    assert len(used) < len(PHOTOS)


def test_a_grid_is_read_from_two_lists() -> None:
    grid = read_grid("5, 24,all", "0,0.5,2", 3)
    assert grid == Grid(photos_per_class=(5, 24, "all"), shares=(0.5, 2.0), seeds=3)


@pytest.mark.parametrize(
    ("numbers", "shares", "complaint"),
    [
        ("5,some", "0", "--photos-per-class: 'some' is no number of photos"),
        ("0", "0", "--photos-per-class: '0' is no number of photos"),
        ("5", "1,x", "--shares: 'x' is no number of images per photo"),
        ("5", "-1", "--shares: '-1' is no number of images per photo"),
        ("5", "inf", "--shares: 'inf' is no number of images per photo"),
        ("5,5", "0", "--photos-per-class: '5' is named twice"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_by_name(
    numbers: str, shares: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_grid(numbers, shares, 5)

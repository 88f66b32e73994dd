"""Subsets of a study are nested, hold images of their own photos alone, and never repeat one."""

from models.data.records import Sample
from tasks.study.grid import Grid, Method
from tasks.study.photo_sets import draw_photo_sets
from tasks.study.subsets import Subset, draw_subsets
from tests.tasks.assemble.cases import photos_of, samples

REAL = samples("", {"kiwi": 6, "plum": 7})
MADE = samples("cut", {"kiwi": 24, "plum": 28}, per_source=4)
OTHER = samples("other", {"kiwi": 24, "plum": 28}, per_source=4)
PHOTOS = photos_of(REAL)
SERIES = {
    "flip": Method(augment="flip"),
    "randaugment": Method(augment="randaugment"),
    "cut": Method(synthetic={"cut": 1.0}, augment="flip"),
}


def draw(
    grid: Grid, made: list[Sample] = MADE, series: dict[str, Method] = SERIES
) -> tuple[list[Subset], list[str]]:
    real = {sample.name: sample for sample in REAL}
    sets = draw_photo_sets(grid, PHOTOS, {})
    images = {
        found.names: {"cut": made, "other": OTHER} for drawn in sets.values() for found in drawn
    }
    return draw_subsets(grid, sets, real, images, series)


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
        "2 photos per class + cut images, 5 per photo: left out, because class kiwi has 8 cut "
        "images of 10 in replicate 0"
    )
    assert len(left_out) == 4

    rejected = [MADE[0].model_copy(update={"reject_reason": "blank"}), *MADE[1:]]
    _, left_out = draw(Grid(photos_per_class=("all",), shares=(4,), seeds=1), rejected)
    assert "class kiwi has 23 cut images of 24" in left_out[0]


def test_a_hybrid_holds_the_parts_of_its_generators_and_no_photos_unless_they_are_part_of_it() -> (
    None
):
    hybrid = {"cut": 0.25, "other": 0.75}
    series = {
        "photos": Method(),
        "hybrid": Method(synthetic=hybrid),
        "images alone": Method(synthetic=hybrid, real=False),
    }
    subsets, left_out = draw(
        Grid(photos_per_class=(3,), images_per_class=(8, 99), seeds=1), MADE, series
    )
    counts = {
        found.point.method: [
            sum(s.generator == name for s in found.train) for name in ("", "cut", "other")
        ]
        for found in subsets
    }
    assert counts == {"photos": [6, 0, 0], "hybrid": [6, 4, 12], "images alone": [0, 4, 12]}
    assert subsets[1].train[6:] == subsets[2].train
    assert subsets[1].name == "3 photos per class + hybrid images, 8 per class · replicate 0"
    assert [line.partition(":")[0] for line in left_out] == [
        "3 photos per class + hybrid images, 99 per class",
        "3 photos per class replaced by images alone images, 99 per class",
    ]

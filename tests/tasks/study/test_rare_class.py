"""Studies of a rare class: which photos its numbers take, and images that keep its instances."""

import pytest

from models.data.records import NO_OBJECT_LABEL, Annotation, Sample
from tasks.study.grid import Grid, Method
from tasks.study.photo_sets import draw_photo_sets, leave_out_numbers
from tasks.study.rare_class import count_instances, take_instances
from tasks.study.subsets import Subset, draw_subsets
from tests.tasks.assemble.cases import photos_of, samples


def showing(sample: Sample, *labels: str, counted_as: str = "") -> Sample:
    notes = tuple(Annotation(label=label, box=(1, 2, 3, 4)) for label in labels)
    return sample.model_copy(update={"annotations": notes, "counted_as": counted_as})


# Four photos show platelets, two each; they are counted in two classes. Three show cells alone.
CELLS = [showing(sample, "cell") for sample in samples("", {"cell": 3})]
SHOWN = [
    showing(sample, "platelet", "cell", "platelet", counted_as="platelet")
    for sample in samples("", {"platelet": 3})
]
SHOWN += [
    showing(sample, "platelet", "virus", "platelet", counted_as="virus")
    for sample in samples("", {"virus": 1})
]
REAL = [*CELLS, *SHOWN]
# Images painted into each of the photos by a generator that learned from all photos of the class.
PAINTED = [
    showing(sample, "platelet").model_copy(
        update={
            "image": sample.image.model_copy(update={"name": scene.name}),
            "sources": (scene.name, *(photo.name for photo in SHOWN)),
        }
    )
    for scene in REAL
    for sample in samples(f"paint-{scene.name.replace('/', '-')}", {"platelet": 3})
]
SERIES = {"removed": Method(), "painted": Method(synthetic={"paint": 1})}
RARE = {"rare_class": "platelet", "photos_per_class": ("0%", "50%", "all"), "seeds": 1}


def draw(real: list[Sample] = REAL, **changes: object) -> tuple[list[Subset], list[str]]:
    grid = Grid.model_validate({**RARE, "fill": "instances", "learn_from": "all", **changes})
    photos = [
        photo.model_copy(update={"counted_as": sample.counted_as})
        for photo, sample in zip(photos_of(real), real, strict=True)
    ]
    grid, _ = leave_out_numbers(photos, grid)
    sets = draw_photo_sets(grid, photos, {})
    made = {found.names: {"paint": PAINTED} for drawn in sets.values() for found in drawn}
    return draw_subsets(grid, sets, {sample.name: sample for sample in real}, made, SERIES)


def test_numbers_hold_for_the_photos_that_show_the_class_and_all_others_stay() -> None:
    subsets, _ = draw()
    removed = {s.point.photos_per_class: s.train for s in subsets if s.point.method == "removed"}
    assert {number: len(train) for number, train in removed.items()} == {
        "0%": 3,
        "50%": 5,
        "all": 7,
    }
    assert {sample.name for sample in removed["0%"]} == {sample.name for sample in CELLS}
    assert [count_instances(train, "platelet") for train in removed.values()] == [0, 4, 8]


@pytest.mark.parametrize("others", [[], [NO_OBJECT_LABEL]], ids=["no others", "good photos"])
def test_a_number_that_leaves_no_object_is_left_out(others: list[str]) -> None:
    kept = [showing(sample, *others) for sample in CELLS] if others else []
    subsets, notes = draw([*kept, *SHOWN])
    assert {subset.point.photos_per_class for subset in subsets} == {"50%", "all"}
    assert notes == [
        "0% of the photos of platelet: left out, because no photo that is left shows an object"
    ]


def test_a_study_without_a_point_says_why() -> None:
    with pytest.raises(ValueError, match=r"trained \(0% of the photos .* object\); give other"):
        draw(SHOWN, photos_per_class=("0%",))


def test_images_fill_the_class_up_to_the_instances_of_all_photos() -> None:
    subsets, notes = draw()
    assert notes == []
    painted = {s.point.photos_per_class: s for s in subsets if s.point.method == "painted"}
    # All photos need no image.
    assert list(painted) == ["0%", "50%"]
    for number, added in (("0%", 8), ("50%", 4)):
        subset = painted[number]
        assert count_instances(subset.train, "platelet") == subset.point.instances == 8
        assert subset.point.synthetic == added
        real = {sample.name for sample in subset.train if not sample.generator}
        assert all(s.image.name in real for s in subset.train if s.generator)
    assert painted["0%"].name == (
        "0% of photos of platelet + painted images, up to 8 instances · replicate 0"
    )


def test_a_point_without_enough_images_of_its_own_photos_is_left_out() -> None:
    _, notes = draw(learn_from="own")
    assert notes == [
        "0% of photos of platelet + painted images, up to 8 instances: left out, because the images"
        " of paint lack 8 instances of platelet in replicate 0",
        "50% of photos of platelet + painted images, up to 8 instances: left out, because the"
        " images of paint lack 4 instances of platelet in replicate 0",
    ]


def test_amounts_count_images_of_the_rare_class_alone() -> None:
    subsets, notes = draw(fill="none", images_per_class=(2, 5), photos_per_class=("all",))
    assert notes == []
    assert [s.point.synthetic for s in subsets] == [0, 2, 5]
    assert subsets[1].point.images_name == "all photos of platelet + painted images, 2 images"
    few, many = ({sample.name for sample in subset.train} for subset in subsets[1:])
    assert few < many


def test_images_with_more_instances_than_are_missing_are_passed_over() -> None:
    one, two, three = (
        showing(sample, *(["platelet"] * count))
        for count, sample in enumerate(samples("paint", {"platelet": 3}), 1)
    )
    available = {"paint": [two, three, one], "paste": [one]}
    taken, lacking = take_instances(available, {"paint": 1.0}, "platelet", 3)
    assert (taken, lacking) == ([two, one], {})
    # An odd instance that no image can give is not lacking.
    assert take_instances({"paint": [two, three]}, {"paint": 1.0}, "platelet", 1) == ([], {})
    parts = {"paint": 0.5, "paste": 0.5}
    assert take_instances(available, parts, "platelet", 5) == ([two, one, one], {"paste": 1})


def test_a_grid_of_a_rare_class_names_it() -> None:
    with pytest.raises(ValueError, match=r"0% of the photos and fill: instances need rare_class"):
        Grid(fill="instances")
    with pytest.raises(ValueError, match=r"fill: instances sets the amounts; remove shares"):
        Grid(fill="instances", rare_class="platelet", shares=(1,))
    with pytest.raises(ValueError, match=r"no train photo shows the class 'mug'; name a class"):
        draw(rare_class="mug")

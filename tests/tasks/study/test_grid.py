"""The grid of a study is read from lists, and refuses what no study can compare."""

import pytest
from pydantic import ValidationError

from tasks.study.grid import Grid, Method, count_photos


def test_a_grid_is_changed_by_lists() -> None:
    grid = Grid().changed("5, 24,10%,all", "0,0.5,2", None, 3)
    assert grid == Grid(photos_per_class=(5, 24, "10%", "all"), shares=(0, 0.5, 2.0), seeds=3)
    assert grid.amounts == [(0.5, 0), (2.0, 0)]
    counted = grid.changed(images_per_class="50,200")
    assert counted.amounts == [(0.0, 50), (0.0, 200)]
    assert counted.changed(shares="0").amounts == []


def test_without_lists_the_usual_shares_are_compared() -> None:
    assert [share for share, _ in Grid().amounts] == [0.5, 1, 2, 5, 10, 20]


@pytest.mark.parametrize(
    ("number", "available", "count"),
    [(5, 9, 5), (5, 3, 3), ("all", 7, 7), ("5%", 102, 5), ("5%", 4, 1), ("50%", 7, 4)],
)
def test_a_number_counts_photos(number: int | str, available: int, count: int) -> None:
    assert count_photos(number, available) == count


@pytest.mark.parametrize(
    ("numbers", "shares", "counts", "complaint"),
    [
        ("5,some", None, None, "--photos-per-class: 'some' is no number of photos"),
        ("0", None, None, "--photos-per-class: '0' is no number of photos"),
        ("0%", None, None, "0% of the photos and fill: instances need rare_class"),
        ("5,101%", None, None, "--photos-per-class: 101% of the photos is out of range"),
        ("5,5", None, None, "--photos-per-class: '5' is named twice"),
        (None, "1,x", None, "--shares: 'x' is no number of images per photo"),
        (None, "-1", None, "--shares: '-1' is no number of images per photo"),
        (None, "inf", None, "--shares: 'inf' is no number of images per photo"),
        (None, None, "0", "--images-per-class: '0' is no number of images"),
        (None, "1", "5", "--shares and --images-per-class: give one of the two"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_by_name(
    numbers: str | None, shares: str | None, counts: str | None, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Grid().changed(numbers, shares, counts)


def test_a_method_needs_parts_that_add_up_and_something_to_learn_from() -> None:
    with pytest.raises(ValidationError, match=r"the parts add up to 0\.9; make them add up to 1"):
        Method(synthetic={"cut": 0.5, "other": 0.4})
    with pytest.raises(ValidationError, match="no photos and no images; set real: true"):
        Method(real=False)


def test_shares_and_counts_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="shares and images_per_class are both listed"):
        Grid(shares=(1,), images_per_class=(5,))


def test_a_profile_has_its_methods_and_those_of_both() -> None:
    grid = Grid(
        methods={
            "photos": Method(),
            "pasted": Method(synthetic={"cut": 1}),
            "painted": Method(synthetic={"other": 1}, profile="diffusion"),
        }
    )
    assert grid.profiles == ["classical", "diffusion"]
    assert list(grid.of("classical").methods) == ["photos", "pasted"]
    assert grid.of("diffusion") == grid

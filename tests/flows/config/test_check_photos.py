"""Mistakes that file names show are found before anything is computed."""

from pathlib import Path

import pytest

from flows.config.check_photos import check_photos, find_small_classes
from flows.config.recipe import Recipe
from flows.planning import make_plan
from models.data.splits.splitting import SplitParameters

SPLITS = SplitParameters()


def write(folder: Path, **counts: int) -> Path:
    """Empty-looking photos by class: names decide here."""
    for label, count in counts.items():
        for number in range(count):
            path = folder / label / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\xff")
    return folder


def test_a_small_class_is_left_out_unless_the_recipe_stops_the_run(tmp_path: Path) -> None:
    photos = write(tmp_path, cow=2, hen=5, pig=5)
    labels = check_photos(Recipe(), photos, None)
    assert find_small_classes(labels, SPLITS) == {"cow": "has 2 photos, needs 3 (train, val, test)"}
    plan = make_plan(Recipe(), photos, None)
    assert list(plan.photos) == ["hen", "pig"]
    assert any("the class 'cow' has 2 photos" in warning for warning in plan.warnings)
    with pytest.raises(ValueError, match=r"the class 'cow' has 2 photos, needs 3 .*; add photos"):
        check_photos(Recipe(leave_out_classes=False), photos, None)


def test_one_class_that_is_left_can_not_be_trained_on(tmp_path: Path) -> None:
    photos = write(tmp_path, cow=2, hen=1, pig=5)
    with pytest.raises(ValueError, match=r"'cow' has 2 photos.*\(1 more classes have too few\)"):
        check_photos(Recipe(), photos, None)


def test_splits_that_folders_give_take_no_train_photos(tmp_path: Path) -> None:
    write(tmp_path / "train", cow=2, hen=1, pig=5)
    write(tmp_path / "test", cow=2, hen=2, pig=2)
    labels = check_photos(Recipe(), tmp_path, None)
    assert find_small_classes(labels, SPLITS) == {"hen": "has 1 photo, needs 2 (train, val)"}
    assert find_small_classes(labels, SplitParameters(val_from="test")) == {}


def test_a_plan_knows_numbers_of_photos_per_class(tmp_path: Path) -> None:
    photos = write(tmp_path, cow=12, pig=7)
    for split, train in (
        ({"val": 2, "test": 3}, {"cow": 7, "pig": 2}),
        ({"train": 4, "val": 2, "test": 3}, {"cow": 4, "pig": 2}),
        ({"train": 4}, {"cow": 4, "pig": 4}),
    ):
        assert make_plan(Recipe.model_validate({"split": split}), photos, None).photos == train
    with pytest.raises(ValueError, match="real"):
        check_photos(
            Recipe.model_validate({"split": {"train": 4}, "assemble": {"per_class": 5}}),
            photos,
            None,
        )


def test_a_limit_below_the_number_of_classes_is_refused(tmp_path: Path) -> None:
    photos = write(tmp_path, cow=5, hen=5, pig=5)
    check_photos(Recipe(), photos, 3)
    with pytest.raises(
        ValueError, match="--limit 2 leaves 1 of 3 classes without a reference; giv"
    ):
        check_photos(Recipe(), photos, 2)
    with pytest.raises(ValueError, match="--limit 2 leaves"):
        make_plan(Recipe(), photos, 2)


@pytest.mark.parametrize(
    "content",
    [
        {"assemble": {"per_class": 6}},
        {"datasets": [{"name": "real", "real": 6}]},
        {"datasets": [{"name": "real", "real": 0.5, "per_class": 12}]},
    ],
)
def test_a_volume_above_the_number_of_photos_is_refused(
    tmp_path: Path, content: dict[str, object]
) -> None:
    photos = write(tmp_path, cow=5, hen=9)
    with pytest.raises(ValueError, match=r"class cow has 5 real train images of 6 \(1 short\)"):
        check_photos(Recipe.model_validate(content), photos, None)


def test_files_that_a_recipe_names_are_looked_for(tmp_path: Path) -> None:
    photos = write(tmp_path / "photos", cow=5, hen=5)
    with pytest.raises(ValueError, match=r"split.group_by: nowhere.csv can't be read as CSV"):
        check_photos(Recipe.model_validate({"split": {"group_by": "nowhere.csv"}}), photos, None)
    with pytest.raises(ValueError, match="backgrounds: rooms is no folder"):
        check_photos(Recipe(backgrounds=Path("rooms")), photos, None)

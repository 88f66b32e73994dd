"""Whole photos of several classes are checked and planned from their annotations alone."""

from pathlib import Path

import pytest

from flows.config.checks.photos import check_photos
from flows.config.recipe import Recipe
from flows.planning import make_plan
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tasks.ingest.test_whole_photos import boxed

CONTENT = {
    "train": {"task": "detection", "seeds": [0]},
    "generators": {"copy_paste": {"classes": ["disc"], "scenes": {"per_photo": 2, "blends": 1}}},
    "datasets": [{"name": "real", "real": "all"}],
    "quality": None,
}


def test_a_rare_class_may_be_named_though_no_photo_is_counted_in_it(tmp_path: Path) -> None:
    # As many photos show discs as blocks, so that the first of them by name is counted.
    kinds = [["disc", "block"]] * 4 + [[]]
    images = [boxed(image) for image in draw_images(tmp_path / "drawn", kinds)]
    write_set(tmp_path / "photos", "yolo", {"": images})
    recipe = Recipe.model_validate(CONTENT)
    labels = check_photos(recipe, tmp_path / "photos", 1)
    assert sorted({label for _, label in labels}) == ["block", "no object"]
    plan = make_plan(recipe, tmp_path / "photos", None)
    assert plan.photos == {"block": 2, "no object": 1}
    assert (plan.images, plan.trainings, plan.warnings) == (6, 1, ())
    other = Recipe.model_validate({**CONTENT, "generators": {"copy_paste": {"classes": ["mug"]}}})
    with pytest.raises(ValueError, match=r"the photos have no class 'mug'"):
        check_photos(other, tmp_path / "photos", None)


def test_a_set_in_which_nothing_is_annotated_is_refused(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "drawn", [[], []])
    write_set(tmp_path / "photos", "yolo", {"": images})
    with pytest.raises(ValueError, match="no photo has an object that can be used; annotate some"):
        check_photos(Recipe.model_validate(CONTENT), tmp_path / "photos", None)

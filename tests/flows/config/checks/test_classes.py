"""Settings that name a class are compared with the classes of the photos."""

import pytest

from flows.config.checks.classes import check_classes
from flows.config.recipe import Recipe, load_recipe

LABELS = ("mug", "Toy car", "007", "训练", "tea pot", "cup", "plate")


@pytest.mark.parametrize(
    ("label", "hint"),
    [
        ("mugs", "such as 'mug'"),
        ("toy car", "such as 'Toy car'"),
        ("zebra", "such as '007', 'Toy car', 'cup', 'mug', 'plate', ..."),
        ("x" * 500, "such as '007'"),
    ],
)
def test_names_the_field_and_the_class_that_may_be_meant(label: str, hint: str) -> None:
    recipe = load_recipe("demo", [f"generators.multiview.caption.prompts={{mug: a, {label}: b}}"])
    with pytest.raises(ValueError, match=r"generators\.multiview\.caption\.prompts: the") as caught:
        check_classes(recipe, LABELS)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 300


def test_classes_of_the_photos_are_taken() -> None:
    recipe = load_recipe("demo", ["generators.multiview.caption.prompts={007: a, 训练: b}"])
    check_classes(recipe, LABELS)
    check_classes(load_recipe("multiview"), LABELS)


@pytest.mark.parametrize("field", ["prompts", "negative_prompts"])
def test_prompts_of_classes_are_checked(field: str) -> None:
    content = {"mug": ["a mug"]} if field == "prompts" else {"mug": "sliced"}
    section = {"model": "sd15", field: content}
    recipe = Recipe.model_validate({"generators": {"text_to_image": {"text_to_image": section}}})
    check_classes(recipe, LABELS)
    with pytest.raises(ValueError, match=rf"text_to_image\.{field}: the photos have no class"):
        check_classes(recipe, ("cup",))

"""A generator that a recipe lists twice, with settings of its own each time."""

import json
from pathlib import Path

import pytest

from flows.config.recipe import Recipe, RecipeError, load_recipe
from flows.config.study import load_study
from flows.generators.catalog import find_generator
from flows.planning import make_plan
from tests.tasks.ingest.test_annotated import draw_images, write_set
from tests.tiny import Cli

RECIPE = """\
profile: classical
ingest: {objects: scene}
generators:
  copy_paste:
    classes: [block]
    cut_outs: {min_side: 4}
    scenes: {blends: 1, placing: {}}
  copy_paste-two:
    scenes: {placing: {versions: 2}}
screen:
  {min_contrast: 0, min_sharpness: 0, min_object: 0, max_object: 1, max_cut: 1,
   sibling_bits: 0, heldout_bits: 0}
resize: {longest_side: 128}
split: {compare_pictures: false}
datasets:
  - {name: one, real: all, synthetic: {copy_paste: all}}
  - {name: two, real: all, synthetic: {copy_paste-two: all}}
train: null
quality: null
"""


def test_a_section_has_its_name_and_the_phases_of_its_generator() -> None:
    found = find_generator("copy_paste-two")
    assert found.name == "copy_paste-two"
    assert found.phases == find_generator("copy_paste").phases


def test_a_repeated_section_begins_with_the_fields_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(RECIPE)
    changes = ["scenes.blends=3", "cut_outs.min_side=9", "scenes.placing.per_scene=4"]
    recipe = load_recipe(path, [f"generators.copy_paste.{change}" for change in changes])
    first, second = (found.model_dump(mode="json") for found in recipe.generators.values())
    assert first["scenes"].pop("placing")["versions"] == 1
    placing = second["scenes"].pop("placing")
    assert (placing["versions"], placing["per_scene"]) == (2, 4)
    assert first == second
    assert (second["classes"], second["cut_outs"]["min_side"]) == (["block"], 9)
    # As a child run on another machine gets it.
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_another_model_takes_no_fields_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(
        "generators:\n"
        "  multiview: {upscale_views: {model: lanczos, sharpen: 0.1}}\n"
        "  multiview-net: {upscale_views: {model: realesrgan}}\n"
    )
    first, second = (found.model_dump() for found in load_recipe(path).generators.values())
    assert "sharpen" in first["upscale_views"]
    assert "sharpen" not in second["upscale_views"]


def test_a_repeated_section_can_turn_a_stage_off(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(RECIPE)
    changed = load_recipe(path, ["generators.copy_paste-two.scenes.placing=null"])
    first, second = changed.generators.values()
    assert first.scenes.placing is not None  # type: ignore[attr-defined]
    assert second.scenes.placing is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name", ["copy_paste-", "copy_paste-Two", "copy_paste-a b", "copy_paste--"]
)
def test_a_word_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(
        RecipeError, match=rf"generators\.{name}: the word after the hyphen may have"
    ):
        load_recipe("demo", [f"generators.{name}=" + "{}"])


def test_an_unknown_generator_is_refused_with_every_profile() -> None:
    for profile in ("classical", "diffusion"):
        changes = [f"profile={profile}", "generators.magic-two={}"]
        with pytest.raises(RecipeError, match=r"generators\.magic-two: there is no such generator"):
            load_recipe("multiview", changes)


def test_another_profile_replaces_the_models_of_all_sections(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(
        "profile: classical\n"
        "generators: {multiview: {}, multiview-soft: {upscale_views: {sharpen: 0.1}}}\n"
    )
    settings = load_recipe(path).generators["multiview-soft"]
    assert settings.upscale_views.sharpen == 0.1  # type: ignore[attr-defined]
    # Its network has no field sharpen.
    other = load_recipe(path, ["profile=diffusion"]).generators["multiview-soft"]
    assert other.upscale_views.model == "realesrgan"  # type: ignore[attr-defined]


def test_a_plan_says_that_equal_work_is_counted_twice(tmp_path: Path) -> None:
    write_set(
        tmp_path / "photos", "coco", {"train": draw_images(tmp_path, [["disc", "block"]] * 3)}
    )
    (tmp_path / "twice.yaml").write_text(RECIPE)
    plan = make_plan(load_recipe(tmp_path / "twice.yaml"), tmp_path / "photos", None)
    assert plan.images_per_photo == {"copy_paste": 1, "copy_paste-two": 2}
    assert any(note.startswith("copy_paste-two: what it has in common") for note in plan.warnings)


def test_a_rare_class_of_a_study_holds_for_all_sections(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "study: {grid: {rare_class: block, methods: {photos: {}, one: {synthetic:"
        " {copy_paste-two: 1}}}}}\n"
        "ingest: {objects: scene}\n"
        "train: {task: detection}\n"
        "generators: {copy_paste: {scenes: {blends: 3, placing: {}}}, copy_paste-two: {}}"
    )
    recipe, _ = load_study(path)
    # No method uses the first section.
    ((name, settings),) = recipe.generators.items()
    assert (name, settings.classes, settings.scenes.blends) == ("copy_paste-two", ("block",), 3)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_sections_share_what_is_equal_and_keep_their_images_apart(cli: Cli, tmp_path: Path) -> None:
    kinds = [["disc", "block"], ["disc"], ["disc", "block"], ["disc", "block"], ["disc", "block"]]
    images = draw_images(tmp_path / "drawn", kinds)
    splits = {"train": images[:3], "val": images[3:4], "test": images[4:]}
    write_set(tmp_path / "photos", "coco", splits)
    recipe, out = tmp_path / "twice.yaml", tmp_path / "out"
    recipe.write_text(RECIPE)
    run = cli.run("run", recipe, "--photos", tmp_path / "photos", "--out", out, "--json")
    stages = {name: count["computed"] for name, count in run.found["stages"].items()}
    # Version 0 of the second section is the image of the first.
    assert stages["place_objects"] == stages["paste_objects"] == 3 * 2
    for dataset, generator, number in (("one", "copy_paste", 3), ("two", "copy_paste-two", 6)):
        content = json.loads((out / "annotations" / dataset / "train.json").read_bytes())
        made = [entry["generator"] for entry in content["images"] if entry["generator"]]
        assert made == [generator] * number
    assert "copy_paste-two" in (out / "report.html").read_text(encoding="utf-8")

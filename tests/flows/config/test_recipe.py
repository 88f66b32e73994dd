"""Recipes: what YAML and --set may say, and the line that refuses the rest."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.config.changes import RecipeError
from flows.config.recipe import RECIPES, Recipe, load_recipe
from flows.generators.catalog import find_generator
from flows.generators.multiview import Settings as MultiviewSettings
from tasks.settings.background import BackgroundComposite, BackgroundSdxl
from tasks.settings.outpaint import OutpaintSd2
from tasks.settings.segment import SegmentIsNet


def multiview_of(recipe: Recipe) -> MultiviewSettings:
    settings = recipe.generators["multiview"]
    assert isinstance(settings, MultiviewSettings)
    return settings


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_by_its_name(path: Path) -> None:
    recipe = load_recipe(path.stem)
    assert recipe.name == path.stem
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_the_recipe_multiview_has_the_numbers_of_the_study() -> None:
    recipe = load_recipe("multiview")
    train, settings = recipe.train, multiview_of(recipe)
    assert train is not None
    assert train.network == "efficientnet_b3.ra2_in1k"
    assert (train.optimizer, train.learning_rate) == ("adam", 0.01)
    assert (train.milestones, train.gamma) == ((5, 10, 15, 40), 0.1)
    assert (train.batch_size, train.image_size, train.epochs) == (16, 324, 20)
    assert train.seeds == (0, 1, 2, 3, 4)
    assert train.pretrained
    assert (settings.upscale.factor, settings.upscale_views.factor) == (2, 4)
    assert isinstance(settings.background, BackgroundSdxl)
    assert (settings.background.width, settings.background.height) == (768, 1024)


def test_the_number_of_images_is_7_t_c_k_squared() -> None:
    recipe = load_recipe(
        "multiview",
        [
            "generators.multiview.augment.n_augmentations=3",
            "generators.multiview.background.n_backgrounds=2",
            "generators.multiview.outpaint.grid_size=3",
        ],
    )
    factors = find_generator("multiview").factors(recipe.generators["multiview"])
    assert [factor.amount for factor in factors] == [7, 3, 2, 9]


@pytest.mark.parametrize("profile", ["classical", "diffusion"])
def test_a_generator_keeps_its_own_defaults_with_every_profile(profile: str) -> None:
    settings = multiview_of(load_recipe("multiview", [f"profile={profile}"]))
    plain = multiview_of(Recipe.model_validate({"profile": profile}))
    assert (plain.upscale.factor, plain.upscale_views.factor) == (2, 4)
    assert settings.upscale_views.model == plain.upscale_views.model


def test_changes_are_read_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("generators: {multiview: {outpaint: {grid_size: 2}}}\n")
    recipe = load_recipe(
        path,
        [
            "generators.multiview.outpaint.grid_size=3",
            "train.seeds=[1, 2]",
            "generators.multiview.caption.prompts.shoes=a shoe",
        ],
    )
    assert recipe.name == "mine"
    assert multiview_of(recipe).outpaint.grid_size == 3
    assert recipe.train is not None
    assert recipe.train.seeds == (1, 2)
    assert multiview_of(recipe).caption.prompts == {"shoes": "a shoe"}


def test_the_profile_names_the_model_of_a_section_that_names_none() -> None:
    change = "generators.multiview.segment.min_score=0.5"
    diffusion = multiview_of(load_recipe("multiview", [change]))
    assert isinstance(diffusion.segment, SegmentIsNet)
    assert diffusion.segment.min_score == 0.5
    mixed = multiview_of(
        load_recipe("multiview", ["generators.multiview.background.model=composite"])
    )
    assert isinstance(mixed.background, BackgroundComposite)


def test_a_section_of_an_optional_network_switches_it_on() -> None:
    change = "generators.multiview.segment.refine.band=0.1"
    segment = multiview_of(load_recipe("multiview", [change])).segment
    assert isinstance(segment, SegmentIsNet)
    assert segment.checkpoints == ("xuebinqin/IS-Net", "hustvl/vitmatte-small-composition-1k")


def test_backgrounds_are_found_next_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("backgrounds: rooms\n")
    assert load_recipe(tmp_path / "mine.yaml").backgrounds == tmp_path / "rooms"


@pytest.mark.parametrize(
    ("text", "changes", "line"),
    [
        ("resize: {side: 2}", [], "resize.side: there is no such field"),
        ("profile: magic", [], "profile: input should be 'classical'"),
        ("- a list", [], "a recipe must be a mapping of sections"),
        ("outpaint: {k: 2", [], "no readable YAML"),
        (
            "name: 007",
            [],
            "should be a valid string (given: 7); YAML reads it as a number",
        ),
        ("name: 2024-01-01", [], "YAML reads it as a date: put it in quotes"),
        ("{}", ["name=no"], "YAML reads it as a boolean: put it in quotes"),
        ("{}", ["name=~"], "YAML reads it as no value: put it in quotes"),
        ('name: "a\\0"', [], "a text holds a character that can't be stored"),
        ('name: "\\ud800"', [], "a text holds a character that can't be stored"),
        ("profile: classical\nprofile: diffusion", [], "the key 'profile' is there twice"),
        (
            "datasets: [{name: Test, real: all}]",
            [],
            "datasets: the name Test is taken; choose another",
        ),
        ("datasets: [{name: a, real: all}, {name: A, real: all}]", [], "the name A is taken"),
        ("datasets: [{name: con, real: all}]", [], "the name 'con' is a device name on Windows"),
        ("datasets: [{name: a., real: all}]", [], "begin or end with a dot"),
        ("{}", ["resize.longest_side"], "write it as section.field=value"),
        ("{}", ["name.k=2"], "name has no fields"),
        ("{}", ["name=["], "--set name=[: no readable YAML; correct it: while parsing"),
        ("generators: {magic: {}}", [], "generators.magic: there is no such generator"),
        ("generators: {}", [], "generators: list at least one generator"),
        (
            "{}",
            ["resize.longest_side=many"],
            "resize.longest_side: input should be a valid integer",
        ),
    ],
)
def test_an_error_is_one_line_that_names_the_field(
    tmp_path: Path, text: str, changes: list[str], line: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    check_refused(path, changes, line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("outpaint.kk=2", "outpaint.kk: there is no such field; docs/recipes.md lists the names"),
        (
            "outpaint.grid_size=0",
            "outpaint.grid_size: input should be greater than or equal to 1 (given: 0)",
        ),
        (
            "caption.template='a {clas} on a table'",
            "caption.template: {clas} is no placeholder of this field; "
            "it knows: {label}, {colour}, {a}",
        ),
        (
            "caption={model: blip, prefix: 'a {colour} {label}'}",
            "caption.prefix: {colour} is no placeholder of this field; it knows: {label}, {a}",
        ),
        ("caption.prompts={mug: 'a {label}'}", "caption.prompts.mug: {label} is no placeholder"),
        (
            "background={scenes: ['on {x}']}",
            "background.scenes.0: {x} is no placeholder of this field; it knows: none",
        ),
        (
            "outpaint={model: sd2-inpaint, prompt: 'a {label}'}",
            "outpaint.prompt: {label} is no placeholder of this field; it knows: {scene}",
        ),
        ("caption.prompts.v1.2=a v", "caption.prompts.v1: input should be a valid string"),
        ("caption.prompts={mug: no}", "caption.prompts.mug: input should be a valid string"),
        ("outpaint.grid_size=many", "outpaint.grid_size: input should be a valid integer"),
        (
            "segment.fill_holes=0.1",
            "segment.fill_holes: model grabcut has no field fill_holes; models with it: isnet, sam",
        ),
        (
            "background.steps=50",
            "background.steps: model composite has no field steps; "
            "models with it: sdxl-controlnet-depth",
        ),
        (
            "segment.model=magic",
            "segment.model: there is no model magic; choose from: grabcut, isnet, sam",
        ),
        (
            "segment={model: sam, refine: {width: 2}}",
            "segment.refine.width: there is no such field",
        ),
    ],
)
def test_an_error_in_a_stage_names_its_field_without_the_model(change: str, line: str) -> None:
    changes = [f"generators.multiview.{change}"]
    check_refused("demo", changes, f"generators.multiview.{line}")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("outpaint.k=3", "outpaint.k was renamed: use generators.multiview.outpaint.grid_size"),
        (
            "generators.multiview.outpaint.k=3",
            "generators.multiview.outpaint.k was renamed: "
            "use generators.multiview.outpaint.grid_size",
        ),
        (
            "generators.multiview.background.ranges.tilt=3",
            "use generators.multiview.background.ranges.max_rotation",
        ),
        (
            "generators.multiview.background.few_step=4",
            "use generators.multiview.background.few_step.steps",
        ),
        (
            "generators.multiview.segment.refine=vitmatte",
            "use generators.multiview.segment.refine.band",
        ),
        ("baseline.copies=3", "use generators.image_to_image.image_to_image.n_images"),
        ("caption.detailed=true", "caption was renamed: use generators.multiview.caption"),
        ("plates=rooms", "plates was renamed: use backgrounds"),
    ],
)
def test_an_old_name_is_refused_with_the_new_name(change: str, line: str) -> None:
    check_refused("demo", [change], line)


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match=r"demo.*multiview"):
        load_recipe("nothing")


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: !!python/object/apply:pathlib.Path.touch ['{tmp_path}/made']\n")
    check_refused(path, [], "no readable YAML")
    assert not (tmp_path / "made").exists()


def check_refused(source: Any, changes: list[str], line: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(source, changes)
    assert line.lower() in str(error.value).lower()
    assert "\n" not in str(error.value)
    assert len(json.dumps(str(error.value))) < 320


@pytest.mark.parametrize("label", ["no", "007", "1e3", "2024-01-01", "null", "~", "yes", "0x1f"])
def test_keys_are_names_and_no_values(tmp_path: Path, label: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"generators: {{multiview: {{caption: {{prompts: {{{label}: a sentence}}}}}}}}")
    assert multiview_of(load_recipe(path)).caption.prompts == {label: "a sentence"}
    change = f"generators.multiview.caption.prompts={{{label}: a sentence}}"
    assert multiview_of(load_recipe("demo", [change])).caption.prompts == {label: "a sentence"}


def test_a_class_of_a_prompt_is_found_in_any_encoding_of_accents() -> None:
    change = "generators.multiview.caption.prompts={e\u0301: a sentence}"
    assert multiview_of(load_recipe("demo", [change])).caption.prompts == {"\u00e9": "a sentence"}


def test_merged_mappings_may_repeat_a_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("resize: &size {longest_side: 64}\nassemble: {seed: 1}\nsplit: {<<: {seed: 2}}")
    assert load_recipe(path).split.seed == 2


def test_another_profile_drops_the_fields_of_the_replaced_models() -> None:
    vae = "cross-attention/asymmetric-autoencoder-kl-x-2"
    outpaint = multiview_of(load_recipe("multiview")).outpaint
    assert isinstance(outpaint, OutpaintSd2)
    assert outpaint.vae == vae
    classical = multiview_of(load_recipe("multiview", ["profile=classical"])).outpaint
    assert classical.model == "extend"
    change = f"generators.multiview.outpaint.vae={vae}"
    check_refused("multiview", ["profile=classical", change], "model extend has no field vae")


@pytest.mark.parametrize("name", ["text_to_image", "textual_inversion", "dreambooth"])
def test_the_classical_profile_refuses_generators_that_only_networks_can_do(name: str) -> None:
    line = (
        f"generators.{name}: the profile classical has no model for it; set profile: "
        "diffusion, or text_to_image.model: sd15, with its weights on this machine"
    )
    with pytest.raises(RecipeError, match=line):
        load_recipe("permissive", ["profile=classical", f"generators.{name}={{}}"])
    named = {name: {"text_to_image": {"model": "sdxl"}}}
    recipe = Recipe.model_validate({"generators": named})
    assert "sdxl" in recipe.generators[name].model_dump_json()


def test_a_detector_learns_from_whole_photos_unless_the_recipe_says_otherwise() -> None:
    content = {"train": {"task": "detection"}, "generators": {"copy_paste": {}}}
    assert Recipe.model_validate(content).ingest.objects == "scene"
    named = Recipe.model_validate({**content, "ingest": {"objects": "crop", "crop_margin": 0.5}})
    assert (named.ingest.objects, named.ingest.crop_margin) == ("crop", 0.5)
    assert Recipe().ingest.objects == "crop"
    with pytest.raises(ValueError, match="a classifier learns one class per image; use crop"):
        Recipe.model_validate({"ingest": {"objects": "scene"}})
    with pytest.raises(ValueError, match=r"generators\.multiview: it makes images of one obj"):
        Recipe.model_validate({"train": {"task": "detection"}})

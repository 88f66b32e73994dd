from pathlib import Path

import pytest

from flows.config.recipe import RECIPES, Recipe, RecipeError, load_recipe


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_by_its_name(path: Path) -> None:
    assert load_recipe(path.stem).name == path.stem


def test_the_study_is_the_default() -> None:
    recipe = load_recipe("multiview")
    train = recipe.train
    assert train is not None
    assert (train.network, train.optimizer, train.learning_rate) == (
        *("efficientnet_b3.ra2_in1k", "adam"),
        0.01,
    )
    assert (train.milestones, train.gamma) == ((5, 10, 15, 40), 0.1)
    assert (train.batch_size, train.image_size, train.epochs, train.seeds) == (16, 324, 20, (42,))
    assert train.pretrained
    assert (recipe.upscale.factor, recipe.upscale_views.factor) == (2, 4)
    assert (recipe.background.width, recipe.background.height) == (768, 1024)


def test_images_per_photo_are_7_t_c_k_squared() -> None:
    recipe = load_recipe("multiview", ["augment.copies=3", "background.copies=2", "outpaint.k=3"])
    assert recipe.images_per_photo == 7 * 3 * 2 * 9


def test_changes_are_read_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("outpaint: {k: 2}\n")
    recipe = load_recipe(
        path, ["outpaint.k=3", "train.seeds=[1, 2]", "caption.prompts.shoes=a shoe"]
    )
    assert recipe.name == "mine"
    assert recipe.outpaint.k == 3
    assert recipe.train is not None
    assert recipe.train.seeds == (1, 2)
    assert recipe.caption.prompts == {"shoes": "a shoe"}


def test_plates_are_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("plates: rooms\n")
    assert load_recipe(tmp_path / "mine.yaml").plates == tmp_path / "rooms"


@pytest.mark.parametrize(
    ("text", "changes", "line"),
    [
        ("outpaint: {kk: 2}", [], "outpaint.kk: there is no such field"),
        ("outpaint: {k: 0}", [], "outpaint.k: input should be greater than or equal to 1"),
        ("profile: magic", [], "profile: input should be 'classical'"),
        ("- a list", [], "a recipe is a mapping of sections"),
        ("outpaint: {k: 2", [], "no readable YAML"),
        ("{}", ["outpaint.k"], "write it as section.field=value"),
        ("{}", ["name.k=2"], "name has no fields"),
        ("{}", ["outpaint.k=many"], "outpaint.k: input should be a valid integer"),
    ],
)
def test_a_fault_is_one_line_that_names_the_field(
    tmp_path: Path, text: str, changes: list[str], line: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as fault:
        load_recipe(path, changes)
    assert line in str(fault.value)
    assert "\n" not in str(fault.value)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"demo.*multiview"):
        load_recipe("nothing")


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: !!python/object/apply:pathlib.Path.touch ['{tmp_path}/made']\n")
    with pytest.raises(RecipeError, match="no readable YAML"):
        load_recipe(path)
    assert not (tmp_path / "made").exists()


def test_what_expanding_reads_leaves_out_what_it_does_not() -> None:
    plain, other = Recipe(), Recipe(train=None, references_per_class=3, name="other")
    assert plain.expanding() == other.expanding()
    assert plain.expanding() != load_recipe("multiview", ["outpaint.k=3"]).expanding()

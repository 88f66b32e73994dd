"""Studies by name: each shipped file can be used, and mistakes in one are named in one line."""

from pathlib import Path

import pytest

from flows.config.changes import RecipeError
from flows.config.recipe import STUDIES, load_recipe
from flows.config.study import list_studies, load_study, series_of, summarize_study
from flows.generators.catalog import find_generator
from flows.planning import plan_generator
from tasks.study.grid import Method, count_photos

# Per class, to train.
PHOTOS_OF_THE_THESIS = 100
FILE = """\
generators: {multiview: {}, copy_paste: {}, text_to_image: {}}
train: {classifier: linear, augment: crop}
study:
  question: What helps?
  x: method
  grid:
    images_per_class: [200]
    methods:
      few-shot: {}
      hybrid: {synthetic: {copy_paste: 0.5, multiview: 0.5}, real: false}
      flipped: {synthetic: {multiview: 1}, augment: flip, classifier: network}
      painted: {synthetic: {text_to_image: 1}, profile: diffusion}
  published:
    - {series: hybrid, figure: accuracy, values: {5: 0.5, 10: 0.75}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "what-helps.yaml"
    path.write_text(FILE)
    return path


def test_a_study_is_a_recipe_with_the_generators_of_its_methods(file: Path) -> None:
    recipe, section = load_study(file, ["study.grid.seeds=2"])
    assert recipe.name == "what-helps"
    # The profile classical has no model for text_to_image, and no method for it either.
    assert list(recipe.generators) == ["multiview", "copy_paste"]
    assert load_recipe(file) == recipe
    assert section.grid.seeds == 2
    assert section.grid.count_trainings(series_of(recipe, section.grid)) == 3 * 6 * 2
    painted = load_study(file, ["profile=diffusion"])[0]
    assert list(painted.generators) == ["multiview", "copy_paste", "text_to_image"]


def test_published_rows_with_several_values_are_a_row_for_each(file: Path) -> None:
    rows = load_study(file)[1].published
    assert [(row.series, row.x, row.value) for row in rows] == [
        ("hybrid", "5", 0.5),
        ("hybrid", "10", 0.75),
    ]


def test_methods_have_the_augmentation_and_the_classifier_of_the_recipe_or_their_own(
    file: Path,
) -> None:
    recipe, section = load_study(file)
    series = series_of(recipe, section.grid)
    assert {name: (found.augment, found.classifier) for name, found in series.items()} == {
        "few-shot": ("crop", "linear"),
        "hybrid": ("none", "linear"),
        "flipped": ("flip", "network"),
    }


def test_a_recipe_without_methods_adds_each_generator_to_photos_with_the_usual_augmentations() -> (
    None
):
    recipe, section = load_study("garments")
    series = series_of(recipe, section.grid)
    assert list(series) == [
        "photos alone",
        "photos alone, crop",
        "photos alone, randaugment",
        "multiview",
    ]
    expected = Method(synthetic={"multiview": 1}, augment="none", classifier="linear")
    assert series["multiview"] == expected


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            "study.grid.methods.hybrid.synthetic={ddpm: 1}",
            r"methods\.hybrid: there is no generator ddpm in this file; .* use one of: multiview",
        ),
        (
            "study.grid.methods.hybrid.synthetic={copy_paste: 0.5}",
            r"study\.grid\.methods\.hybrid: the parts add up to 0\.5; make them add up to 1",
        ),
        ("study.grid.photos_per_class=[120%]", "120% of the photos is out of range"),
        ("study.grid.photos_per_class=[0]", "0 is no number of photos"),
        ("study.grid.photos_by=[near]", r"study\.grid\.photos_by\.0: .*'random'"),
        ("study.grid.series=1", r"study\.grid\.series: there is no such field"),
        ("study.published=[{series: x, figure: hits, value: 1}]", r"study\.published\.0\.figure"),
        (
            "study.grid.methods={painted: {synthetic: {text_to_image: 1}, profile: diffusion}}",
            "none has generated images with the profile classical; use --set profile=diffusion",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(file: Path, change: str, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint) as raised:
        load_study(file, [change])
    assert "\n" not in str(raised.value)
    assert len(str(raised.value).replace(str(file), "")) < 300


@pytest.mark.parametrize("name", list_studies())
def test_each_shipped_study_can_be_used_and_says_what_it_needs(name: str) -> None:
    summary = summarize_study(name)
    assert summary.question.endswith("?")
    assert summary.needs.endswith(".")
    assert "http" in summary.source
    assert set(summary.trainings) == {"classical", "diffusion"}
    assert min(summary.trainings.values()) > 0
    recipe, section = load_study(name)
    # A laptop needs no checkpoint for the profile that the file has.
    assert recipe.profile == "classical"
    assert {found.series for found in section.published} <= section.grid.methods.keys()
    assert len(summary.text().splitlines()) == 2


# The photos of those of a rare class are scenes, of which a class may have any number.
@pytest.mark.parametrize("profile", ["classical", "diffusion"])
@pytest.mark.parametrize("name", [name for name in list_studies() if "rare-class" not in name])
def test_generators_make_enough_images_for_every_point(name: str, profile: str) -> None:
    recipe, section = load_study(name, [f"profile={profile}"])
    methods = series_of(recipe, section.grid)
    made: dict[str, int] = {}
    is_per_photo: dict[str, bool] = {}
    for label, settings in recipe.generators.items():
        generator = find_generator(label)
        _, made[label] = plan_generator(generator, settings, 1, 1, recipe.resize)
        is_per_photo[label] = generator.phases[-1].unit == "image"
    available = recipe.split.train or PHOTOS_OF_THE_THESIS
    share, per_class = max(section.grid.amounts)
    parts = {part for method in methods.values() for part in method.synthetic.items()}
    for number in section.grid.photos_per_class:
        photos = count_photos(number, 5 if number == "all" else available)
        total = per_class or share * photos
        for label, part in parts:
            enough = made[label] * (photos if is_per_photo[label] else 1)
            assert total * part <= enough, f"{number} photos, {label}"


def test_the_studies_of_the_published_work_are_there() -> None:
    assert len(list(STUDIES.glob("*.yaml"))) == len(list_studies()) == 12

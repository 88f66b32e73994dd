"""Studies: recipes with a section ``study``, those that synthset brings, and their series."""

from dataclasses import dataclass
from pathlib import Path

from flows.config.recipe import (
    STUDIES,
    Recipe,
    find_recipe,
    load_recipe,
    read_recipe_file,
    recipe_of,
)
from flows.config.study_section import StudySection
from models.data.specs import Augmentation, TrainingSpec
from tasks.study.grid import Grid, Method

# Augmentations of real photos alone, besides that of the recipe; the last one is the strongest.
BASELINES: tuple[Augmentation, ...] = ("none", "crop", "randaugment")


def load_study(source: str | Path, changes: list[str] | None = None) -> tuple[Recipe, StudySection]:
    """The recipe and the section of a study, of a file or of a shipped name, with changes applied.

    A recipe without the section ``study`` is a study of the usual grid.

    Raises:
        RecipeError: no such file or field, or a value out of bounds; one line says which.
    """
    path = find_recipe(source)
    fields, section = read_recipe_file(path, changes or [])
    return recipe_of(path, fields), section or StudySection()


def list_studies() -> list[str]:
    """The names of the studies that synthset brings."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


@dataclass(frozen=True)
class StudySummary:
    """What a user should know of a study before it starts.

    ``trainings`` counts those of each profile in which a method has generated images.
    """

    name: str
    question: str
    needs: str
    source: str
    trainings: dict[str, int]

    def text(self) -> str:
        """Name and question, then what it needs and its size, for a person."""
        size = ", ".join(f"{profile}: {count}" for profile, count in self.trainings.items())
        return f"{self.name}: {self.question}\n  {self.needs} Trainings at most: {size}."


def summarize_study(name: str) -> StudySummary:
    """The summary of a shipped study.

    Raises:
        RecipeError: its file can't be used.
    """
    _, section = read_recipe_file(find_recipe(name), [])
    section = section or StudySection()
    trainings: dict[str, int] = {
        profile: section.grid.count_trainings(
            series_of(load_recipe(name, [f"profile={profile}"]), section.grid)
        )
        for profile in section.grid.profiles
    }
    return StudySummary(name, section.question, section.needs, section.source, trainings)


def series_of(recipe: Recipe, grid: Grid) -> dict[str, Method]:
    """The methods of the recipe's profile by name, each with its augmentation and its classifier.

    A linear classifier learns from generated images as they are: each image is embedded once.
    """
    methods = grid.of(recipe.profile).methods or {
        name: Method(synthetic={name: 1.0}) for name in recipe.generators
    }
    series: dict[str, Method] = {}
    if recipe.train is not None and all(method.synthetic for method in methods.values()):
        usual = _complete(recipe, Method(synthetic={"any": 1.0})).augment
        for augment in dict.fromkeys((usual, recipe.train.augment, *BASELINES)):
            spec = TrainingSpec(name="baseline", dataset="photos", augment=augment)
            if recipe.train.allows(spec):
                name = "photos alone" if augment == "none" else f"photos alone, {augment}"
                series[name] = Method(augment=augment)
    series |= methods
    return {name: _complete(recipe, method) for name, method in series.items()}


def _complete(recipe: Recipe, method: Method) -> Method:
    assert recipe.train is not None
    classifier = method.classifier or recipe.train.classifier
    is_as_made = classifier == "linear" and bool(method.synthetic)
    augment = method.augment or ("none" if is_as_made else recipe.train.augment)
    return method.model_copy(update={"augment": augment, "classifier": classifier})

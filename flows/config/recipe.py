"""The recipe: everything that decides what a run makes, from YAML, then ``--set a.b=c``."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from flows.config.changes import RecipeError, change_content
from flows.config.comparison import check_names, default_datasets, default_trainings
from flows.config.read_sections import (
    drop_replaced_models,
    read_settings,
    read_train,
    task_in,
    with_repeated,
)
from flows.config.read_yaml import read_yaml
from flows.config.renamed import find_renamed
from flows.config.sections import first_error
from flows.config.study_section import StudySection, split_study
from flows.generators.catalog import find_generator
from models.data.records import Record
from models.data.specs import DatasetSpec, Profile, TrainingSpec
from models.data.splits.splitting import SplitParameters
from models.evaluation.settings import VerdictSettings
from models.training.detection.settings import DetectionParameters
from models.training.segmentation.settings import SegmentationParameters
from models.training.settings import TrainingParameters
from tasks.assemble.choose import Assemble
from tasks.assemble.resize import Resize
from tasks.ingest.read_files import Ingest
from tasks.report.quality import Quality
from tasks.screen.screen import Screen
from tasks.screen.select import Select

RECIPES = Path(str(files("recipes")))
STUDIES = RECIPES / "studies"
# The figures of each task that may decide the verdict; the first one does if none is named.
METRICS = {
    "classification": ("f1_macro", "accuracy", "f1_weighted"),
    "segmentation": ("miou",),
    "detection": ("map_50_95", "map_50"),
}


class Recipe(Record):
    """Everything that decides what a run makes."""

    name: str = Field("multiview", description="Name shown in reports and in the Prefect UI.")
    profile: Profile = Field(
        "classical", description="The models of stages whose section names none."
    )
    references_per_class: int | None = Field(
        None, ge=1, description="Train photos per class that generators use; none means all."
    )
    min_references: int | None = Field(
        None,
        ge=1,
        description="Continue with this many references if others fail; none means all.",
    )
    leave_out_classes: bool = Field(
        True,
        description="Go on without a class that gets too few photos or images, and say why; false:"
        " stop the run.",
    )
    backgrounds: Path | None = Field(
        None, description="Folder of background photos; none means procedural backgrounds."
    )
    regions: Path | None = Field(
        None,
        description="Mask of where new objects may be placed in all photos, white inside; or a"
        " folder with a mask per photo, of the same file name; none means anywhere.",
    )
    ingest: Ingest = Ingest()
    split: SplitParameters = SplitParameters()
    generators: dict[str, SerializeAsAny[Record]] = Field(
        {"multiview": {}},
        validate_default=True,
        description="Generator: its settings. Every listed generator makes images. A section"
        " copy_paste-near is copy_paste again, with the fields of the section copy_paste and with"
        " its own.",
        # Prefect checks a deployment's parameters against the schema, where a Record has no fields.
        json_schema_extra={"additionalProperties": {"type": "object"}},
    )
    screen: Screen = Screen()
    select: Select | None = Field(
        None,
        description="Which accepted images stay, by how like the photos of their class they are; "
        "none: all.",
    )
    resize: Resize = Resize()
    datasets: tuple[DatasetSpec, ...] = Field(
        (),
        description="The training sets to compare; none listed: real, synthetic, mixed, few_shot, "
        "extra_real, real_all, added and few_shot_added of the first generator.",
    )
    trainings: tuple[TrainingSpec, ...] = Field(
        (),
        description="The trainings to compare; none listed: one per dataset, and baselines if "
        "datasets is not listed either.",
    )
    assemble: Assemble = Assemble()
    train: TrainingParameters | SegmentationParameters | DetectionParameters | None = Field(
        default_factory=TrainingParameters,
        description="How each dataset is tried; none: not at all.",
    )
    quality: Quality | None = Field(
        Quality(), description="Figures about the images of each generator; none: no figures."
    )
    verdict: VerdictSettings = VerdictSettings()

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, content: Any) -> Any:
        renamed = find_renamed(content) if isinstance(content, dict) else None
        if renamed is not None:
            raise ValueError(f"{renamed[0]} was renamed: use {renamed[1]}")
        return content

    @model_validator(mode="before")
    @classmethod
    def _decide_by_task(cls, content: Any) -> Any:
        """Let the headline figure of the task decide the verdict, unless the recipe names one."""
        section = content.get("train") if isinstance(content, dict) else None
        metrics = METRICS.get(str(task_in(section)))
        if metrics is None or not isinstance(content.get("verdict", {}), dict):
            return content
        return {**content, "verdict": {"metric": metrics[0], **content.get("verdict", {})}}

    @model_validator(mode="before")
    @classmethod
    def _decide_objects(cls, content: Any) -> Any:
        """Let a detector learn from whole photos, unless the recipe names what becomes of them."""
        if not isinstance(content, dict) or task_in(content.get("train")) != "detection":
            return content
        section = content.get("ingest", {})
        named = {"objects": "scene", **section} if isinstance(section, dict) else section
        return {**content, "ingest": named}

    @field_validator("train", mode="before")
    @classmethod
    def _read_train(cls, content: Any) -> Any:
        """The settings of the task that the section names."""
        return read_train(content)

    @field_validator("generators", mode="before")
    @classmethod
    def _read_generators(cls, content: Any, info: Any) -> Any:
        """Each section as the settings of its generator, with the models of the profile."""
        if not isinstance(content, dict) or not content:
            raise ValueError("list at least one generator, such as {multiview: {}}")
        profile = info.data.get("profile", "classical")
        sections = with_repeated(content)
        return {name: read_settings(name, section, profile) for name, section in sections.items()}

    @model_validator(mode="after")
    def _check_datasets(self) -> Self:
        check_names("datasets", [spec.name for spec in self.datasets], taken=("test",))
        for spec in self.datasets:
            for generator in spec.synthetic:
                if generator not in self.generators:
                    raise ValueError(
                        f"datasets.{spec.name}: there is no generator {generator} in this recipe; "
                        f"add it to generators, or use one of: {', '.join(self.generators)}"
                    )
        return self

    @model_validator(mode="after")
    def _check_scenes(self) -> Self:
        is_of_images = self.train is not None and self.train.task == "classification"
        if self.has_scenes and is_of_images:
            raise ValueError(
                "ingest.objects: scene gives photos of several classes, and a classifier learns one"
                " class per image; use crop, or set train.task to detection or segmentation"
            )
        if self.has_scenes and self.select is not None:
            raise ValueError(
                "select: it compares images with photos of one class, and ingest.objects: scene"
                " gives photos of several; remove select, or set ingest.objects to crop"
            )
        for name in self.generators if self.has_scenes else ():
            if find_generator(name).of_one_object(self.generators[name]):
                raise ValueError(
                    f"generators.{name}: it makes images of one object, and ingest.objects: scene"
                    " gives photos of several; use copy_paste, or set ingest.objects to crop"
                )
        return self

    @property
    def has_scenes(self) -> bool:
        """Whether photos are used whole, with objects of several classes or none."""
        return self.ingest.objects == "scene"

    @property
    def dataset_specs(self) -> tuple[DatasetSpec, ...]:
        """The training sets to compare."""
        if self.datasets:
            return self.datasets
        name, settings = next(iter(self.generators.items()))
        return default_datasets(name, of_some_classes=bool(find_generator(name).classes(settings)))

    @property
    def training_specs(self) -> tuple[TrainingSpec, ...]:
        """The trainings to compare; none without the section ``train``."""
        if self.train is None:
            return ()
        specs = default_trainings(self.dataset_specs, baselines=not self.datasets)
        return self.trainings or tuple(spec for spec in specs if self.train.allows(spec))

    @model_validator(mode="after")
    def _check_trainings(self) -> Self:
        check_names("trainings", [spec.name for spec in self.trainings])
        known = [spec.name for spec in self.dataset_specs]
        for spec in self.trainings:
            if spec.dataset not in known:
                raise ValueError(
                    f"trainings.{spec.name}: there is no dataset {spec.dataset} in this recipe; "
                    f"use one of: {', '.join(known)}"
                )
            if self.train is not None and not self.train.allows(spec):
                raise ValueError(
                    f"trainings.{spec.name}: {self.train.task} has no such augment or classifier; "
                    "use none, flip or crop, and a network"
                )
        return self

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        if self.train is None:
            return self
        metrics = METRICS[self.train.task]
        if self.verdict.metric not in metrics:
            raise ValueError(
                f"verdict.metric: {self.verdict.metric} is no figure of {self.train.task}; use "
                f"{' or '.join(metrics)}"
            )
        return self


def load_recipe(source: str | Path, changes: list[str] | None = None) -> Recipe:
    """The recipe of a YAML file, or of a shipped name such as ``demo``, with changes applied.

    Of a study's file, its recipe.

    Args:
        source: a path, or the name of a file in ``recipes/`` or ``recipes/studies/`` without its
            suffix.
        changes: ``section.field=value`` strings; values are read as YAML. A change of the profile
            replaces the models of the file, and drops the fields that only these have.

    Raises:
        RecipeError: no such recipe, no such field, or a value out of bounds; one line says which.
    """
    path = find_recipe(source)
    return recipe_of(path, read_recipe_file(path, changes or [])[0])


def read_recipe_file(path: Path, changes: list[str]) -> tuple[dict[str, Any], StudySection | None]:
    """The fields of a file's recipe, with changes applied, and its section ``study``, if any.

    Raises:
        RecipeError: the file can't be read, or the section can't be used; one line says why.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise RecipeError(f"{path}: no readable YAML; correct it: {line}") from error
    if not isinstance(content, dict):
        raise RecipeError(
            f"{path}: a recipe must be a mapping of sections, such as "
            "'resize: {longest_side: 512}'"
        )
    for name in ("backgrounds", "regions"):
        if isinstance(content.get(name), str):
            content[name] = str(path.parent / content[name])
    content.setdefault("name", path.stem)
    own_profile = content.get("profile", "classical")
    fields = change_content(content, changes)
    if fields.get("profile", "classical") != own_profile:
        fields = change_content(drop_replaced_models(content, fields["profile"]), changes)
    try:
        return split_study(fields)
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error


def recipe_of(path: Path, fields: dict[str, Any]) -> Recipe:
    """The recipe of fields that were read from a file.

    Raises:
        RecipeError: no such field, or a value out of bounds; one line says which.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise RecipeError(f"{path}: {first_error(error, Recipe)}") from error


def find_recipe(source: str | Path) -> Path:
    """The file of a recipe or of a study.

    Raises:
        RecipeError: there is none of that name.
    """
    path = Path(source)
    if path.is_file():
        return path
    for folder in (RECIPES, STUDIES):
        shipped = folder / f"{source}.yaml"
        if len(path.parts) == 1 and shipped.is_file():
            return shipped
    names = ", ".join(list_recipes())
    raise RecipeError(
        f"no recipe {source}: give a YAML file or one of the shipped names: {names}; `synthset "
        "study --list` shows the studies"
    )


def list_recipes() -> list[str]:
    """The names of the recipes that synthset brings."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))

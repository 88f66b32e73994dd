"""Recipes that set every field to another value than its default are planned and run."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from safetensors.torch import save_file

from flows.config.recipe import Recipe, load_recipe
from flows.config.sections import settings_classes
from flows.generators.catalog import GENERATORS
from models.data import read_photo
from models.data.formats.annotated import AnnotatedImage, ObjectAnnotation
from models.data.formats.coco import write_coco
from models.data.records import Record
from models.training.classification.networks import SMALL_CNN, build_network
from models.training.detection.settings import DetectionParameters
from models.training.segmentation.settings import SegmentationParameters
from tests.tiny import CLASSES, Cli, draw_photo

RECIPES = Path(__file__).parent / "fields"
PHOTOS_PER_CLASS = 8
# Fields whose values are paths: the tests give them.
PATHS = {
    "classical": ["backgrounds=rooms", "split.group_file=groups.csv"],
    "pretrained": ["train.weights_file=weights.safetensors"],
    "segmentation": [],
    "detection": [],
    "diffusion": [],
    "other_networks": [],
    "inpaint": [],
    "inpaint_sdxl": [],
}

FieldOf = tuple[type[Record], str]


def test_every_field_is_set_in_one_of_the_recipes() -> None:
    every = set(fields_of(Recipe))
    for generator in GENERATORS:
        every |= set(fields_of(generator.settings))
    # They exclude pretrained: false, and pretrained.yaml sets them for the class that defines them.
    tasks = (SegmentationParameters, DetectionParameters)
    every -= {(settings, name) for settings in tasks for name in ("freeze", "weights_file")}
    recipes = [load_recipe(RECIPES / f"{name}.yaml", PATHS[name]) for name in PATHS]
    changed = {field for recipe in recipes for field in changed_fields(recipe)}
    missing = sorted(f"{settings.__name__}.{name}" for settings, name in every - changed)
    assert not missing, f"give these another value in a recipe of {RECIPES}: {missing}"


def fields_of(settings: type[Record]) -> Iterator[FieldOf]:
    """Every field of a section and of the sections below, also of elements of lists."""
    for name, field in settings.model_fields.items():
        if not _is_name_of_model(name, field.annotation) and not _is_fixed(name, field.annotation):
            yield settings, name
        element = get_args(field.annotation)[:1] if get_origin(field.annotation) is tuple else ()
        for part in (field.annotation, *element):
            for below in settings_classes(part):
                yield from fields_of(below)


def changed_fields(record: Record) -> Iterator[FieldOf]:
    """The fields of a record and of all records in it that don't have their defaults."""
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if value != field.get_default(call_default_factory=True):
            yield type(record), name
        values = value.values() if isinstance(value, dict) else [value]
        for below in values if not isinstance(value, tuple) else value:
            if isinstance(below, Record):
                yield from changed_fields(below)


def _is_name_of_model(name: str, annotation: Any) -> bool:
    return name == "model" and get_origin(annotation) is Literal


def _is_fixed(name: str, annotation: Any) -> bool:
    """Whether the value follows from the settings class: the task, or a single choice."""
    return name == "task" or (get_origin(annotation) is Literal and len(get_args(annotation)) == 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, photos of rooms, groups of photos, and weights of a small network."""
    folder = tmp_path_factory.mktemp("fields")
    write_photos(folder / "photos", CLASSES)
    rows = ["file,group"]
    for label in CLASSES:
        rows += [f"{label}/{label}_{n}.png,{label}" for n in range(2)]
    (folder / "rooms").mkdir()
    draw_photo(folder / "rooms" / "room.png", "disc", 500)
    (folder / "groups.csv").write_text("\n".join(rows))
    network = build_network(SMALL_CNN, len(CLASSES), 32)
    save_file(network.state_dict(), folder / "weights.safetensors")
    return folder


def write_photos(folder: Path, classes: Sequence[str]) -> None:
    """Photos of some classes, no two alike."""
    for number, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        for n in range(PHOTOS_PER_CLASS):
            draw_photo(folder / label / f"{label}_{n}.png", label, 100 * number + n)


def changes_of(name: str, folder: Path) -> list[str]:
    """The --set options of a recipe, with paths that exist."""
    return [change.replace("=", f"={folder}/") for change in PATHS[name]]


# Training from weights has tests of its own, in tests/models/training/test_pretrained.py.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["classical", pytest.param("pretrained", marks=pytest.mark.e2e)])
def test_a_run_takes_every_field(cli: Cli, folder: Path, tmp_path: Path, name: str) -> None:
    recipe, changes = RECIPES / f"{name}.yaml", changes_of(name, folder)
    where = ("--photos", folder / "photos", "--out", tmp_path / "out")
    ended = cli.run("run", recipe, *where, "--json", *options(changes))
    assert ended.code == 0, ended.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    loaded = load_recipe(recipe, changes).model_dump(mode="json")
    assert metrics["recipe"] == loaded
    trained = {run["dataset"] for run in metrics["runs"]}
    assert trained == {spec["name"] for spec in loaded["trainings"]}


@pytest.mark.parametrize("name", [name for name in PATHS if name != "classical"])
def test_a_plan_takes_every_field(cli: Cli, folder: Path, tmp_path: Path, name: str) -> None:
    write_photos(tmp_path / "photos", ("bottle", "mug"))
    command = ("plan", RECIPES / f"{name}.yaml", "--photos", tmp_path / "photos", "--json")
    planned = cli.run(*command, *options(changes_of(name, folder))).found
    assert planned["recipe"] == name
    assert planned["images"] > 0


@pytest.mark.parametrize("name", ["inpaint", "inpaint_sdxl"])
def test_a_plan_of_placed_objects_takes_every_field(cli: Cli, tmp_path: Path, name: str) -> None:
    write_photos(tmp_path / "drawn", ("bottle", "mug"))
    images = [
        AnnotatedImage(file, *size, (ObjectAnnotation(file.parent.name, (4, 4, 20, 24)),))
        for file in sorted((tmp_path / "drawn").rglob("*.png"))
        for size in [read_photo.read_size(file)]
    ]
    write_coco(tmp_path / "drawn" / "all.json", images, ["bottle", "mug"])
    command = ("plan", RECIPES / f"{name}.yaml", "--photos", tmp_path / "drawn", "--json")
    planned = cli.run(*command).found
    assert planned["recipe"] == name
    assert planned["images"] > 0


def options(changes: Sequence[str]) -> list[str]:
    """The options that make the changes."""
    return [word for change in changes for word in ("--set", change)]

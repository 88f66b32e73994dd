"""Every field of every settings class of a recipe accepts another value than its default."""

import json
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from flows.config.recipe import Recipe, load_recipe
from flows.config.sections import model_of, settings_classes
from flows.generators.catalog import GENERATORS
from models.data.records import Record
from models.training.detection.settings import DetectionParameters
from models.training.segmentation.settings import SegmentationParameters

# Fields whose values depend on each other or on the recipe, and values that are valid.
VALUES: dict[str, Any] = {
    "profile": "diffusion",
    "generators": {"multiview": {}, "image_to_image": {}},
    "datasets": [{"name": "own", "real": 5}],
    "trainings": [{"name": "own", "dataset": "real"}],
    "backgrounds": "rooms",
    "regions": "track.png",
    "split.val": 0.3,
    "split.test": 40,
    **{
        f"generators.controlnet.controlnet.condition.{part}_colour": [1, 2, 3]
        for part in ("object", "border", "background")
    },
}
# Strings that are names of something else.
TEXTS = {
    "checkpoint": "acme/own@1",
    "vae": "acme/own@1",
    "controlnet": "acme/own@1",
    "safety_checker": "acme/own@1",
    "group_pattern": "(own) words",
    "group_by": "folder",
    "word": "own",
    "placeholder": "<own>",
    "sample_spacing": "5",
}


def fields_below(
    prefix: str, settings: type[Record], models: dict[str, str]
) -> Iterator[tuple[str, FieldInfo, dict[str, str]]]:
    """Path, field, and the models to name for it, of every leaf below a section."""
    for name, field in settings.model_fields.items():
        classes = settings_classes(field.annotation)
        path = f"{prefix}{name}"
        if not classes and name not in ("model", "task") and not _has_one_choice(field.annotation):
            yield path, field, models
        for member in classes:
            model = model_of(member)
            named = {**models, f"{path}.model": model} if model else models
            if issubclass(member, SegmentationParameters | DetectionParameters):
                named = {path: f"{{task: {member().task}}}"}
            if issubclass(member, DetectionParameters):
                named = {"generators": "{copy_paste: {}}", **named}
            yield from fields_below(f"{path}.", member, named)


def _has_one_choice(annotation: Any) -> bool:
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def other_value(path: str, field: FieldInfo) -> Any:
    """A valid value that is not the default."""
    if path in VALUES:
        return VALUES[path]
    if path.endswith(".region"):
        return [[[0, 0], [1, 0], [1, 1]]]
    default = field.get_default(call_default_factory=True)
    return _other(path.rpartition(".")[2], field.annotation, default, field)


def _other(name: str, annotation: Any, default: Any, field: FieldInfo) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        plain = [part for part in get_args(annotation) if part is not type(None)]
        return _other(name, plain[0], default, field)
    if get_origin(annotation) is Literal:
        return next(choice for choice in get_args(annotation) if choice != default)
    if get_origin(annotation) is dict:
        is_list = "tuple" in str(get_args(annotation)[1])
        return {"own": ["text"] if is_list else "text"}
    if get_origin(annotation) is tuple:
        return _list(get_args(annotation)[0])
    if annotation is bool:
        return not default
    if annotation in (int, float):
        return _number(annotation, default, field)
    return next((text for end, text in TEXTS.items() if name.endswith(end)), "own words")


def _list(element: Any) -> list[Any]:
    if get_origin(element) is Literal:
        return [get_args(element)[0]]
    return [7] if element is int else ["own words"]


def _number(kind: type, default: Any, field: FieldInfo) -> Any:
    def bound(*names: str) -> Any:
        return next((getattr(m, n) for m in field.metadata for n in names if hasattr(m, n)), None)

    low, high = bound("ge", "gt"), bound("le", "lt")
    step = bound("multiple_of") or 1
    if kind is int:
        start = default if isinstance(default, int) else (low or 0)
        return start + step if high is None or start + step <= high else start - step
    low = 0.0 if low is None else low
    high = low + 1.0 if high is None else high
    middle = (low + high) / 2
    return middle if middle != default else (low + 3 * high) / 4


def cases() -> Iterator[Any]:
    top = list(fields_below("", Recipe, {}))
    for generator in GENERATORS:
        prefix = f"generators.{generator.name}."
        top += fields_below(prefix, generator.settings, {})
    for path, field, models in top:
        name = path + "".join(f" {model}" for model in list(models.values())[-1:])
        yield pytest.param(path, field, models, id=name)


@pytest.mark.parametrize(("path", "field", "models"), list(cases()))
def test_accepts_another_value_and_keeps_it(
    path: str, field: FieldInfo, models: dict[str, str]
) -> None:
    changes = [f"{model_path}={model}" for model_path, model in models.items()]
    value = other_value(path, field)
    recipe = load_recipe("permissive", [*_own(path), *changes, f"{path}={json.dumps(value)}"])
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    content: Any = recipe.model_dump(mode="json")
    for part in path.split("."):
        content = content[part]
    if path not in ("generators", "datasets", "trainings", "backgrounds", "regions"):
        assert content == value
    assert field.get_default(call_default_factory=True) != value


def _own(path: str) -> list[str]:
    """A generator without the sections of the recipe, whose fields another model may not have."""
    parts = path.split(".")
    if path == "generators.ddpm_repaint.repaint.mask":
        return ["generators={ddpm_repaint: {fit: {condition: edges}}}"]
    return [f"generators.{parts[1]}={{}}"] if parts[0] == "generators" and len(parts) > 1 else []

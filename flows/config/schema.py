"""Every field of a recipe with its default and meaning, as the Markdown page docs/recipes.md."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows.config.recipe import Recipe
from flows.config.sections import model_of, settings_classes
from flows.config.study_section import StudySection
from flows.generators.catalog import GENERATORS
from models.data.records import Record
from models.training.detection.settings import DetectionParameters
from models.training.segmentation.settings import SegmentationParameters
from models.training.settings import TrainingParameters

HEAD = """# Recipe fields

After this page you can write a recipe and change any field of it.

A recipe is a YAML file with a section per stage. A field that is left out has its default.
`--set section.field=value` changes a field from the command line. Unknown fields are refused by
name. A stage with several models takes the fields of the model that it names, and the profile
names the model of a section that names none.

`synthset recipe schema` writes this page; a test compares it with the code.
"""
STUDY = (
    "What `synthset study` compares; see [study.md](study.md). `synthset run` ignores the section."
)
TABLE = "| field | default | bounds | meaning |\n|---|---|---|---|"


class _Row(NamedTuple):
    """A line of a table. ``models``: the models that have the field; none if all do."""

    name: str
    field: FieldInfo
    default: Any
    models: tuple[str, ...] = ()
    meaning: str = ""
    choices: tuple[str, ...] = ()


def describe_fields() -> str:
    """The page."""
    lines = [HEAD, TABLE, *(_line(row) for row in _rows("", Recipe, Recipe()))]
    tasks: tuple[type[TrainingParameters], ...] = (SegmentationParameters, DetectionParameters)
    for settings in tasks:
        title = f"## `train` with `task: {settings().task}`"
        lines += ["", title, "", _doc(settings), "", TABLE]
        lines += [_line(row) for row in _rows("", settings, settings())]
    lines += ["", "## `study`", "", STUDY, "", TABLE]
    lines += [_line(row) for row in _rows("", StudySection, StudySection())]
    for generator in GENERATORS:
        title = f"## `generators.{generator.name}`"
        lines += ["", title, "", _doc(generator.settings), "", TABLE]
        lines += [_line(row) for row in _rows("", generator.settings, generator.settings())]
    return "\n".join(lines) + "\n"


def _doc(settings: type[Record]) -> str:
    return settings.__doc__ or ""


def _rows(prefix: str, settings: type[Record], defaults: Record | None) -> Iterator[_Row]:
    for name, field in settings.model_fields.items():
        default = _default(field) if defaults is None else getattr(defaults, name)
        yield from _field_rows(f"{prefix}{name}", field, default)


def _field_rows(name: str, field: FieldInfo, default: Any) -> Iterator[_Row]:
    """A row of the field itself, or the rows of its section; of a list, those of an element."""
    classes = settings_classes(field.annotation)
    if not classes or default is None:
        yield _Row(name, field, default)
    if len(classes) > 1 and model_of(classes[0]) is not None:
        yield from _union_rows(f"{name}.", classes, default)
    elif classes:
        yield from _rows(f"{name}.", classes[0], default)
    elif get_origin(field.annotation) is tuple:
        for element in settings_classes(get_args(field.annotation)[0]):
            yield from _rows(f"{name}[].", element, None)
    elif get_origin(field.annotation) is dict:
        for element in settings_classes(get_args(field.annotation)[1]):
            yield from _rows(f"{name}.NAME.", element, None)


def _union_rows(prefix: str, classes: tuple[type[Record], ...], default: Any) -> Iterator[_Row]:
    """The fields of all models of a stage; equal ones once."""
    models = tuple(str(model_of(settings)) for settings in classes)
    fields = [settings.model_fields["model"] for settings in classes]
    meanings = [
        f"{model}: {field.description}" for model, field in zip(models, fields, strict=True)
    ]
    chosen = default.model if default is not None else models[0]
    yield _Row(f"{prefix}model", fields[0], chosen, (), " ".join(meanings), models)
    rows: dict[tuple[str, str, str], list[_Row]] = {}
    for model, settings in zip(models, classes, strict=True):
        values = default if isinstance(default, settings) else None
        for row in _rows(prefix, settings, values):
            if row.name != f"{prefix}model":
                key = (row.name, str(row.field.description), str(row.default))
                rows.setdefault(key, []).append(row._replace(models=(model,)))
    for same in rows.values():
        owners = tuple(model for row in same for model in row.models)
        yield same[0]._replace(models=() if owners == models else owners)


def _default(field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    return "(required)" if default is PydanticUndefined else default


def _line(row: _Row) -> str:
    default = "none" if row.default is None else str(row.default)
    if isinstance(row.default, dict) and any(isinstance(v, Record) for v in row.default.values()):
        default = ", ".join(row.default)
    meaning = row.meaning or row.field.description or ""
    if row.models:
        meaning = f"({', '.join(row.models)}) {meaning}"
    limits = _bounds(row.field) or ", ".join(row.choices or _choices(row.field.annotation))
    cells = f"`{row.name}`", f"`{default or '(empty)'}`", limits, meaning
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in signs.items()
        if hasattr(rule, name)
    )


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    return tuple(choice for part in get_args(annotation) for choice in _choices(part))

"""Sections of a recipe: their settings classes, and which field an error is about."""

from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from flows.config.read_yaml import quoting_hint
from models.data.records import Record

# Characters of a wrong value that an error line shows.
_LONGEST_VALUE = 80


def settings_classes(annotation: Any) -> tuple[type[Record], ...]:
    """The settings classes of a field: one per model, or one; none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return (annotation,)
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return tuple(found for part in get_args(annotation) for found in settings_classes(part))
    return ()


def model_of(settings: type[Record]) -> str | None:
    """The model whose settings these are; None if there is no choice of models."""
    field = settings.model_fields.get("model")
    return None if field is None else str(field.default)


def first_error(error: ValidationError, root: type[Record]) -> str:
    """The first error of a validation as one line: the field, what is wrong, and the value."""
    fault = error.errors()[0]
    names, models, members = _locate(fault["loc"], root)
    field = ".".join(names)
    if fault["type"] == "extra_forbidden":
        return f"{field}: {_no_such_field(names[-1], models, members)}"
    if fault["type"].startswith("union_tag"):
        choices = ", ".join(str(model_of(member)) for member in members)
        tag = fault.get("ctx", {}).get("tag")
        wrong = "no model is named" if tag is None else f"there is no model {tag}"
        return f"{field}.model: {wrong}; choose from: {choices}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    sections = fault["input"]
    if fault["loc"] == ("generators",) and isinstance(sections, dict) and sections:
        return f"generators.{message}"
    if fault["loc"] == ("train",) and fault["type"] == "value_error":
        return message
    value = "" if fault["type"] == "value_error" else f" (given: {_shown(fault['input'])})"
    hint = quoting_hint(fault["input"]) if fault["type"] == "string_type" else ""
    return f"{field}: {message}{value}{hint}" if field else f"{message}{value}{hint}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def _locate(
    location: Sequence[int | str], root: type[Record]
) -> tuple[list[str], tuple[type[Record], ...], tuple[type[Record], ...]]:
    """Names of the fields on the path to an error, without pydantic's tags of unions.

    With them come the settings classes of the last section: of the chosen model, and of all.
    """
    names: list[str] = []
    chosen: tuple[type[Record], ...] = (root,)
    members = chosen
    for position, part in enumerate(location):
        if len(chosen) > 1 and part in [model_of(member) for member in members]:
            chosen = tuple(member for member in members if model_of(member) == part)
            continue
        names.append(str(part))
        field = chosen[0].model_fields.get(str(part)) if chosen else None
        below = settings_classes(field.annotation) if field else ()
        if below or position < len(location) - 1:
            chosen = members = below
    return names, chosen, members


def _no_such_field(
    name: str, chosen: Sequence[type[Record]], members: Sequence[type[Record]]
) -> str:
    owners = [str(model_of(member)) for member in members if name in member.model_fields]
    if owners and chosen:
        others = ", ".join(owners)
        return f"model {model_of(chosen[0])} has no field {name}; models with it: {others}"
    return "there is no such field; docs/recipes.md lists the names"

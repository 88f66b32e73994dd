"""Every field of a recipe with its default and meaning, as the Markdown page docs/recipes.md."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from flows.config.recipe import Recipe
from models.data.records import Of, Record

HEAD = """# Recipe fields

A recipe is a YAML file with a section per stage; a field left out has its default, and
`--set section.field=value` changes one from the command line. Unknown fields are refused by name.
This page is written by `synthset fields`; a test keeps it true.
"""


def describe_fields() -> str:
    """The page."""
    lines = [HEAD, "| field | default | bounds | meaning |", "|---|---|---|---|"]
    lines += [_row(*row) for row in _walk("", Recipe, Recipe())]
    return "\n".join(lines) + "\n"


def _walk(
    prefix: str, section: type[Record], defaults: Record
) -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, field in section.model_fields.items():
        below = next((one for one in _types(field.annotation) if _is_section(one)), None)
        default = getattr(defaults, name)
        if below is None:
            yield f"{prefix}{name}", field, default
        else:
            if default is None:
                yield f"{prefix}{name}", field, default
            yield from _walk(f"{prefix}{name}.", below, default or below())


def _types(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *get_args(annotation))


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)


def _row(name: str, field: FieldInfo, default: Any) -> str:
    shown = "none" if default is None else str(default).replace("|", "\\|")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = ", ".join(
        f"{sign} {getattr(rule, at)}"
        for rule in field.metadata
        for at, sign in signs.items()
        if hasattr(rule, at)
    )
    choices = [
        str(one)
        for kind in _types(field.annotation)
        for one in get_args(kind)
        if isinstance(one, str)
    ] or [str(one) for one in get_args(field.annotation) if isinstance(one, str)]
    meaning = (field.description or "").replace("|", "\\|")
    owners = [", ".join(mark.models) for mark in field.metadata if isinstance(mark, Of)]
    meaning = f"({owners[0]}) {meaning}" if owners else meaning
    return f"| `{name}` | `{shown or '(empty)'}` | {bounds or ', '.join(choices)} | {meaning} |"

"""Changes of a recipe's content from the command line: ``--set section.field=value``."""

import copy
from typing import Any

import yaml

from flows.config.read_yaml import read_yaml


class RecipeError(ValueError):
    """A recipe can't be used; one line names the file and the field."""


def change_content(content: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """A copy of a recipe's content with ``section.field=value`` changes; values are read as YAML.

    Raises:
        RecipeError: a change has another form, or names a field of a plain value.
    """
    changed = copy.deepcopy(content)
    for change in changes:
        _apply(changed, change)
    return changed


def _apply(content: dict[str, Any], change: str) -> None:
    field, equals, text = change.partition("=")
    if not equals or not field:
        raise RecipeError(
            f"--set {change}: write it as section.field=value, such as resize.longest_side=512"
        )
    *sections, last = field.split(".")
    for section in sections:
        below = content.setdefault(section, {})
        if below is None:
            below = content[section] = {}
        if not isinstance(below, dict):
            raise RecipeError(f"--set {change}: {section} has no fields; set {section} itself")
        content = below
    try:
        content[last] = read_yaml(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"--set {change}: no readable YAML; correct it: {reason}") from error

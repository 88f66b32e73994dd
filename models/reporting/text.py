"""What the report and the dataset card share: where their templates are, and YAML of a recipe."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TEMPLATES = Path(__file__).resolve().parent / "templates"


def as_yaml(recipe: Mapping[str, Any] | None) -> str:
    """The recipe as YAML in its own order, or nothing where there is none.

    Anything that JSON doesn't know, such as a path, is written as its text.
    """
    if not recipe:
        return ""
    plain = json.loads(json.dumps(recipe, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=88)

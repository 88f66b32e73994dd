"""Names of flow runs in the UI, whether their parameters come from code or from a form."""

from pathlib import Path
from typing import Any

from prefect import runtime


def recipe_name() -> str:
    """The name of the recipe that the flow run got."""
    recipe: Any = runtime.flow_run.parameters.get("recipe") or {}
    name = recipe.get("name") if isinstance(recipe, dict) else recipe.name
    return str(name or "multiview")


def pipeline_name() -> str:
    """``<recipe> · <folder it writes to>``."""
    paths: Any = runtime.flow_run.parameters.get("paths") or {}
    out = paths.get("out") if isinstance(paths, dict) else paths.out
    return f"{recipe_name()} · {Path(str(out)).name}"

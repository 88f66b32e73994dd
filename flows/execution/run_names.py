"""What flow runs are called in the UI, whether their parameters come from code or from a form."""

from pathlib import Path
from typing import Any

from prefect import runtime


def name_of_recipe() -> str:
    """The name of the recipe that the flow run was given."""
    recipe: Any = runtime.flow_run.parameters.get("recipe") or {}
    name = recipe.get("name") if isinstance(recipe, dict) else recipe.name
    return str(name or "multiview")


def named_regenerate() -> str:
    """``<recipe> · <folder it writes to>``."""
    place: Any = runtime.flow_run.parameters.get("place") or {}
    out = place.get("out") if isinstance(place, dict) else place.out
    return f"{name_of_recipe()} · {Path(str(out)).name}"


def named_assemble() -> str:
    """``<recipe> · assemble``."""
    return f"{name_of_recipe()} · assemble"


def named_train() -> str:
    """``<recipe> · train``."""
    return f"{name_of_recipe()} · train"

"""Names of flow runs in the UI, from parameters given in code or in the form of the UI."""

from pathlib import Path
from typing import Any

from prefect import runtime


def name_of_recipe() -> str:
    """The name of the recipe of the current flow run."""
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

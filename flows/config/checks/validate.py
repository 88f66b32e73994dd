"""Mistakes in what a run gets, found before anything starts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.config.checks.photos import check_photos
from flows.config.recipe import Recipe
from models.data.files import check_writable
from models.data.records import Record
from tasks.assemble.write_datasets import refuse_foreign
from tasks.store.store import open_store

# Bytes of the other parameters of a flow run: folders, and how many items run at a time.
_OTHER_PARAMETERS = 16_384


def check_paths(photos: Path, out: Path, store: str, recipe: Recipe, limit: int | None) -> None:
    """Return if the photos can be found, the store used, and the datasets written.

    Raises:
        ValueError: the photos don't fit the recipe; or ``out`` is in the photo folder, is a file,
            holds files that no run made, or can't be written.
        StoreAccessError: the store can't be reached, read or written.
    """
    check_photos(recipe, photos, limit)
    refuse_out_in_photos(photos, out)
    if out.is_file():
        raise ValueError(f"--out {out} is a file; name a folder")
    refuse_foreign(out)
    open_store(store).check_writable()
    check_writable(out, "--out", "choose a folder that this user may write")


def refuse_out_in_photos(photos: Path, out: Path) -> None:
    """Raise ValueError if what a run writes would be photos of the next run."""
    if out.is_relative_to(photos):
        raise ValueError(
            f"--out {out} lies in the photo folder, so that the next run would read its images as "
            "photos; choose a folder outside"
        )


def check_recipe_size(recipe: Recipe, limit: int) -> None:
    """Return if a Prefect server takes the recipe as a parameter of a flow run.

    Args:
        limit: bytes that all parameters of a run may take as JSON; 0: any number.

    Raises:
        ValueError: it is too large; the line names its largest part.
    """
    content = recipe.model_dump(mode="json")
    size = _json_size(content)
    if limit <= 0 or size + _OTHER_PARAMETERS <= limit:
        return
    name, part = _largest_part(content)
    raise ValueError(
        f"the recipe takes {size:,} bytes as JSON, {_json_size(part):,} of them in {name}; the "
        f"Prefect server takes {limit - _OTHER_PARAMETERS:,}: shorten {name}, or raise "
        "PREFECT_SERVER_API_MAX_PARAMETER_SIZE of the server"
    )


def relative_paths(recipe: Recipe) -> dict[str, Path]:
    """The relative paths in a recipe by the name of their field, such as train.weights_file."""
    return {name: path for name, path in _paths_in(recipe) if not path.is_absolute()}


def _json_size(content: Any) -> int:
    """Bytes of JSON, as Prefect counts them."""
    return len(json.dumps(content, separators=(",", ":")))


def _largest_part(content: dict[str, Any]) -> tuple[str, Any]:
    """The innermost section that makes up most of a recipe, and its content."""
    name, part = "", content
    while isinstance(part, dict) and part:
        largest = max(part, key=lambda key: _json_size(part[key]))
        if 2 * _json_size(part[largest]) < _json_size(part):
            break
        name, part = f"{name}.{largest}".strip("."), part[largest]
    return name or "all sections", part


def _paths_in(value: Any, name: str = "") -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield name, value
    elif isinstance(value, Record):
        yield from _paths_in(dict(value), name)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _paths_in(part, f"{name}.{key}".strip("."))
    elif isinstance(value, tuple | list):
        for number, part in enumerate(value):
            yield from _paths_in(part, f"{name}.{number}")

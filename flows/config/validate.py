"""Mistakes in what a run gets, found before anything starts."""

from pathlib import Path

from flows.config.check_photos import check_photos
from flows.config.recipe import Recipe
from tasks.assemble.write_datasets import refuse_foreign
from tasks.store.store import open_store


def check_paths(photos: Path, out: Path, store: str, recipe: Recipe, limit: int | None) -> None:
    """Return if the photos can be found, the store used, and the datasets written.

    Raises:
        ValueError: the photos don't fit the recipe, or ``out`` lies in the photo folder or holds
            files that no run made.
        StoreAccessError: the store can't be reached, read or written.
    """
    check_photos(recipe, photos, limit)
    if out.is_relative_to(photos):
        raise ValueError(
            f"--out {out} lies in the photo folder, so that the next run would read its images as "
            "photos; choose a folder outside"
        )
    refuse_foreign(out)
    open_store(store)

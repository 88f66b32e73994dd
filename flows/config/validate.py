"""Mistakes in what a run gets, found before anything starts."""

from pathlib import Path

from flows.config.check_classes import check_classes
from flows.config.recipe import Recipe
from tasks.assemble.write_datasets import refuse_foreign
from tasks.ingest.find_sources import list_labels
from tasks.store.store import open_store


def check_paths(photos: Path, out: Path, store: str, recipe: Recipe) -> None:
    """Return if the photos can be found, the store used, and the datasets written.

    Raises:
        ValueError: the photo folder has neither photos by class nor annotated objects, or lacks a
            class that the recipe names; or ``out`` lies in it or holds files that no run made.
        StoreAccessError: the store can't be reached, read or written.
    """
    labels = list_labels(photos, recipe.ingest.format, recipe.ingest.objects)
    check_classes(recipe, {label for _, label in labels})
    if out.is_relative_to(photos):
        raise ValueError(
            f"--out {out} lies in the photo folder, so that the next run would read its images as "
            "photos; choose a folder outside"
        )
    refuse_foreign(out)
    open_store(store)

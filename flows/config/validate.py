"""Mistakes in what a run gets, found before anything starts."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from flows.config.recipe import Recipe
from models.data.records import Record
from tasks.assemble.write_datasets import refuse_foreign
from tasks.ingest.find_sources import list_labels
from tasks.store.store import open_store

# Classes that an error line lists.
_LISTED = 5


def check_paths(recipe: Recipe, photos: Path, out: Path, store: str) -> None:
    """Return if the photos can be found, the store used, and the datasets written.

    Raises:
        ValueError: the photo folder has neither photos by class nor annotated objects, lacks a
            class that the recipe names, or holds ``out``; or ``out`` has files that no run made.
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


def check_named_classes(recipe: Recipe, photos: Path) -> None:
    """As `check_classes` with the classes of a photo folder, which is listed only if needed."""
    if any(named for _, named in _named_classes(recipe)):
        labels = list_labels(photos, recipe.ingest.format, recipe.ingest.objects)
        check_classes(recipe, {label for _, label in labels})


def check_classes(recipe: Recipe, labels: Collection[str]) -> None:
    """Return if the photos have every class that the recipe names.

    Raises:
        ValueError: they lack one; the line names the field and the class that may be meant.
    """
    for field, named in _named_classes(recipe):
        for label in named:
            if label not in labels:
                known = sorted(labels)
                likely = difflib.get_close_matches(label, known, n=1) or known[:_LISTED]
                more = ", ..." if len(likely) < len(known) and len(likely) > 1 else ""
                raise ValueError(
                    f"{field}: the photos have no class {label[:100]!r}; use one of theirs, such as"
                    f" {', '.join(map(repr, likely))}{more}"
                )


def _named_classes(recipe: Recipe) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The fields of a recipe whose keys are classes, and their content."""
    for generator, settings in recipe.generators.items():
        for name, section in settings:
            prompts = getattr(section, "prompts", None) if isinstance(section, Record) else None
            if isinstance(prompts, dict):
                yield f"generators.{generator}.{name}.prompts", prompts

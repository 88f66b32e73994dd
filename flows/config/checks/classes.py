"""Settings that name a class are compared with the classes of the photos."""

import difflib
from collections.abc import Collection, Iterator
from pathlib import Path

from flows.config.recipe import Recipe
from flows.generators.catalog import find_generator
from models.data.names import shorten
from models.data.records import NO_OBJECT_LABEL, Record
from tasks.ingest.find_sources import list_classes

# Classes that an error line lists.
_LISTED = 5
_LONGEST_NAME = 40


def check_classes(recipe: Recipe, labels: Collection[str]) -> None:
    """Return if the photos have every class that the recipe names.

    Raises:
        ValueError: they lack one; the line names the field and the class that may be meant.
    """
    for field, named in _named_classes(recipe):
        for label in named:
            if label not in labels and label != NO_OBJECT_LABEL:
                raise ValueError(
                    f"{field}: the photos have no class {shorten(label)!r}; use one of theirs, such"
                    f" as {_likely(label, labels)}"
                )


def check_classes_of(recipe: Recipe, photos: Path) -> None:
    """As `check_classes` with the classes of a photo folder, which is listed only if needed."""
    if any(named for _, named in _named_classes(recipe)):
        check_classes(recipe, list_classes(photos, recipe.ingest.format))


def _likely(name: str, labels: Collection[str]) -> str:
    """The class whose name is most alike, or else the first classes."""
    known = sorted(labels)
    likely = difflib.get_close_matches(name, known, n=1) or known[:_LISTED]
    listed = ", ".join(repr(shorten(label, _LONGEST_NAME)) for label in likely)
    return f"{listed}, ..." if 1 < len(likely) < len(known) else listed


def _named_classes(recipe: Recipe) -> Iterator[tuple[str, Collection[str]]]:
    """The fields of a recipe that name classes, and the classes."""
    for generator, settings in recipe.generators.items():
        found = find_generator(generator)
        yield f"generators.{generator}.classes", found.classes(settings)
        if (placing := found.placing(settings)) is not None:
            yield f"generators.{generator}: scene_classes", placing.scene_classes
        for name, section in settings:
            for field in ("prompts", "negative_prompts", "initializers"):
                texts = getattr(section, field, None) if isinstance(section, Record) else None
                if isinstance(texts, dict):
                    yield f"generators.{generator}.{name}.{field}", texts

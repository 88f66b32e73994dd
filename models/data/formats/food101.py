"""Food-101 (Bossard et al., "Food-101", ECCV 2014), read by torchvision's loader."""

from pathlib import Path

from models.data.formats.annotated import (
    AnnotatedDataset,
    AnnotatedImage,
    ObjectAnnotation,
    check_splits,
)
from models.data.formats.published import Published, locate, malformed

FOOD101 = Published(
    "food-101",
    ("images", "meta/train.json", "meta/test.json"),
    ("meta/train.json", "meta/test.json"),
)


def read_food101(folder: Path, *, labels_only: bool = False) -> AnnotatedDataset:
    """The photos of Food-101 with their classes, in the official splits.

    The set has neither boxes nor masks, and no photo is opened.

    Args:
        labels_only: changes nothing.

    Raises:
        AnnotationError: a folder or list is missing or malformed.
    """
    from torchvision.datasets import Food101

    location = locate(folder, FOOD101)
    splits: dict[str, list[AnnotatedImage]] = {}
    classes: set[str] = set()
    for split in ("train", "test"):
        listed = location.base / "meta" / f"{split}.json"
        try:
            # With Path in place of an image reader, its items are paths with classes.
            found = Food101(location.named.parent, split, loader=Path)
            rows = [found[number] for number in range(len(found))]
        except (OSError, ValueError, RuntimeError, AttributeError, TypeError) as error:
            raise malformed(listed, error) from error
        splits[split] = [
            AnnotatedImage(
                location.place(photo, listed), 0, 0, (ObjectAnnotation(found.classes[number]),)
            )
            for photo, number in rows
        ]
        classes |= set(found.classes)
    check_splits(splits, str(location.base))
    return AnnotatedDataset(splits, sorted(classes), has_objects=False)

"""Mistakes in photos and recipe that file names alone show, found before anything is computed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.config.checks.classes import check_classes
from flows.config.recipe import Recipe
from models.data.records import Split
from models.data.splits.quotas import count_train
from models.data.splits.splitting import SplitParameters
from tasks.assemble.choose import numbers_of
from tasks.assemble.gaps import explain_gap
from tasks.ingest.backgrounds import list_backgrounds
from tasks.ingest.find_sources import find_sources, list_classes, list_labels
from tasks.ingest.groups import read_groups
from tasks.ingest.regions import list_regions

Labels = Sequence[tuple[Split | None, str]]


def check_photos(recipe: Recipe, folder: Path, limit: int | None) -> Labels:
    """Split and class of each photo, if a run can begin with them. It opens no photo.

    Args:
        limit: the largest number of references; None: all.

    Raises:
        ValueError: the photo folder has neither photos by class nor annotated objects, or lacks a
            class that the recipe names; classes have too few photos; ``limit`` leaves a class
            without a reference; or a file of groups, the folder of backgrounds or regions
            can't be used.
    """
    labels = list_labels(folder, recipe.ingest.format, recipe.ingest.objects)
    classes = {label for _, label in labels}
    if recipe.ingest.objects == "scene":
        check_classes(recipe, list_classes(folder, recipe.ingest.format))
        _check_files(recipe, folder)
        return labels
    check_classes(recipe, classes)
    small = find_small_classes(labels, recipe.split)
    if small and (not recipe.leave_out_classes or len(classes) - len(small) < min(2, len(classes))):
        label, why = next(iter(small.items()))
        more = f" ({len(small) - 1} more classes have too few)" if len(small) > 1 else ""
        raise ValueError(
            f"{folder}: the class {label!r} {why}{more}; add photos, or move the class away"
        )
    used = len(classes) - len(small)
    if limit is not None and limit < used:
        raise ValueError(
            f"--limit {limit} leaves {used - limit} of {used} classes without a reference; give"
            f" --limit {used} or more"
        )
    train = _count_pool(labels)
    most = recipe.split.train or len(labels)
    kept = {name: min(train[name], most) for name in sorted(classes - small.keys())}
    _check_volumes(recipe, kept)
    _check_files(recipe, folder)
    return labels


def _check_files(recipe: Recipe, folder: Path) -> None:
    """Return if the files of groups, and the folders of backgrounds and regions, can be used."""
    if recipe.split.listed_groups:
        found = find_sources(folder, recipe.ingest.format, labels_only=True)
        read_groups(found.photos, recipe.split, [entry.file for entry in found.refused])
    if recipe.backgrounds is not None:
        list_backgrounds(recipe.backgrounds)
    if recipe.regions is not None:
        list_regions(recipe.regions)


def find_small_classes(labels: Labels, parameters: SplitParameters) -> dict[str, str]:
    """The classes with fewer photos than splits, each with what it has and needs."""
    drawn = parameters.pools({split for split, _ in labels})["train"].wanted
    splits = ["train", *(name for name in ("val", "test") if name in drawn)]
    counts = _count_pool(labels)
    needs = f"needs {len(splits)} ({', '.join(splits)})"
    return {
        label: f"has {counts[label]} photo{'' if counts[label] == 1 else 's'}, {needs}"
        for label in sorted({label for _, label in labels})
        if counts[label] < len(splits)
    }


def count_train_photos(labels: Labels, parameters: SplitParameters) -> dict[str, int]:
    """Train photos per class, after the splits that no folder gives are taken out."""
    pool = parameters.pools({split for split, _ in labels})["train"]
    counts = sorted(_count_pool(labels).items())
    return {label: count_train(count, pool) for label, count in counts}


def _count_pool(labels: Labels) -> Counter[str]:
    """Photos per class that may become train photos."""
    return Counter(label for split, label in labels if split in (None, "train"))


def _check_volumes(recipe: Recipe, photos: Mapping[str, int]) -> None:
    """Return unless a dataset wants more real photos of a class than the folder has.

    Args:
        photos: the photos of each class that may become train photos.
    """
    for spec in recipe.dataset_specs:
        volume = spec.per_class or recipe.assemble.per_class
        is_count = isinstance(spec.real, int)
        wanted = numbers_of(spec, volume or 0)[0] if volume or is_count else 0
        for label, count in photos.items():
            if count < wanted:
                raise ValueError(explain_gap(spec.name, "real", label, count, wanted))

"""Find the photos of a folder and what is annotated in them: class folders, or a known format."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from models.captioning.template import class_words
from models.data.find_photos import SPLIT_NAMES, Refused, find_photos, find_problem
from models.data.formats.annotated import AnnotatedDataset, ObjectAnnotation
from models.data.formats.detect import READERS, detect_format
from models.data.names import check_label, comparable, shorten
from models.data.records import NO_OBJECT_LABEL, Split

Layout = Literal["auto", "folders", "coco", "voc", "yolo", "oxford-iiit-pet", "food-101", "defects"]
ObjectUse = Literal["crop", "image", "scene"]

NO_OBJECT = "no object is annotated in it"


@dataclass(frozen=True, eq=False)
class FoundPhoto:
    """A photo file, and what its folder or its annotations say of it.

    ``file`` is its POSIX path below the photo folder. ``size`` is the width and height in px that
    boxes and masks refer to; None where the one object is the label of the photo, as in class
    folders. ``in_class_folder`` says whether its folder, below that of its split, is its class.
    """

    path: Path
    file: str
    split: Split | None
    objects: tuple[ObjectAnnotation, ...]
    size: tuple[int, int] | None = None
    prompt: str | None = None
    in_class_folder: bool = False


@dataclass(frozen=True)
class FoundSources:
    """The photos of a folder in the order of their files, refused files, and notes."""

    photos: tuple[FoundPhoto, ...]
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()


def find_sources(folder: Path, layout: Layout, *, labels_only: bool = False) -> FoundSources:
    """The photos below a folder with their objects.

    Args:
        folder: class folders, or a set in one of the formats.
        layout: which of these; "auto": what the files in the folder say.
        labels_only: give labels without boxes and masks, and open no photo.

    Raises:
        ValueError: the folder has a wrong layout, or an annotation is malformed; one line names it.
    """
    form = detect_format(folder) if layout == "auto" and folder.is_dir() else layout
    found = (
        _from_dataset(folder, READERS[form](folder, labels_only=labels_only))
        if form in READERS
        else _from_folders(folder)
    )
    return replace(found, notes=(*found.notes, *_same_words(found.photos)))


def _from_folders(folder: Path) -> FoundSources:
    files, refused = find_photos(folder)
    photos = (
        FoundPhoto(
            file.path, file.file, file.split, (ObjectAnnotation(file.label),), prompt=file.prompt
        )
        for file in files
    )
    return FoundSources(tuple(photos), tuple(refused))


def _same_words(photos: Sequence[FoundPhoto]) -> list[str]:
    """A note about each set of classes that prompts call by the same words."""
    named: dict[str, list[str]] = defaultdict(list)
    for label in sorted({item.label for photo in photos for item in photo.objects}):
        named[class_words(label).casefold()].append(label)
    return [
        f"the classes {shorten(', '.join(map(repr, labels)))} have the same words in prompts; give"
        " each a sentence in caption.prompts"
        for labels in named.values()
        if len(labels) > 1
    ]


def list_labels(folder: Path, layout: Layout, objects: ObjectUse) -> list[tuple[Split | None, str]]:
    """Split and class of each source image that a folder gives; opens no photo.

    Raises:
        ValueError: the folder has a wrong layout, or gives no source image.
    """
    labels: list[tuple[Split | None, str]] = []
    photos = find_sources(folder, layout, labels_only=True).photos
    counted = count_scenes(photos) if objects == "scene" else {}
    for photo in photos:
        names = [item.label for item in photo.objects]
        if photo.size is not None and objects == "image":
            names = list(set(names)) if problem_of_labels(photo.objects) is None else []
        elif photo.size is not None and objects == "scene":
            names = [counted[photo.file]]
        labels += [(photo.split, name) for name in names]
    if {label for _, label in labels} <= {NO_OBJECT_LABEL}:
        raise ValueError(f"{folder}: no photo has an object that can be used; annotate some")
    return labels


def list_classes(folder: Path, layout: Layout) -> set[str]:
    """The classes of all objects in a folder; opens no photo.

    Raises:
        ValueError: the folder has a wrong layout.
    """
    photos = find_sources(folder, layout, labels_only=True).photos
    return {item.label for photo in photos for item in photo.objects}


def count_scenes(photos: Sequence[FoundPhoto]) -> dict[str, str]:
    """The class that each whole photo is counted in, by file: of its classes, the rarest.

    The rarest is the one that the fewest photos show, or the first of them by name. A photo without
    an object is counted as `NO_OBJECT_LABEL`.
    """
    shown = Counter(label for photo in photos for label in {item.label for item in photo.objects})
    return {
        photo.file: min(
            {item.label for item in photo.objects},
            key=lambda label: (shown[label], label),
            default=NO_OBJECT_LABEL,
        )
        for photo in photos
    }


def list_prompts(folder: Path, layout: Layout) -> dict[str, str]:
    """The prompt of each photo that has one, by file; opens no photo.

    Raises:
        ValueError: the folder has a wrong layout.
    """
    photos = find_sources(folder, layout, labels_only=True).photos
    return {photo.file: photo.prompt for photo in photos if photo.prompt}


def problem_of_labels(objects: Sequence[ObjectAnnotation]) -> str | None:
    """Why a whole photo with these objects can't have one class; None if it can."""
    labels = sorted({item.label for item in objects})
    if len(labels) > 1:
        return (
            f"its objects are of {len(labels)} classes ({shorten(', '.join(labels))}); set"
            " ingest.objects to scene or crop, or keep one class per photo"
        )
    return None if labels else NO_OBJECT


def _from_dataset(folder: Path, dataset: AnnotatedDataset) -> FoundSources:
    images = [image for listed in dataset.splits.values() for image in listed]
    labels = _check_labels(folder, {item.label for image in images for item in image.objects})
    photos: list[FoundPhoto] = []
    refused: list[Refused] = []
    for split, listed in dataset.splits.items():
        for image in listed:
            file = Path(os.path.relpath(image.file, folder)).as_posix()
            problem = image.problem or find_problem(image.file, file)
            if problem is None:
                objects = tuple(
                    item.replaced(labels[item.label], item.box) for item in image.objects
                )
                size = (image.width, image.height) if dataset.has_objects else None
                given = SPLIT_NAMES.get(split)
                photos.append(
                    FoundPhoto(
                        image.file,
                        file,
                        given,
                        objects,
                        size,
                        in_class_folder=dataset.has_class_folders,
                    )
                )
            else:
                refused.append(Refused(file, problem))
    notes = list(dataset.notes)
    if len(labels) == 1:
        notes.append(
            f"the photos have one class, {next(iter(labels.values()))!r}; a classifier needs 2, a"
            " detector 1"
        )
    photos.sort(key=lambda photo: photo.file)
    return FoundSources(tuple(photos), tuple(refused), tuple(notes))


def _check_labels(folder: Path, names: set[str]) -> dict[str, str]:
    """The label of each class name.

    Raises:
        ValueError: a name can't be used, or two differ in case or encoding alone.
    """
    labels: dict[str, str] = {}
    known: dict[str, str] = {}
    for name in sorted(names):
        labels[name] = check_label(name, fix=f"rename the class in the annotations of {folder}")
        other = known.setdefault(comparable(labels[name]), name)
        if other != name:
            raise ValueError(
                f"{folder}: the classes {other!r} and {name!r} have the same name but for case, the"
                " encoding of accents or characters that can't be seen; rename one in the"
                " annotations"
            )
    return labels

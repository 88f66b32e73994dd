"""COCO JSON (Lin et al. 2014, https://cocodataset.org/#format-data): boxes, polygons, runs."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from models.data.files import write_atomic
from models.data.find_photos import SPLIT_NAMES
from models.data.formats.annotated import (
    AnnotatedDataset,
    AnnotatedImage,
    AnnotationError,
    Box,
    ObjectAnnotation,
    check_image,
    check_splits,
    read_object,
    read_size,
    require_file,
)
from models.data.formats.polygons import is_number, read_segmentation
from models.data.names import find_path
from models.data.photo_colours import PhotoRejectedError

_IMAGE_FOLDERS = ("", "images", "JPEGImages")


def find_coco_files(folder: Path) -> list[Path]:
    """The COCO files of a folder: at its top, in ``annotations/`` or in its split folders.

    Of the official set only the ``instances_*`` files count.
    """
    files = sorted(folder.glob("*.json"))
    files += sorted(folder.glob("annotations/*.json")) + sorted(folder.glob("Annotations/*.json"))
    files += [f for f in sorted(folder.glob("*/*.json")) if f.parent.name.lower() in SPLIT_NAMES]
    found = [file for file in dict.fromkeys(files) if _is_coco(file)]
    return [file for file in found if file.name.startswith("instances")] or found


def read_coco(
    path: Path, images: Path | None = None, *, labels_only: bool = False
) -> AnnotatedDataset:
    """The images and objects of a COCO file, or of all COCO files in a folder.

    The split is in the file's name (``instances_train2017.json``) or its folder's (``valid/``).
    Crowd regions are no objects: they are left out and counted in a note.

    Args:
        path: a JSON file, or a folder that `find_coco_files` searches.
        images: the folder that ``file_name`` starts from; searched near the JSON file by default.
        labels_only: give labels without boxes and masks, and open no image.

    Raises:
        AnnotationError: a file is malformed, or an image is missing.
    """
    files = find_coco_files(path) if path.is_dir() else [path]
    if not files:
        raise AnnotationError(f"{path}: holds no COCO file with images, annotations and categories")
    splits: dict[str, list[AnnotatedImage]] = {}
    sources: dict[str, Path] = {}
    classes: dict[str, None] = {}
    notes = []
    for file in files:
        split = _split_of(file)
        if split in splits:
            raise AnnotationError(f"{file}: {sources[split]} has the same split; remove one file")
        content = _Content(file, images, labels_only)
        splits[split], sources[split] = content.read(), file
        classes |= dict.fromkeys(content.classes.values())
        if content.crowds:
            notes.append(f"{file.name}: {content.crowds} crowd regions left out")
    check_splits(splits, str(path))
    return AnnotatedDataset(splits, list(classes), tuple(notes))


def write_coco(
    file: Path,
    images: Sequence[AnnotatedImage],
    classes: Sequence[str],
    root: Path | None = None,
    extra: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write one COCO file; masks as run lengths, category ids from 1 in the order of the classes.

    Args:
        file: the JSON file; the images are not copied.
        root: what ``file_name`` starts from; the folder of ``file`` by default.
        extra: more JSON fields for each image entry, in the order of ``images``.

    Raises:
        AnnotationError: an object can't be written, or an image lies outside ``root``.
    """
    root = root or file.parent
    document: dict[str, Any] = {"info": {"description": "", "version": "1.0"}, "licenses": []}
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        check_image(image, classes)
        if not image.file.is_relative_to(root):
            raise AnnotationError(f"{image.file}: lies outside {root}; copy it there first")
        name = image.file.relative_to(root).as_posix()
        entry = {"id": number, "file_name": name, "width": image.width, "height": image.height}
        entries.append(entry | dict(extra[number - 1] if extra else {}))
        for item in image.objects:
            keys = {"id": len(annotations) + 1, "image_id": number}
            keys["category_id"] = classes.index(item.label) + 1
            annotations.append(keys | _geometry(image, item))
    document["images"], document["annotations"] = entries, annotations
    document["categories"] = [{"id": n, "name": name} for n, name in enumerate(classes, 1)]
    write_atomic(file, json.dumps(document, ensure_ascii=False).encode())


def _geometry(image: AnnotatedImage, item: ObjectAnnotation) -> dict[str, Any]:
    box = read_object(item.label, item.box, item.mask, (image.width, image.height), "").box
    area = int(item.mask.sum()) if item.mask is not None else box[2] * box[3] if box else 0.0
    return {"bbox": box, "area": area, "iscrowd": 0, "segmentation": item.runs or []}


def _is_coco(file: Path) -> bool:
    """Whether a JSON file is meant as COCO; a broken one counts if its text says so."""
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return b'"annotations"' in file.read_bytes()
    return isinstance(document, dict) and {"images", "annotations", "categories"} <= set(document)


def _split_of(file: Path) -> str:
    words = [*re.findall(r"[a-z]+", file.stem.lower()), file.parent.name.lower()]
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")


class _Content:
    """One COCO file while it is read."""

    def __init__(self, file: Path, images: Path | None, labels_only: bool) -> None:
        self.file = file
        self._labels_only = labels_only
        self.crowds = 0
        try:
            document = json.loads(file.read_bytes())
        except OSError as error:
            raise AnnotationError(f"{file}: can't be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f"{file}: is no valid JSON ({error})") from error
        if not isinstance(document, dict):
            raise AnnotationError(f"{file}: must be a JSON object")
        self._entries = self._records(document, "images", "id")
        self._annotations = self._records(document, "annotations", None)
        categories = self._records(document, "categories", "id")
        self.classes = {c["id"]: self._text(c, "name", f"category {c['id']}") for c in categories}
        if len(set(self.classes.values())) < len(self.classes):
            raise AnnotationError(f"{file}: categories: two have the same name")
        self._root = self._find_root(images)

    def read(self) -> list[AnnotatedImage]:
        """All images with their objects, in the order of the file."""
        sizes: dict[Any, tuple[int, int]] = {}
        files: dict[Any, Path] = {}
        problems: dict[Any, str] = {}
        for entry in self._entries:
            where = f"{self.file}: image {entry['id']}"
            stated = entry.get("width"), entry.get("height")
            if not all(isinstance(side, int) and side > 0 for side in stated):
                raise AnnotationError(f"{where}: width and height must be whole numbers above 0")
            files[entry["id"]] = find_path(self._root / self._file_name(entry))
            sizes[entry["id"]] = (0, 0)
            if self._labels_only:
                require_file(files[entry["id"]], where)
                continue
            try:
                size = cast(tuple[int, int], stated)
                sizes[entry["id"]] = read_size(files[entry["id"]], size, where)
            except PhotoRejectedError as error:
                problems[entry["id"]] = str(error)
        objects: dict[Any, list[ObjectAnnotation]] = {key: [] for key in sizes}
        for number, annotation in enumerate(self._annotations):
            where = f"{self.file}: annotation {annotation.get('id', f'number {number + 1}')}"
            image = annotation.get("image_id")
            if not isinstance(image, int | str) or image not in sizes:
                raise AnnotationError(f"{where}: image_id {image!r} is unknown")
            if image in problems:
                continue
            item = self._object(annotation, sizes[image], where)
            if item is not None:
                objects[image].append(item)
        return [
            AnnotatedImage(files[key], *size, tuple(objects[key]), problems.get(key))
            for key, size in sizes.items()
        ]

    def _object(
        self, annotation: dict[str, Any], size: tuple[int, int], where: str
    ) -> ObjectAnnotation | None:
        category = annotation.get("category_id")
        if not isinstance(category, int | str) or category not in self.classes:
            raise AnnotationError(f"{where}: category_id {category!r} is unknown")
        if annotation.get("iscrowd"):
            self.crowds += 1
            return None
        if self._labels_only:
            return ObjectAnnotation(self.classes[category])
        try:
            mask = read_segmentation(annotation.get("segmentation"), *size)
        except ValueError as error:
            raise AnnotationError(f"{where}: {error}") from error
        numbers = annotation.get("bbox")
        if numbers is not None and (
            not isinstance(numbers, list) or len(numbers) != 4 or not all(map(is_number, numbers))
        ):
            raise AnnotationError(f"{where}: bbox must be four numbers, x, y, width, height")
        box = cast(Box, tuple(map(float, numbers))) if numbers is not None else None
        return read_object(self.classes[category], box, mask, size, where)

    def _records(
        self, document: dict[str, Any], name: str, key: str | None
    ) -> list[dict[str, Any]]:
        records = document.get(name)
        if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
            raise AnnotationError(f"{self.file}: {name!r} must be a list of JSON objects")
        keys = [record.get(key) for record in records] if key else []
        if not all(isinstance(value, int | str) for value in keys):
            raise AnnotationError(f"{self.file}: {name}: each needs an {key!r}")
        for value, number in Counter(keys).items():
            if number > 1:
                raise AnnotationError(f"{self.file}: {name}: the {key} {value} occurs twice")
        return records

    def _text(self, record: dict[str, Any], field: str, where: str) -> str:
        text = record.get(field)
        if not isinstance(text, str) or not text:
            raise AnnotationError(f"{self.file}: {where}: {field!r} must be a text")
        return text

    def _file_name(self, entry: dict[str, Any]) -> str:
        name = self._text(entry, "file_name", f"image {entry['id']}")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise AnnotationError(
                f"{self.file}: image {entry['id']}: {name!r} leads out of the folder"
            )
        return name

    def _find_root(self, images: Path | None) -> Path:
        """The folder that holds most of the images."""
        if images is not None:
            return images
        names = [self._file_name(entry) for entry in self._entries]
        tail = self.file.stem.rpartition("_")[2] or "."
        tails = dict.fromkeys(("", tail, _split_of(self.file)))
        parents = (self.file.parent, self.file.parent.parent)
        roots = [p / f / t for f in _IMAGE_FOLDERS for p in parents for t in tails]
        return max(roots, key=lambda root: sum(find_path(root / name).is_file() for name in names))

"""YOLO text files (https://docs.ultralytics.com/datasets): boxes and polygons.

A row is ``class cx cy w h`` or ``class x1 y1 x2 y2 ...`` in shares of the image's sides.
``data.yaml`` names classes and splits.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from models.data.files import write_atomic
from models.data.formats.annotated import (
    AnnotatedDataset,
    AnnotatedImage,
    AnnotationError,
    ObjectAnnotation,
    check_image,
    check_splits,
    flat_names,
    read_size,
    require_file,
)
from models.data.formats.yolo_rows import read_label, read_row, write_row
from models.data.names import find_path
from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file.open_image import SUFFIXES

CONFIG = "data.yaml"


def read_yolo(folder: Path, *, labels_only: bool = False) -> AnnotatedDataset:
    """The images and objects of a YOLO folder with its ``data.yaml``.

    Labels lie in ``labels/`` where images lie in ``images/``: ``images/train`` or ``train/images``.
    An image without a label file, or with an empty one, has no objects.

    Args:
        labels_only: give labels without boxes and masks, and open no image.

    Raises:
        AnnotationError: a file is malformed, or a folder is missing.
    """
    config = _read_config(folder)
    classes = _read_classes(folder / CONFIG, config)
    splits: dict[str, list[AnnotatedImage]] = {}
    for split in ("train", "val", "test"):
        entries = config.get(split)
        if entries:
            listed = entries if isinstance(entries, list) else [entries]
            files = [f for entry in listed for f in _image_files(folder, config, split, entry)]
            splits[split] = [_read_image(file, classes, labels_only) for file in files]
    if not splits:
        files = _images_below(folder / "images")
        splits[""] = [_read_image(file, classes, labels_only) for file in files]
    if not any(splits.values()):
        raise AnnotationError(f"{folder / CONFIG}: names no folder with images")
    check_splits(splits, str(folder / CONFIG))
    return AnnotatedDataset(splits, classes)


def write_yolo(
    folder: Path,
    splits: Mapping[str, Sequence[AnnotatedImage]],
    classes: Sequence[str],
    boxes_only: bool = False,
) -> None:
    """Write ``data.yaml``, ``images/<split>/`` with copies of the images, and ``labels/<split>/``.

    An object with a mask becomes a polygon, from which its mask and the box around it are read
    back; another becomes a box. A box that is up to 1 px larger or smaller than its mask is read
    back as the box of the mask.

    Args:
        boxes_only: write boxes and leave masks out.

    Raises:
        AnnotationError: an object can't be held: a mask with a hole, or a mask with a box that is
            not around it.
    """
    if "" in splits and len(splits) > 1:
        raise AnnotationError("YOLO needs a name for every split")
    lines: dict[str, Any] = {"path": "."}
    for split, images in splits.items():
        below = f"images/{split}".rstrip("/")
        lines[split or "train"] = below
        (folder / below).mkdir(parents=True, exist_ok=True)
        for image, name in zip(images, flat_names([i.file for i in images]), strict=True):
            check_image(image, classes)
            rows = [write_row(image, item, classes, boxes_only) + "\n" for item in image.objects]
            shutil.copyfile(image.file, folder / below / name)
            label = folder / _label_file(Path(below) / name)
            write_atomic(label, "".join(rows).encode())
    if "" in splits:
        del lines["train"]
    lines["names"] = dict(enumerate(classes))
    text = yaml.safe_dump(lines, sort_keys=False, allow_unicode=True)
    write_atomic(folder / CONFIG, text.encode())


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    try:
        # All scalars as text: a class may be called no, 007 or 2024-01-01.
        config = yaml.BaseLoader(file.read_bytes()).get_single_data()
    except OSError as error:
        raise AnnotationError(f"{file}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:150]
        raise AnnotationError(f"{file}: is no valid YAML ({reason})") from error
    if not isinstance(config, dict):
        raise AnnotationError(f"{file}: must hold names and the folders of the splits")
    if "val" not in config and "valid" in config:
        config["val"] = config["valid"]
    return config


def _read_classes(file: Path, config: Mapping[str, Any]) -> list[str]:
    names = config.get("names")
    if isinstance(names, dict):
        if sorted(names) != sorted(map(str, range(len(names)))):
            raise AnnotationError(f"{file}: names: the class ids must be 0, 1, 2, ...")
        names = [names[str(number)] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(str(name).strip() for name in names):
        raise AnnotationError(f"{file}: names must list the classes")
    classes = [str(name) for name in names]
    if len(set(classes)) < len(classes):
        raise AnnotationError(f"{file}: names: two classes have the same name")
    if str(config.get("nc", len(classes))) != str(len(classes)):
        raise AnnotationError(
            f"{file}: nc is {config['nc']}, but names lists {len(classes)} classes"
        )
    return classes


def _image_files(folder: Path, config: Mapping[str, Any], split: str, entry: Any) -> list[Path]:
    root = str(config.get("path") or "")
    # Exports of Roboflow write ../train/images for a folder next to data.yaml.
    below = folder / str(entry).removeprefix("../")
    for path in (folder / root / str(entry), folder / str(entry), below):
        if path.is_dir():
            return _images_below(path)
        if path.is_file() and path.suffix == ".txt":
            lines = path.read_text("utf-8").splitlines()
            return [find_path(path.parent / line.strip()) for line in lines if line.strip()]
    raise AnnotationError(f"{folder / CONFIG}: {split}: there is no folder {str(entry)!r}")


def _images_below(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    return sorted(path for path in found if not path.name.startswith("."))


def _label_file(image: Path) -> Path:
    """The label file: the last folder ``images`` of the path becomes ``labels``."""
    before, found, name = f"/{image.as_posix()}".rpartition("/images/")
    return Path(f"{before}/labels/{name}"[1:] if found else image).with_suffix(".txt")


def _read_image(file: Path, classes: Sequence[str], labels_only: bool) -> AnnotatedImage:
    labels = find_path(_label_file(file))
    try:
        text = labels.read_text("utf-8") if labels.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{labels}: can't be read as text ({error})") from error
    rows = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    if labels_only:
        require_file(file, str(labels))
        found = [read_label(row, classes, f"{labels}: line {n}") for n, row in rows if row]
        return AnnotatedImage(file, 0, 0, tuple(map(ObjectAnnotation, found)))
    try:
        size = read_size(file, None, str(labels))
    except PhotoRejectedError as error:
        return AnnotatedImage(file, 0, 0, problem=str(error))
    objects = [read_row(row, size, classes, f"{labels}: line {n}") for n, row in rows if row]
    return AnnotatedImage(file, *size, tuple(objects))

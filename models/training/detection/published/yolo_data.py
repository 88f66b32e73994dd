"""The YOLO dataset folder that ultralytics learns from."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from models.data.files import write_atomic
from models.data.formats.annotated import AnnotatedImage, ObjectAnnotation, flat_names
from models.data.formats.yolo import write_yolo
from models.data.read_photo import read_size
from models.training.detection.data import BoxedImages
from models.training.task import ObjectTruth

# Objects of which less than this is in the frame, in px, are left out.
_SMALLEST_SIDE = 1.0


def write_training_set(
    folder: Path,
    train: BoxedImages,
    val: BoxedImages,
    classes: Sequence[str],
    draws: Iterable[int],
) -> Path:
    """Write images and boxes, and the list of one epoch; returns the file that names all of them.

    Args:
        draws: numbers of train images; an epoch shows each as often as it is listed.
    """
    splits = {
        name: [_annotate(path, objects, classes) for path, objects in _pairs(images)]
        for name, images in (("train", train), ("val", val))
    }
    write_yolo(folder, splits, classes, boxes_only=True)
    names = flat_names(train.files)
    shown = [folder.absolute() / "images" / "train" / names[number] for number in draws]
    write_atomic(folder / "epoch.txt", "".join(f"{path}{os.linesep}" for path in shown).encode())
    content = {
        **{"path": str(folder.absolute()), "train": "epoch.txt", "val": "images/val"},
        "names": dict(enumerate(classes)),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_atomic(folder / "epoch.yaml", text.encode())
    return folder / "epoch.yaml"


def _pairs(images: BoxedImages) -> Iterable[tuple[Path, Sequence[ObjectTruth]]]:
    return zip(images.files, images.objects, strict=True)


def _annotate(path: Path, objects: Sequence[ObjectTruth], classes: Sequence[str]) -> AnnotatedImage:
    width, height = read_size(path)
    found = []
    for item in objects:
        assert item.box is not None
        x, y, wide, tall = item.box
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + wide, width), min(y + tall, height)
        if min(right - left, bottom - top) >= _SMALLEST_SIDE:
            box = (float(left), float(top), float(right - left), float(bottom - top))
            found.append(ObjectAnnotation(classes[item.label], box))
    return AnnotatedImage(path, width, height, tuple(found))

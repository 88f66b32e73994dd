"""Pascal VOC (Everingham et al. 2010): one XML file per image, corners from 1, both inclusive."""

import math
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    flat_names,
    read_object,
    read_size,
)
from models.data.formats.voc_masks import masks_to_pixels, read_masks
from models.data.names import find_path, holds_control_characters, normal_form
from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file.open_image import SUFFIXES
from models.data.pixels import encode_png

CLASSES = "classes.txt"


def find_voc_folders(folder: Path) -> dict[str, Path]:
    """The VOC folders by split: the folder itself under "", or its folders train, val and test."""
    if _xml_files(folder):
        return {"": folder}
    named = [f for f in sorted(folder.iterdir()) if f.is_dir() and f.name.lower() in SPLIT_NAMES]
    return {SPLIT_NAMES[f.name.lower()]: f for f in named if _xml_files(f)}


def read_voc(folder: Path, *, labels_only: bool = False) -> AnnotatedDataset:
    """The images and objects of a VOC folder.

    ``Annotations/*.xml`` lie next to ``JPEGImages/`` or ``images/``. Splits are the folders
    ``train``, ``val`` and ``test``, or the lists in ``ImageSets/Main``; a file in no list is not
    used. ``SegmentationObject/*.png`` gives masks: pixel value n is the n-th object. The classes
    are those of ``classes.txt`` (written by `write_voc`), else all names, sorted.

    Args:
        labels_only: give labels without boxes and masks, and open no image.

    Raises:
        AnnotationError: a file is malformed, or an image is missing.
    """
    folders = find_voc_folders(folder)
    if not folders:
        raise AnnotationError(f"{folder}: holds no Annotations/*.xml")
    splits: dict[str, list[AnnotatedImage]] = {}
    for split, part in folders.items():
        files = _xml_files(part)
        photos = _images_in(part)
        _check_unannotated(photos, files)
        lists = _read_lists(part, files) if split == "" else {}
        for name, chosen in (lists or {split: files}).items():
            splits[name] = [_read_image(photos, file, labels_only) for file in chosen]
    check_splits(splits, str(folder))
    images = [image for listed in splits.values() for image in listed]
    found = sorted({item.label for image in images for item in image.objects})
    listed = folder / CLASSES
    classes = listed.read_text("utf-8").splitlines() if listed.is_file() else found
    for name in found:
        if name not in classes:
            raise AnnotationError(f"{listed}: the class {name!r} of an annotation is missing")
    return AnnotatedDataset(splits, classes)


def write_voc(
    folder: Path,
    splits: Mapping[str, Sequence[AnnotatedImage]],
    classes: Sequence[str],
    masks: bool = False,
) -> None:
    """Write a VOC folder with copies of the images and a list per split.

    Args:
        masks: write ``SegmentationObject`` and ``SegmentationClass`` too. Without it, masks are
            refused where they are the only geometry, and otherwise left out as asked.

    Raises:
        AnnotationError: an object can't be held, such as a mask that overlaps another.
    """
    for name in classes:
        if name != name.strip() or holds_control_characters(name) or not name:
            raise AnnotationError(f"VOC can't hold the class name {name!r}; rename the class")
    images = [image for listed in splits.values() for image in listed]
    names = dict(zip((i.file for i in images), flat_names([i.file for i in images]), strict=True))
    write_atomic(folder / CLASSES, "".join(f"{name}\n" for name in classes).encode())
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    for image in images:
        check_image(image, classes)
        name = names[image.file]
        stem = Path(name).stem
        shutil.copyfile(image.file, folder / "JPEGImages" / name)
        write_atomic(folder / "Annotations" / f"{stem}.xml", _to_xml(image, name, masks))
        if masks:
            for kind, pixels in masks_to_pixels(image, classes).items():
                write_atomic(folder / kind / f"{stem}.png", encode_png(pixels))
    for kind in ("Main", "Segmentation") if masks else ("Main",):
        for split, listed in splits.items():
            if split:
                stems = [Path(names[image.file]).stem for image in listed]
                text = "".join(f"{stem}\n" for stem in stems)
                write_atomic(folder / "ImageSets" / kind / f"{split}.txt", text.encode())


def _xml_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("Annotations/*.xml")) or sorted(folder.glob("annotations/*.xml"))


def _images_in(folder: Path) -> dict[str, Path]:
    """The images by name and by stem; the first in order counts, and a stem before a name."""
    folders = [f for f in (folder / "JPEGImages", folder / "images") if f.is_dir()]
    paths = [p for f in folders for p in f.iterdir() if p.suffix.lower() in SUFFIXES]
    paths.sort(reverse=True)
    return {normal_form(path.name): path for path in paths} | {
        normal_form(path.stem): path for path in paths
    }


def _check_unannotated(images: Mapping[str, Path], files: Sequence[Path]) -> None:
    stems = {normal_form(file.stem) for file in files}
    for image in sorted(set(images.values())):
        if normal_form(image.stem) not in stems and not image.name.startswith("."):
            raise AnnotationError(f"{image}: has no {image.stem}.xml; add it or remove the image")


def _read_lists(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The XML files per list of ``ImageSets/Main``; lists of single classes are not read."""
    by_stem = {normal_form(file.stem): file for file in files}
    lists: dict[str, list[Path]] = {}
    for file in sorted((folder / "ImageSets" / "Main").glob("*.txt")):
        if file.stem in SPLIT_NAMES:
            lines = file.read_text("utf-8").splitlines()
            stems = [normal_form(line.strip()) for line in lines if line.strip()]
            for stem in stems:
                if stem not in by_stem:
                    raise AnnotationError(f"{file}: {stem!r} has no file Annotations/{stem}.xml")
            lists[SPLIT_NAMES[file.stem]] = [by_stem[stem] for stem in stems]
    return lists


def _read_image(images: Mapping[str, Path], file: Path, labels_only: bool) -> AnnotatedImage:
    try:
        blob = file.read_bytes()
        if b"<!DOCTYPE" in blob or b"<!ENTITY" in blob:
            raise AnnotationError(f"{file}: holds a document type, which is not read; remove it")
        root = ElementTree.fromstring(blob)
    except OSError as error:
        raise AnnotationError(f"{file}: can't be read ({error.strerror})") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{file}: is no valid XML ({error})") from error
    stated = None
    if root.find("size") is not None:
        width, height = (_number(root, f"size/{side}", str(file)) for side in ("width", "height"))
        stated = (int(width), int(height))
    named = (root.findtext("filename") or "").strip()
    image = images.get(normal_form(file.stem)) or images.get(normal_form(named))
    if image is None:
        raise AnnotationError(f"{file}: the image {file.stem}.jpg is missing from JPEGImages")
    elements = root.findall("object")
    if labels_only:
        labels = [_read_label(e, f"{file}: object {n}") for n, e in enumerate(elements, 1)]
        return AnnotatedImage(image, 0, 0, tuple(map(ObjectAnnotation, labels)))
    try:
        size = read_size(image, stated, str(file))
    except PhotoRejectedError as error:
        return AnnotatedImage(image, 0, 0, problem=str(error))
    mask = file.parent.parent / "SegmentationObject" / f"{file.stem}.png"
    masks = read_masks(find_path(mask), len(elements), size)
    objects = []
    for number, element in enumerate(elements, 1):
        where = f"{file}: object {number}"
        label, box = _read_label(element, where), _read_box(element, where)
        objects.append(read_object(label, box, masks.get(number), size, where))
    return AnnotatedImage(image, *size, tuple(objects))


def _read_label(element: ElementTree.Element, where: str) -> str:
    label = (element.findtext("name") or "").strip()
    if not label:
        raise AnnotationError(f"{where}: has no name")
    return label


def _read_box(element: ElementTree.Element, where: str) -> Box | None:
    if element.find("bndbox") is None:
        return None
    names = ("xmin", "ymin", "xmax", "ymax")
    xmin, ymin, xmax, ymax = (_number(element, f"bndbox/{name}", where) for name in names)
    # Many tools count from 0; such a corner on the border is read as 1.
    xmin, ymin = xmin or 1.0, ymin or 1.0
    sides = (xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1)
    left, top, width, height = (round(side, 6) for side in sides)
    return left, top, width, height


def _number(element: ElementTree.Element, path: str, where: str) -> float:
    text = (element.findtext(path) or "").strip()
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if not abs(number) <= 10**9:
        raise AnnotationError(f"{where}: {path} must be a number, not {text[:40]!r}")
    return number


def _to_xml(image: AnnotatedImage, name: str, masks: bool) -> bytes:
    root = ElementTree.Element("annotation")
    _add(root, folder="JPEGImages", filename=name)
    size = ElementTree.SubElement(root, "size")
    _add(size, width=str(image.width), height=str(image.height), depth="3")
    _add(root, segmented=str(int(masks)))
    for number, item in enumerate(image.objects, 1):
        if item.box is None and not masks:
            raise AnnotationError(
                f"{image.file.name}: object {number}: has no box; write masks too"
            )
        element = ElementTree.SubElement(root, "object")
        _add(element, name=item.label, pose="Unspecified", truncated="0", difficult="0")
        _add(ElementTree.SubElement(element, "bndbox"), **_corners(image, item))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8"))


def _add(parent: ElementTree.Element, **texts: str) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = text


def _corners(image: AnnotatedImage, item: ObjectAnnotation) -> dict[str, str]:
    box = read_object(item.label, item.box, item.mask, (image.width, image.height), "").box
    assert box is not None
    x, y, width, height = box
    corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
    return {name: f"{side:.9f}".rstrip("0").rstrip(".") for name, side in corners.items()}

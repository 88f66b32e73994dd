"""Rows of YOLO label files: one object each, in shares of the image's width and height."""

import math
from collections.abc import Sequence

from models.data.formats.annotated import (
    AnnotatedImage,
    AnnotationError,
    Box,
    ObjectAnnotation,
    box_of_mask,
    read_object,
)
from models.data.formats.polygons import check_points, mask_to_polygon, polygons_to_mask


def read_row(
    row: Sequence[str], size: tuple[int, int], classes: Sequence[str], where: str
) -> ObjectAnnotation:
    """The object of a row of columns.

    Raises:
        AnnotationError: the row is malformed; ``where`` (file and line) begins the message.
    """
    if len(row) != 5 and (len(row) < 7 or len(row) % 2 == 0):
        raise AnnotationError(
            f"{where}: {len(row)} columns; a box has 5, a polygon 1 and two for each of 3 or more"
            " points"
        )
    try:
        numbers = [float(text) for text in row]
    except ValueError:
        numbers = [math.inf]
    if not all(abs(number) <= 10**6 for number in numbers):
        raise AnnotationError(f"{where}: a column is no number")
    label = read_label(row, classes, where)
    if len(row) == 5:
        return read_object(label, _to_box(numbers[1:], size), None, size, where)
    points = [share * size[n % 2] for n, share in enumerate(numbers[1:])]
    try:
        check_points(points, *size)
    except ValueError as error:
        raise AnnotationError(f"{where}: {error}") from error
    return read_object(label, None, polygons_to_mask([points], size[1], size[0]), size, where)


def read_label(row: Sequence[str], classes: Sequence[str], where: str) -> str:
    """The class of a row.

    Raises:
        AnnotationError: the class id is unknown.
    """
    try:
        index = float(row[0])
    except ValueError:
        index = -1.0
    if not index.is_integer() or not 0 <= index < len(classes):
        raise AnnotationError(
            f"{where}: the class id {row[0][:40]} is unknown; there are {len(classes)}"
        )
    return classes[int(index)]


def _to_box(shares: Sequence[float], size: tuple[int, int]) -> Box:
    cx, cy, width, height = shares
    box = (
        (cx - width / 2) * size[0],
        (cy - height / 2) * size[1],
        width * size[0],
        height * size[1],
    )
    left, top, wide, tall = (round(side, 6) for side in box)
    return left, top, wide, tall


def write_row(
    image: AnnotatedImage, item: ObjectAnnotation, classes: Sequence[str], boxes_only: bool
) -> str:
    """The row of an object; its box reads back to a millionth of a px, its mask exactly.

    Raises:
        AnnotationError: a polygon can't hold the mask, or the box is not that of the mask.
    """
    size = (image.width, image.height)
    where = f"{image.file.name}: {item.label}"
    index = str(classes.index(item.label))
    box = read_object(item.label, item.box, item.mask, size, where).box
    assert box is not None
    if item.mask is None or boxes_only:
        x, y, width, height = box
        shares = [(x + width / 2) / size[0], (y + height / 2) / size[1]]
        return " ".join([index, *map(_decimal, [*shares, width / size[0], height / size[1]])])
    tight = box_of_mask(item.mask)
    assert tight is not None
    if any(abs(a - b) > 1 for a, b in zip(_edges(box), _edges(tight), strict=True)):
        raise AnnotationError(
            f"{where}: the box is not that of its mask, and YOLO holds one; write boxes only"
        )
    try:
        polygon = mask_to_polygon(item.mask)
    except ValueError as error:
        raise AnnotationError(f"{where}: {error}; write boxes only") from error
    flat = [value for point in polygon for value in point]
    return " ".join([index, *(_decimal(value / size[n % 2]) for n, value in enumerate(flat))])


def _edges(box: Box) -> Box:
    x, y, width, height = box
    return x, y, x + width, y + height


def _decimal(value: float) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".")

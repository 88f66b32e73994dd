"""Rows of YOLO label files: one object each, in shares of the image's width and height."""

from collections.abc import Sequence
from fractions import Fraction

from models.data.formats.annotated import (
    AnnotatedImage,
    AnnotationError,
    Box,
    ObjectAnnotation,
    box_of_mask,
    fit_box,
    read_object,
)
from models.data.formats.polygons import check_points, mask_to_polygon, polygons_to_mask

# Numbers of decimals to try until the written row reads back as the same floats.
_DECIMALS = (6, 9, 12, 18, 24, 40, 100, 400)


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
        numbers = [Fraction(text) for text in row if "/" not in text and len(text) < 1000]
    except ValueError:
        numbers = []
    if len(numbers) < len(row) or max(map(abs, numbers)) > 10**6:
        raise AnnotationError(f"{where}: a column is no number")
    label = read_label(row, classes, where)
    if len(row) == 5:
        return read_object(label, _to_box(numbers[1:], size), None, size, where)
    points = [float(share * size[n % 2]) for n, share in enumerate(numbers[1:])]
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


def _to_box(shares: Sequence[Fraction], size: tuple[int, int]) -> Box:
    cx, cy, width, height = shares
    left, top = (cx - width / 2) * size[0], (cy - height / 2) * size[1]
    return float(left), float(top), float(width * size[0]), float(height * size[1])


def write_row(
    image: AnnotatedImage, item: ObjectAnnotation, classes: Sequence[str], boxes_only: bool
) -> str:
    """The row of an object that reads back as the same floats and pixels.

    Raises:
        AnnotationError: a polygon can't hold the mask, or the box is not that of the mask.
    """
    size = (image.width, image.height)
    where = f"{image.file.name}: {item.label}"
    index = str(classes.index(item.label))
    box = read_object(item.label, item.box, item.mask, size, where).box
    assert box is not None
    if item.mask is None or boxes_only:
        return f"{index} {_box_row(box, size, where)}"
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
    return " ".join([index, *(_share(value, size[n % 2]) for n, value in enumerate(flat))])


def _edges(box: Box) -> Box:
    x, y, width, height = box
    return x, y, x + width, y + height


def _box_row(box: Box, size: tuple[int, int], where: str) -> str:
    x, y, width, height = map(Fraction, box)
    shares = ((x + width / 2) / size[0], (y + height / 2) / size[1])
    exact = (*shares, width / size[0], height / size[1])
    for decimals in _DECIMALS:
        texts = [_decimal(value, decimals) for value in exact]
        read = _to_box([Fraction(text) for text in texts], size)
        if fit_box(read, *size, where) == box:
            return " ".join(texts)
    raise AnnotationError(f"{where}: the box {box} has more digits than YOLO rows can hold")


def _share(value: int, side: int) -> str:
    for decimals in _DECIMALS:
        text = _decimal(Fraction(value, side), decimals)
        if float(Fraction(text) * side) == value:
            return text
    raise AssertionError(value)


def _decimal(value: Fraction, decimals: int) -> str:
    digits = f"{round(value * 10**decimals):0{decimals + 1}d}"
    return f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".")

"""Photos with boxes: what a detector found, what it missed, and what it found where nothing is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.data.pixels import Pixels, rgb
from models.evaluation.classification import Values
from models.evaluation.detection.matching import Boxes, match_photo

# Colours that colour-blind readers tell apart (Okabe and Ito, 2008). Lines differ as well.
REAL, HIT = (86, 180, 233), (0, 158, 115)
MISS, FALSE_ALARM = (240, 228, 66), (213, 94, 0)
LONGEST_SIDE = 384
_HALO = (20, 20, 20)
# Lengths of a dash and of its gap, px; none: a line without gaps.
_SOLID, _DASHED, _DOTTED = None, (9, 6), (3, 4)


@dataclass(frozen=True)
class DrawnBoxes:
    """A picture with boxes, and in words how many objects of each class were found."""

    pixels: Pixels
    words: str


def draw_objects(photo: Pixels, objects: Boxes) -> Pixels:
    """The photo, RGB, with the boxes of its real objects."""
    picture, scale = _enlarge(photo)
    for box in objects.boxes:
        _draw_box(picture, box * scale, REAL, _SOLID)
    return picture


def draw_found(
    photo: Pixels, objects: Boxes, found: Boxes, threshold: float, classes: Sequence[str]
) -> DrawnBoxes:
    """The photo, RGB, with hits, misses and false alarms at an IoU of 0.5.

    Args:
        photo: RGB or RGBA.
        objects: the real objects of the photo.
        found: what was found in it, from the highest score on.
        threshold: boxes with a lower score are left out.
        classes: names of the classes that have boxes.
    """
    found = found.pick(np.flatnonzero(found.scores >= threshold))
    hit_by = match_photo(objects, found)[0]
    picture, scale = _enlarge(photo)
    missed = np.setdiff1d(np.arange(len(objects.labels)), hit_by)
    for box in objects.boxes[missed]:
        _draw_box(picture, box * scale, MISS, _DASHED)
    for box, is_hit in zip(found.boxes, hit_by >= 0, strict=True):
        _draw_box(picture, box * scale, *((HIT, _SOLID) if is_hit else (FALSE_ALARM, _DOTTED)))
    hits = Counter(objects.labels[hit_by[hit_by >= 0]].tolist())
    wrong = Counter(found.labels[hit_by < 0].tolist())
    real = Counter(objects.labels.tolist())
    parts = [f"{classes[label]} {hits[label]} of {real[label]}" for label in sorted(real)]
    parts += [
        f"{amount} false alarm{'' if amount == 1 else 's'} of {classes[label]}"
        for label, amount in sorted(wrong.items())
    ]
    return DrawnBoxes(picture, "; ".join(parts) or "nothing found, rightly")


def _enlarge(photo: Pixels) -> tuple[Pixels, float]:
    """The photo as RGB, its longer side `LONGEST_SIDE`, and the factor of its size."""
    height, width = photo.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(rgb(photo), size, interpolation=way), np.uint8), scale


def _draw_box(
    picture: Pixels, box: Values, colour: tuple[int, int, int], dash: tuple[int, int] | None
) -> None:
    """Draw a box with a dark rim, so that it is seen on any ground."""
    height, width = picture.shape[:2]
    left, right = np.clip((box[0], box[0] + box[2]), 1, width - 2).round().astype(int)
    top, bottom = np.clip((box[1], box[1] + box[3]), 1, height - 2).round().astype(int)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    for ink, thickness in ((_HALO, 4), (colour, 2)):
        for start, end in zip(corners, (*corners[1:], corners[0]), strict=True):
            for first, last in _dashes(np.array(start), np.array(end), dash):
                cv2.line(picture, first, last, ink, thickness)


def _dashes(
    start: Values, end: Values, dash: tuple[int, int] | None
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The parts of a line: one, or dashes with gaps between them."""
    length = float(np.hypot(*(end - start)))
    if dash is None or length < sum(dash):
        places = [(0.0, 1.0)]
    else:
        firsts = np.arange(0, length, sum(dash))
        places = [(first / length, min(1.0, (first + dash[0]) / length)) for first in firsts]
    parts = []
    for first, last in places:
        ends = [(start + (end - start) * place).round().astype(int) for place in (first, last)]
        parts.append(((int(ends[0][0]), int(ends[0][1])), (int(ends[1][0]), int(ends[1][1]))))
    return parts

"""The mask of an object that was painted into a picture: by what has changed, then by GrabCut.

Source of the threshold: Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE
Transactions on Systems, Man, and Cybernetics, 1979.
"""

import cv2
import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.objects import PixelBox
from models.data.pixels import Bools, Pixels
from models.data.records import Box
from models.segmentation.grabcut import segment_object
from models.segmentation.saliency import NoObjectError

# Differences of colours below this show no object, grey levels.
LEAST_CHANGE = 12.0
# Width of the border of the painted part, whose colours are those of the ground, share of its size.
BORDER = 0.08
# Parts of less than this share of the largest one are no part of the object.
LEAST_PART = 0.2
# A mask whose box overlaps the object's place less is not trusted (IoU): objects may be smaller.
LEAST_OVERLAP = 0.15


def find_painted_object(before: Pixels, after: Pixels, paint: Bools, box: Box) -> Bools | None:
    """The mask of a painted object, bool HxW; empty where nothing was painted that differs.

    None where something was painted and no mask fits the object's place.

    Args:
        before, after: uint8 HxWx3.
        paint: bool HxW, where they may differ.
        box: where the object was to be, x, y, width, height in px.
    """
    seeds = _changed(before, after, paint)
    if not seeds.any():
        return seeds
    try:
        alpha = segment_object(after, previous_mask=seeds.astype(np.float32))
    except NoObjectError:
        return None
    mask = np.asarray((alpha > 0.5) & paint)
    found = box_of_mask(mask)
    return mask if found is not None and _overlap(found, box) >= LEAST_OVERLAP else None


def _changed(before: Pixels, after: Pixels, paint: Bools) -> Bools:
    """Px that differ from before and from the new ground more than others, without small parts.

    The new ground is what was painted along the border: an object may lie on a part of it that
    replaces something else.
    """
    blurred = [cv2.GaussianBlur(image, (3, 3), 0).astype(np.float32) for image in (before, after)]
    change = np.abs(blurred[1] - blurred[0]).max(axis=2)
    reach = 2 * max(1, round(BORDER * float(np.sqrt(paint.sum())))) + 1
    inner = cv2.erode(paint.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    if (paint & ~inner).any():
        ground = np.median(blurred[1][paint & ~inner], axis=0)
        change = np.minimum(change, np.abs(blurred[1] - ground).max(axis=2))
    if not paint.any() or float(change[paint].max()) < LEAST_CHANGE:
        return np.zeros_like(paint)
    levels = np.clip(change[paint], 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    changed = ((change > max(threshold, LEAST_CHANGE)) & paint).astype(np.uint8)
    closed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept = (areas > 0) & (areas >= LEAST_PART * areas.max())
    return np.asarray(kept[labels] & paint)


def _overlap(found: PixelBox, box: Box) -> float:
    """Intersection over union of two boxes."""
    sides = [
        max(0.0, min(found[axis] + found[axis + 2], box[axis] + box[axis + 2]))
        - max(found[axis], box[axis])
        for axis in (0, 1)
    ]
    shared = max(0.0, sides[0]) * max(0.0, sides[1])
    return shared / (found[2] * found[3] + box[2] * box[3] - shared)

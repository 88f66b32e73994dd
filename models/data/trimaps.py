"""Trimaps: masks with a border that is neither background nor object (uint8 HxW: 0, 128, 255)."""

import cv2
import numpy as np

from models.data.pixels import Bools, Pixels

BACKGROUND, BORDER, OBJECT = 0, 128, 255


def is_trimap(mask: Pixels) -> bool:
    """Whether a mask has a border, and no other values than 0, 128 and 255."""
    levels = set(np.unique(mask).tolist())
    return BORDER in levels and levels <= {BACKGROUND, BORDER, OBJECT}


def as_trimap(mask: Pixels) -> Pixels:
    """The levels 0, 128 and 255 of a mask, uint8 HxW.

    A mask that has other levels, such as a soft edge, has no border: 128 and more is object.
    """
    if is_trimap(mask):
        return mask
    return np.where(mask >= BORDER, OBJECT, BACKGROUND).astype(np.uint8)


def solid_mask(mask: Pixels) -> Bools:
    """What of a mask is object, bool HxW: 128 and more, or in a trimap up to the border's middle.

    A px of the border counts as object if the object is at least as near as the background.
    """
    if not is_trimap(mask):
        return np.asarray(mask >= BORDER)
    return np.asarray(_distance_to(mask, OBJECT) <= _distance_to(mask, BACKGROUND))


def _distance_to(mask: Pixels, level: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The distance of each px to the nearest one of a level, px; infinite where there is none."""
    others = (mask != level).astype(np.uint8)
    if others.all():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(others, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)


def add_border(mask: Bools, width: float) -> Pixels:
    """A trimap of a mask: a border along its outline, half of it inside and half outside.

    Args:
        width: width of the border, px. Objects that are thinner keep their inmost px. The edge of
            the image is no outline.
    """
    trimap = np.where(mask, OBJECT, BACKGROUND).astype(np.uint8)
    if width <= 0 or mask.all() or not mask.any():
        return trimap
    inside = _distance_to(trimap, BACKGROUND)
    trimap[~mask & (_distance_to(trimap, OBJECT) <= width / 2)] = BORDER
    trimap[mask & (inside <= min(width / 2, float(inside.max()) - 1))] = BORDER
    return trimap

"""Clean a network's mask: close small holes, drop small components and distant haze."""

import cv2
import numpy as np

from models.data.pixels import Alpha, Bools
from models.segmentation.masks import border_pixels


def clean_mask(alpha: Alpha, *, fill_holes: float, keep_parts: float) -> Alpha:
    """Return the alpha (float32 HxW, 0..1) without small holes, small parts and distant haze.

    Args:
        alpha: float32 HxW, 0..1.
        fill_holes: holes smaller than this share of the object's area are closed; 0 closes none.
            A hole at the image border stays open.
        keep_parts: parts smaller than this share of the largest part are removed, and so is all
            that lies farther from the kept parts than their soft edge. 0 keeps all parts, 1 only
            the largest.
    """
    inside = alpha > 0.5
    if not inside.any():
        return alpha
    cleaned = alpha.copy()
    radius = max(5, round(0.02 * float(np.sqrt(inside.sum()))))
    if keep_parts > 0:
        kept = large_parts(inside, keep_parts)
        cleaned[~_dilate(kept, radius) | (_dilate(inside & ~kept, radius) & ~kept)] = 0
        inside = kept
    if fill_holes > 0:
        holes = _small_holes(inside, fill_holes)
        near_outside = _dilate(~(inside | holes), radius)
        cleaned[_dilate(holes, radius) & ~near_outside | holes] = 1
    return cleaned


def large_parts(inside: Bools, share: float) -> Bools:
    """Return the 8-connected parts with at least this share of the largest part's area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    return np.asarray((areas >= min(1.0, share) * areas.max())[labels] & inside)


def _small_holes(inside: Bools, share: float) -> Bools:
    outside = (~inside).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    is_small = stats[:, cv2.CC_STAT_AREA] < share * inside.sum()
    is_small[np.unique(border_pixels(labels))] = False
    is_small[0] = False
    return np.asarray(is_small[labels])


def _dilate(mask: Bools, radius: int) -> Bools:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)

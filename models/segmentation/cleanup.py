"""Mending of masks that a network made: holes, lost crumbs and halos, of which users complain."""

import cv2
import numpy as np
import numpy.typing as npt

Alpha = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def clean_mask(alpha: Alpha, *, fill_holes: float, keep_parts: float) -> Alpha:
    """The matte (float32 HxW, 0..1) without small holes, small parts and what floats far off.

    Args:
        fill_holes: holes of less than this share of the object's area are closed; 0 closes none. A
            hole at the image's border is none.
        keep_parts: parts of less than this share of the largest part's area are left out, and with
            them all that is further from the kept ones than their soft edge reaches; 0 keeps all, 1
            only the largest.
    """
    inside = alpha > 0.5
    if not inside.any():
        return alpha
    mended = alpha.copy()
    reach = max(5, round(0.02 * float(np.sqrt(inside.sum()))))
    if keep_parts > 0:
        kept = _large_parts(inside, keep_parts)
        mended[~_grown(kept, reach) | (_grown(inside & ~kept, reach) & ~kept)] = 0
        inside = kept
    if fill_holes > 0:
        holes = _small_holes(inside, fill_holes)
        open_ground = _grown(~(inside | holes), reach)
        mended[_grown(holes, reach) & ~open_ground | holes] = 1
    return mended


def mask_iou(first: Alpha, second: Alpha) -> float:
    """Intersection over union of two mattes of one size, cut at a half; 0 if both are empty."""
    one, other = first > 0.5, second > 0.5
    return float((one & other).sum() / max(1, (one | other).sum()))


def _large_parts(inside: Bools, share: float) -> Bools:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    return np.asarray((areas >= min(1.0, share) * areas.max())[labels] & inside)


def _small_holes(inside: Bools, share: float) -> Bools:
    outside = (~inside).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < share * inside.sum()
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    small[np.unique(np.concatenate(edges))] = False
    small[0] = False
    return np.asarray(small[labels])


def _grown(mask: Bools, reach: int) -> Bools:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)

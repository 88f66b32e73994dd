"""The depth of an object alone."""

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Pixels

Depth = npt.NDArray[np.uint16]


def mask_depth(depth: Depth, alpha: Pixels, min_depth: float) -> Depth | None:
    """Return the depth of an object, stretched to `min_depth`..1 of 65535; 0 outside.

    None: the mask is empty.

    Args:
        depth: uint16 HxW, nearer is larger.
        alpha: uint8 HxW, the object's. Its px from 128 on decide how the depth is stretched.
        min_depth: 0..1, of the object's farthest point.
    """
    solid = (alpha > 127).astype(np.uint8)
    if not solid.any():
        return None
    low, high, _, _ = cv2.minMaxLoc(depth, solid)
    slope = (1 - min_depth) / max(high - low, 1)
    levels = depth * np.float32(slope) + np.float32(min_depth - low * slope)
    np.clip(levels, min_depth, 1, out=levels)
    masked = cv2.multiply(levels, alpha, scale=65535 / 255, dtype=cv2.CV_16U)
    return np.asarray(masked, np.uint16)

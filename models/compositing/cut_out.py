"""Cut-outs: objects without their surroundings, ready to be pasted at any size."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.data.pixels import Pixels

# Alpha from which on a px counts as object, in masks and boxes.
OBJECT_ALPHA = 128
# The longer side of the smallest level, px.
_SMALLEST_LEVEL = 24


@dataclass(frozen=True, eq=False)
class CutOut:
    """An object at its own size, at half of it, and so on, so that no size needs much scaling.

    ``levels``: uint8 HxWx4 each, RGB premultiplied by alpha, and alpha.
    """

    levels: tuple[Pixels, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the object, px."""
        return self.levels[0].shape[1], self.levels[0].shape[0]

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(level.nbytes for level in self.levels)


def prepare_cut_out(rgba: Pixels) -> CutOut:
    """The levels of an object.

    Args:
        rgba: uint8 HxWx4, RGB + alpha, colours not premultiplied.
    """
    alpha = cv2.cvtColor(rgba[..., 3], cv2.COLOR_GRAY2RGB)
    colours = cv2.multiply(np.ascontiguousarray(rgba[..., :3]), alpha, scale=1 / 255)
    levels = [np.dstack([colours, rgba[..., 3]])]
    while max(levels[-1].shape) >= 2 * _SMALLEST_LEVEL:
        height, width = levels[-1].shape[:2]
        half = (max(1, round(width / 2)), max(1, round(height / 2)))
        levels.append(
            np.asarray(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA), np.uint8)
        )
    return CutOut(tuple(levels))


def trim_cut_out(rgba: Pixels, longest_side: int) -> Pixels | None:
    """The object's box alone, at most so large; None if no px is object.

    Args:
        rgba: uint8 HxWx4, RGB + alpha, colours not premultiplied.
        longest_side: longer side at most, px; the object is never enlarged.

    Returns:
        uint8 HxWx4; colours are black where alpha is 0.
    """
    x, y, width, height = cv2.boundingRect((rgba[..., 3] >= OBJECT_ALPHA).astype(np.uint8))
    if width == 0:
        return None
    object_alone = np.ascontiguousarray(rgba[y : y + height, x : x + width])
    scale = longest_side / max(width, height)
    if scale < 1:
        alpha = object_alone[..., 3:].astype(np.float32) / 255
        premultiplied = np.dstack([object_alone[..., :3] * alpha, alpha])
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(premultiplied, size, interpolation=cv2.INTER_AREA)
        colours = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
        values = np.dstack([colours, small[..., 3:] * 255])
        object_alone = np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
    object_alone[object_alone[..., 3] == 0] = 0
    return object_alone

"""Shift a scene over its canvas and fill the border that comes into view (classical outpainting).

The scene is extended once, by the largest shift, and every shift is a crop of the extension. So
shifts of one scene agree on what lies outside, and the known region is copied, never resampled. The
extension grows from the scene without its object, so the object cannot appear twice.
"""

import cv2
import numpy as np

from models.data.pixels import Pixels
from models.outpainting.border_strips import drifting_strip, extend_both_sides, sliding_strip
from models.outpainting.remove_object import grow_mask, remove_object

# Alpha above which a px (0..255) counts as object.
_OBJECT_ALPHA = 12


def grid_offsets(grid_size: int, max_shift: float) -> list[tuple[float, float]]:
    """Offsets (dx, dy) of a grid_size x grid_size grid, evenly over [-max_shift, max_shift].

    They are shares of the canvas, row by row.

    >>> grid_offsets(2, 0.1)
    [(-0.1, -0.1), (0.1, -0.1), (-0.1, 0.1), (0.1, 0.1)]
    """
    if grid_size == 1:
        return [(0.0, 0.0)]
    steps = [
        round(max_shift * (2 * step / (grid_size - 1) - 1), 12) + 0.0 for step in range(grid_size)
    ]
    return [(dx, dy) for dy in steps for dx in steps]


class ExtendedScene:
    """A scene with its surroundings, from which shifts are cropped.

    Args:
        rgba: uint8 HxWx4, RGB + the object's alpha; 16 px or more per side.
        max_shift: the farthest shift, as a share of the canvas, 0..0.5.
        rng: draws how the borders vary.

    Raises:
        ValueError: the array is no such image.
    """

    def __init__(self, rgba: Pixels, max_shift: float, rng: np.random.Generator) -> None:
        if rgba.ndim != 3 or rgba.shape[2] != 4 or min(rgba.shape[:2]) < 16:
            raise ValueError(
                f"a scene of shape {rgba.shape} can't be shifted; give HxWx4, 16 px or more"
            )
        height, width = rgba.shape[:2]
        self._size = (width, height)
        self._pads = (int(np.ceil(max_shift * width)), int(np.ceil(max_shift * height)))
        self._limits = offset_limits(rgba[..., 3], self._pads)
        self._canvas = _extend(rgba, self._pads, rng)

    def shift(self, dx: float, dy: float) -> Pixels:
        """The scene shifted by (dx * width, dy * height), uint8 of its own shape.

        Offsets are rounded to whole px. They are shortened where they would cut off more of the
        object than was cut before, or expose an edge where it was cut.

        Raises:
            ValueError: the shift is farther than max_shift.
        """
        x, y = self.offset(dx, dy)
        left, top = self._pads[0] - x, self._pads[1] - y
        width, height = self._size
        return self._canvas[top : top + height, left : left + width].copy()

    def offset(self, dx: float, dy: float) -> tuple[int, int]:
        """The px (x, y) by which `shift` shifts the scene after rounding and shortening.

        Raises:
            ValueError: the shift is farther than max_shift.
        """
        offset = []
        for axis, share in enumerate((dx, dy)):
            wanted = round(share * self._size[axis])
            if abs(wanted) > self._pads[axis]:
                name = ("dx", "dy")[axis]
                raise ValueError(f"{name} is {share}; give at most the scene's max_shift")
            low, high = self._limits[axis]
            offset.append(max(low, min(high, wanted)))
        return offset[0], offset[1]


def offset_limits(alpha: Pixels, pads: tuple[int, int]) -> list[tuple[int, int]]:
    """Per axis (x, y) the least and the greatest offset in px that keeps the object whole.

    An object that touches an edge stays where it is.

    Args:
        alpha: uint8 HxW, the object's.
        pads: the largest offset in px per axis (x, y).
    """
    limits = []
    solid = alpha > _OBJECT_ALPHA
    for axis, pad in enumerate(pads):
        occupied = np.flatnonzero(solid.any(axis=axis))
        length = alpha.shape[1 - axis]
        if occupied.size == 0:
            limits.append((-pad, pad))
            continue
        first, last = int(occupied[0]), int(occupied[-1])
        if first == 0 or last == length - 1:
            limits.append((0, 0))
        else:
            limits.append((-min(pad, first), min(pad, length - 1 - last)))
    return limits


def _extend(rgba: Pixels, pads: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """The scene (uint8 HxWx4) with pads[0] columns and pads[1] rows more on each side."""
    height, width = rgba.shape[:2]
    wide, tall = pads
    occupied = rgba[..., 3] > 0
    grown = remove_object(rgba, occupied)
    avoid = grow_mask(occupied)
    if wide:
        grown = extend_both_sides(grown, avoid, wide, rng, drifting_strip)
    if tall:
        avoid = np.pad(avoid, ((0, 0), (wide, wide))).T
        transposed = np.asarray(cv2.transpose(grown), np.uint8)
        taller = extend_both_sides(transposed, avoid, tall, rng, sliding_strip)
        grown = np.asarray(cv2.transpose(taller), np.uint8)
    canvas = cv2.cvtColor(grown, cv2.COLOR_RGB2RGBA)
    canvas[..., 3] = 0
    canvas[tall : tall + height, wide : wide + width] = rgba
    return np.asarray(canvas, np.uint8)

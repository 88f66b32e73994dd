"""All places of a scene where a box of a size is free, and a draw among them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from models.data.objects import PixelBox
from models.data.pixels import Bools, Matrix
from models.data.records import Box

# Corners tried along the longer side of a scene at most: larger scenes use every second px or so.
_MOST_CORNERS = 1024


@dataclass(frozen=True, eq=False)
class Scene:
    """Where new objects may lie.

    Attributes:
        width, height: the frame, px.
        occupied: boxes of its objects: x, y, width, height in px.
        region: bool HxW, True where new objects may be; None: everywhere.
    """

    width: int
    height: int
    occupied: tuple[Box, ...] = ()
    region: Bools | None = None
    # Sums of px outside of the region, as `cv2.integral` gives them.
    _outside: Matrix | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.region is None:
            return
        if self.region.shape != (self.height, self.width):
            raise ValueError(
                f"the region is {self.region.shape[1]}x{self.region.shape[0]} px, and its scene "
                f"{self.width}x{self.height}; give both of one size"
            )
        outside = cv2.integral(np.logical_not(self.region).astype(np.uint8), sdepth=cv2.CV_64F)
        object.__setattr__(self, "_outside", outside)

    def free_corners(
        self, size: tuple[int, int], margin: int, placed: Sequence[PixelBox] = ()
    ) -> tuple[Bools, int]:
        """Which left upper corners a box of this size may have, and the px between them.

        Args:
            size: width and height of the box, px.
            margin: px around the box that hold no other object.
            placed: boxes that are occupied too.

        Returns:
            bool, entry (row, column) for the corner (row · step, column · step), and the step.
            It has no entry where the box is larger than the frame.
        """
        width, height = size
        step = -(-max(self.width, self.height) // _MOST_CORNERS)
        rows = len(range(0, self.height - height + 1, step))
        columns = len(range(0, self.width - width + 1, step))
        free = np.ones((rows, columns), np.bool_)
        for x, y, w, h in (*self.occupied, *placed):
            top, bottom = _touching(y, h, height + margin, margin, step)
            left, right = _touching(x, w, width + margin, margin, step)
            free[top:bottom, left:right] = False
        if self._outside is not None and free.size:
            sums = self._outside
            below, right_of = sums[height::step], slice(width, None, step)
            above = sums[: self.height - height + 1 : step]
            left_of = slice(0, self.width - width + 1, step)
            inside = below[:, right_of] - below[:, left_of]
            inside = inside - above[:, right_of] + above[:, left_of]
            free &= inside == 0
        return free, step


def _touching(start: float, length: float, before: int, after: int, step: int) -> tuple[int, int]:
    """First and last + 1 number of the corners that are too near to a box along one axis."""
    first = int(np.floor((start - before) / step)) + 1
    last = int(np.ceil((start + length + after) / step))
    return max(first, 0), max(last, 0)


def draw_corner(
    free: Bools, step: int, rng: np.random.Generator, rows: tuple[float, float] | None = None
) -> tuple[int, int] | None:
    """x and y in px of a free corner, all equally likely; None if no corner is free.

    Args:
        free, step: from `Scene.free_corners`.
        rows: y of the corner in px, at least and at most.
    """
    first, last = 0, free.shape[0]
    if rows is not None:
        first = min(max(int(np.ceil(rows[0] / step)), 0), last)
        last = min(max(int(np.floor(rows[1] / step)) + 1, first), last)
    places = np.flatnonzero(free[first:last])
    if not len(places):
        return None
    row, column = divmod(int(places[rng.integers(len(places))]), free.shape[1])
    return column * step, (row + first) * step

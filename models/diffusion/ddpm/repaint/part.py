"""The part of a scene in which a new object is painted, and what the object follows there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.data.objects import PixelBox
from models.data.pixels import Bools, Pixels
from models.data.records import Box
from models.diffusion.ddpm.control.bank import Shape, edges_around, place_shape
from models.diffusion.ddpm.repaint.crop import Crop, crop_around_box, cut, cut_mask
from models.diffusion.ddpm.repaint.settings import Condition, MaskKind


@dataclass(frozen=True, eq=False)
class Part:
    """A new object's place in a scene.

    Args:
        crop: the square that the network sees.
        box: of the object, x, y, width, height in px of the square.
        paint: what is painted, bool of the square's size.
        mask: of the object, bool of the square's size; None: it is not known before.
        shape: what the object follows; None: nothing.
    """

    crop: Crop
    box: Box
    paint: Bools
    mask: Bools | None
    shape: Shape | None

    def picture(
        self, scene: Pixels, size: int, condition: Condition, rng: np.random.Generator
    ) -> Pixels | None:
        """What the network's image follows, uint8 size x size x 1; None: nothing.

        Args:
            scene: uint8 HxWx3, as it is before the object is painted.
            size: side of the network's images, px.
            condition: what the network was fitted with.
            rng: draws the thresholds of edges.
        """
        if self.shape is None or condition == "none":
            return None
        factor = size / self.crop.side
        box = (*(side * factor for side in self.box),)
        image, mask = place_shape(self.shape, (box[0], box[1], box[2], box[3]), size)
        if condition == "masks":
            assert mask is not None
            return np.where(mask, 255, 0).astype(np.uint8)[..., None]
        whole = Crop(0, 0, self.crop.side)
        return edges_around(
            cut(scene, self.crop, size), image, cut_mask(self.paint, whole, size), rng
        )


def find_part(
    box: PixelBox,
    frame: tuple[int, int],
    occupied: Sequence[Box],
    shape: Shape | None,
    *,
    size: int,
    context: float,
    kind: MaskKind,
    margin: float,
) -> Part:
    """The part of a scene for an object in a box.

    Args:
        box: where the object is placed, px.
        frame: width and height of the scene, px.
        occupied: boxes of other objects, of which no px is painted.
        shape: what the object follows; None: nothing.
        size, context: of the square, see `crop_around_box`.
        kind: what is painted; "tight" needs a shape with a mask.
        margin: px around the object that are painted too, share of its longer side.

    Raises:
        ValueError: the box is longer than the scene's shorter side, or "tight" has no mask.
    """
    crop = crop_around_box(box, frame, size, context)
    inner: Box = (box[0] - crop.left, box[1] - crop.top, box[2], box[3])
    mask = None if shape is None else place_shape(shape, inner, crop.side)[1]
    reach = math.ceil(margin * max(box[2:]))
    if kind == "tight":
        if mask is None or not mask.any():
            raise ValueError(
                "repaint.mask: tight needs squares with masks; give masks, set segment, or set "
                "mask: square"
            )
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        paint = np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)
    else:
        paint = _filled(inner, reach, crop.side)
    for x, y, width, height in occupied:
        paint &= ~_filled((x - crop.left, y - crop.top, width, height), 0, crop.side)
    return Part(crop, inner, paint, mask, shape)


def paint_order(crops: Sequence[Crop]) -> list[list[int]]:
    """The indices of parts in rounds: squares of a round don't overlap.

    Squares that overlap are in the order in which they come, so that a later one shows what was
    painted in an earlier one.
    """
    rounds: list[list[int]] = []
    round_of: dict[int, int] = {}
    for index, crop in enumerate(crops):
        before = [round_of[other] for other in range(index) if _overlap(crop, crops[other])]
        round_of[index] = max(before, default=-1) + 1
        if round_of[index] == len(rounds):
            rounds.append([])
        rounds[round_of[index]].append(index)
    return rounds


def _filled(box: Box, reach: int, side: int) -> Bools:
    """True in a box with ``reach`` px around it, cut at the square's border."""
    x, y, width, height = box
    filled = np.zeros((side, side), np.bool_)
    top, left = max(0, math.floor(y) - reach), max(0, math.floor(x) - reach)
    bottom, right = math.ceil(y + height) + reach, math.ceil(x + width) + reach
    filled[top : max(0, bottom), left : max(0, right)] = True
    return filled


def _overlap(first: Crop, second: Crop) -> bool:
    return (
        abs(2 * (first.left - second.left) + first.side - second.side) < first.side + second.side
        and abs(2 * (first.top - second.top) + first.side - second.side) < first.side + second.side
    )

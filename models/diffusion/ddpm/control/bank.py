"""Shapes that new objects follow: real squares of the class, their masks and their edges."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.pixels import Bools, Pixels
from models.data.records import Box
from models.diffusion.ddpm.fit.crops import random_edges

# Share of the shapes that is drawn from: those whose proportions are nearest to those of the box.
SIMILAR_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Shape:
    """A real square of a class.

    ``image`` is uint8 SxSx3, ``box`` that of its object in px of the square, ``mask`` its mask,
    bool SxS; None: it is not known. ``name`` is its photo's.
    """

    image: Pixels
    box: Box
    mask: Bools | None = None
    name: str = ""

    def mirrored(self) -> "Shape":
        """Its mirror image."""
        x, y, width, height = self.box
        box = (self.image.shape[1] - x - width, y, width, height)
        mask = None if self.mask is None else np.ascontiguousarray(self.mask[:, ::-1])
        return Shape(np.ascontiguousarray(self.image[:, ::-1]), box, mask, self.name)

    def tight_box(self) -> Box:
        """The box of its mask if that is known, else its box."""
        found = None if self.mask is None else box_of_mask(self.mask)
        return self.box if found is None else found


def draw_shape(
    shapes: Sequence[Shape], size: tuple[float, float], flips: bool, rng: np.random.Generator
) -> Shape:
    """A random one of the shapes whose proportions are most like those of a box.

    Args:
        shapes: one or more.
        size: width and height of the box.
        flips: half of all draws are mirrored.
        rng: decides.
    """
    wanted = math.log(size[0] / size[1])

    def difference(shape: Shape) -> float:
        _, _, width, height = shape.tight_box()
        return abs(math.log(width / height) - wanted)

    similar = sorted(shapes, key=difference)[: math.ceil(SIMILAR_SHARE * len(shapes))]
    shape = similar[int(rng.integers(len(similar)))]
    return shape.mirrored() if flips and rng.integers(2) else shape


def place_shape(shape: Shape, box: Box, side: int) -> tuple[Pixels, Bools | None]:
    """The square and its mask, moved and stretched so that the object fills a box.

    Args:
        shape: see `Shape`.
        box: where the object is in the result, px.
        side: of the result, px.

    Returns:
        uint8 side x side x 3, its edge repeated outward, and the mask, bool side x side.
    """
    x, y, width, height = shape.tight_box()
    left, top, new_width, new_height = box
    scale_x, scale_y = new_width / width, new_height / height
    # Px are squares: their middles are at halves.
    matrix = np.array(
        [
            [scale_x, 0, left + scale_x * (0.5 - x) - 0.5],
            [0, scale_y, top + scale_y * (0.5 - y) - 0.5],
        ]
    )
    size = (side, side)
    image = cv2.warpAffine(shape.image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    mask = None
    if shape.mask is not None:
        levels = shape.mask.astype(np.uint8) * 255
        mask = np.asarray(cv2.warpAffine(levels, matrix, size) >= 128)
    return np.asarray(image, np.uint8), mask


def edges_around(scene: Pixels, shape: Pixels, part: Bools, rng: np.random.Generator) -> Pixels:
    """Edges of a shape within a part of a scene, and of the scene around it, uint8 SxSx1.

    Both have the same random thresholds, as the edges of a whole square have in the training.

    Args:
        scene, shape: uint8 SxSx3.
        part: bool SxS.
        rng: draws the thresholds.
    """
    seed = int(rng.integers(2**32))
    outside, inside = (random_edges(image, np.random.default_rng(seed)) for image in (scene, shape))
    return np.where(part[..., None], inside, outside)

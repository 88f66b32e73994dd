"""The part of a scene that new objects must lie in."""

from collections.abc import Sequence

import cv2
import numpy as np

from models.data.formats.polygons import polygons_to_mask
from models.data.pixels import Bools, Pixels
from models.placement.settings import Polygon


def region_of(
    polygons: Sequence[Polygon], mask: Pixels | None, width: int, height: int
) -> Bools | None:
    """The region of a scene, bool HxW; None for the whole frame.

    Args:
        polygons: shares of width and height; none: the whole frame. A px is in the region if it is
            in one of them.
        mask: uint8 of any size and of the scene's proportions, 128 and more inside; None: the
            whole frame. With polygons too, a px must be inside of both.
        width, height: the scene's sides, px.
    """
    region: Bools | None = None
    if polygons:
        sides = [
            [
                value * side
                for point in polygon
                for value, side in zip(point, (width, height), strict=True)
            ]
            for polygon in polygons
        ]
        region = polygons_to_mask(sides, height, width)
    if mask is None:
        return region
    # Not interpolated: a px is inside where the mask says so.
    sized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) >= 128
    return sized if region is None else np.logical_and(region, sized)

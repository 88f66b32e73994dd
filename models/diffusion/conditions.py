"""Pictures that a ControlNet follows: edges of a photo, and colour maps of its objects.

Sources: Canny, "A Computational Approach to Edge Detection", PAMI 1986; Zhang et al., "Adding
Conditional Control to Text-to-Image Diffusion Models", ICCV 2023, whose segmentation network was
trained with the colours of ADE20K (Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017).
"""

from collections.abc import Sequence

import cv2
import numpy as np

from models.data.pixels import Pixels
from models.data.trimaps import BORDER, OBJECT

Colour = tuple[int, int, int]


def edge_map(image: Pixels, low: float, high: float) -> Pixels:
    """White edges on black, uint8 HxWx3.

    Args:
        image: uint8 HxWx3 RGB.
        low, high: thresholds of Canny's gradient, 0..1443: edges above ``high`` are kept, and those
            above ``low`` that touch them.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return np.repeat(np.asarray(cv2.Canny(grey, low, high), np.uint8)[..., None], 3, axis=2)


def colour_map(
    trimaps: Sequence[Pixels], object_colour: Colour, border_colour: Colour, background: Colour
) -> Pixels:
    """Objects in one colour, their borders in another, on a background, uint8 HxWx3 RGB.

    Args:
        trimaps: uint8 HxW of one size, of levels 0, 128 and 255; the last one lies on top.
    """
    painted = np.full((*trimaps[0].shape, 3), background, np.uint8)
    for trimap in trimaps:
        painted[trimap == BORDER] = border_colour
        painted[trimap == OBJECT] = object_colour
    return painted

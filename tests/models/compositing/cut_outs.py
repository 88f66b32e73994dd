"""Cut-outs for tests: discs with a soft edge and a colour of their own."""

import numpy as np

from models.data.pixels import Pixels


def draw_disc(side: int, colour: tuple[int, int, int]) -> Pixels:
    """A disc that fills a square image; uint8 HxWx4, RGB + alpha with an edge of about 2 px."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip((side / 2 - np.hypot(x, y)) * 127, 0, 255)
    image = np.zeros((side, side, 4), np.uint8)
    image[..., :3] = colour
    image[..., 3] = alpha
    return image

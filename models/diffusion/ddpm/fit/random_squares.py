"""Random squares of whole photos, which a small network is trained on before it learns a class."""

import numpy as np

from models.data.pixels import Pixels, rgb
from models.diffusion.ddpm.repaint.crop import Crop, cut


def random_squares(
    image: Pixels, size: int, count: int, largest_share: float, rng: np.random.Generator
) -> list[Pixels]:
    """Squares of random places and sides, resized, uint8 size x size x 3.

    Small sides are as likely as large ones, on a logarithmic scale.

    Args:
        image: uint8 HxWx3 or HxWx4.
        size: side of the results, px; no square is smaller where the image allows that.
        count: of squares.
        largest_share: side of a square at most, share of the image's shorter side.
        rng: draws them.
    """
    plain, (height, width) = rgb(image), image.shape[:2]
    shorter = min(height, width)
    least = min(size, shorter)
    largest = max(least, round(largest_share * shorter))
    squares = []
    for _ in range(count):
        side = round(float(np.exp(rng.uniform(np.log(least), np.log(largest)))))
        left, top = (int(rng.integers(space - side + 1)) for space in (width, height))
        squares.append(cut(plain, Crop(left, top, side), size))
    return squares

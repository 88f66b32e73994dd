"""Template captions: the class, and the colour that most of the object has."""

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Pixels, carried_matte, rgb

# sRGB of the eleven basic colour terms (Berlin and Kay 1969), in mid and in dark or light variants.
_COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((25, 25, 25), (48, 46, 46)),
    "grey": ((128, 128, 128), (92, 92, 94), (165, 165, 166)),
    "white": ((245, 245, 243), (215, 214, 210)),
    "red": ((195, 35, 40), (125, 25, 32)),
    "orange": ((238, 128, 35),),
    "yellow": ((240, 210, 50), (225, 200, 120)),
    "green": ((60, 150, 70), (35, 75, 45), (120, 130, 60)),
    "blue": ((45, 90, 190), (30, 42, 82), (125, 170, 215)),
    "purple": ((115, 55, 150), (70, 40, 85)),
    "pink": ((235, 145, 170), (220, 80, 130)),
    "brown": ((120, 75, 45), (75, 50, 38), (170, 130, 95)),
}


def name_colour(image: Pixels) -> str:
    """The basic colour term that most of the object's pixels are nearest to, in CIE Lab.

    Args:
        image: HxWx4 RGB + matte, or HxWx3 RGB, in which the middle stands for the object.
    """
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA).astype(np.uint8)
    alpha = carried_matte(small)
    weights = _centre_weights(48) if alpha is None else alpha
    lab = _lab(rgb(small).reshape(-1, 3))
    names = [name for name, variants in _COLOURS.items() for _ in variants]
    palette = _lab(np.array([one for variants in _COLOURS.values() for one in variants], np.uint8))
    nearest = np.linalg.norm(lab[:, None] - palette[None], axis=2).argmin(axis=1)
    votes: dict[str, float] = dict.fromkeys(_COLOURS, 0.0)
    for place, weight in zip(nearest, weights.reshape(-1), strict=True):
        votes[names[place]] += float(weight)
    return max(votes, key=lambda name: votes[name])


def write_caption(label: str, image: Pixels, template: str) -> str:
    """``template`` with ``{label}``, ``{colour}`` and ``{a}`` (the article, if any) filled in.

    Example:
        >>> write_caption("red-shoes", np.full((8, 8, 3), 20, np.uint8), "a photo of {a}{colour}
        {label}") 'a photo of black red shoes'
    """
    words = label.replace("_", " ").replace("-", " ")
    colour = name_colour(image)
    following = colour if "{a}{colour}" in template else words
    article = "an " if following[0].lower() in "aeiou" else "a "
    plural = words.endswith("s") and not words.endswith("ss")
    filled = {"{label}": words, "{colour}": colour, "{a}": "" if plural else article}
    for field, value in filled.items():
        template = template.replace(field, value)
    return template


def _lab(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    unit = colours.reshape(1, -1, 3).astype(np.float32) / 255.0
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2Lab), np.float32).reshape(-1, 3)


def _centre_weights(side: int) -> npt.NDArray[np.float32]:
    line = np.exp(-(np.linspace(-2, 2, side) ** 2))
    return np.outer(line, line).astype(np.float32)

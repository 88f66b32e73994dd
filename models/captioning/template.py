"""Captions from a template: the class and the colour of most of the object.

The rules for class names, articles and plurals are here too.
"""

import re
from collections.abc import Mapping

import cv2
import numpy as np

from models.data.pixels import Floats, Pixels, carried_matte, rgb

# sRGB of the eleven basic colour terms (Berlin and Kay 1969), in medium, dark and light variants.
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


def write_caption(label: str, image: Pixels, template: str) -> str:
    """Return ``template`` with ``{label}``, ``{colour}`` and ``{a}`` (the article) filled in.

    Args:
        label: the class, with ``-`` or ``_`` between its words.
        image: see `name_colour`.
        template: the sentence.

    Example:
        >>> black = np.full((8, 8, 3), 20, np.uint8)
        >>> write_caption("red-shoes", black, "a photo of {a}{colour} {label}")
        'a photo of black red shoes'
        >>> write_caption("bus", black, "a photo of {a}{colour} {label}")
        'a photo of a black bus'
    """
    name, colour = class_words(label), name_colour(image)
    next_word = colour if "{a}{colour}" in template else name
    words = {"{a}": article(next_word, noun=name), "{label}": name, "{colour}": colour}
    return _fill(template, words)


def class_words(label: str) -> str:
    """Return the class as words: ``red-shoes`` becomes "red shoes"; ``-`` stays as it is."""
    words = " ".join(re.split(r"[-_\s]+", label)).strip()
    return words or label


def with_class(template: str, name: str) -> str:
    """Return ``template`` with ``{label}``, the class, and ``{a}``, its article, filled in."""
    return _fill(template, {"{a}": article(name, noun=name), "{label}": name})


def _fill(template: str, words: Mapping[str, str]) -> str:
    """The template with each placeholder replaced once: a class may be called ``{colour}``."""
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], template)


def with_article(name: str) -> str:
    """Return "a mug", "an apple", "shoes": a plural has no article."""
    return article(name, noun=name) + name


def article(next_word: str, noun: str = "") -> str:
    """Return the article and a space, or nothing if ``noun`` is a plural.

    Args:
        next_word: decides between "a" and "an" by its first letter.
        noun: a plural ends in "s", but not in "ss", "us" or "is" (glass, bus, iris).
    """
    if noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
        return ""
    return "an " if next_word[:1].lower() in set("aeiou") else "a "


def name_colour(image: Pixels) -> str:
    """Return the basic colour term to which most of the object's pixels are nearest in CIE Lab.

    Args:
        image: HxWx4 RGBA, or HxWx3 RGB, of which the middle stands for the object.
    """
    small = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA).astype(np.uint8)
    alpha = carried_matte(small)
    weights = _centre_weights(48) if alpha is None else alpha
    pixels = _lab(rgb(small).reshape(-1, 3))
    names = [name for name, variants in _COLOURS.items() for _ in variants]
    colours = [colour for variants in _COLOURS.values() for colour in variants]
    palette = _lab(np.array(colours, np.uint8))
    nearest = np.linalg.norm(pixels[:, None] - palette[None], axis=2).argmin(axis=1)
    votes: dict[str, float] = dict.fromkeys(_COLOURS, 0.0)
    for index, weight in zip(nearest, weights.reshape(-1), strict=True):
        votes[names[index]] += float(weight)
    return max(votes, key=lambda name: votes[name])


def _lab(colours: Pixels) -> Floats:
    unit = colours.reshape(1, -1, 3).astype(np.float32) / 255.0
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2Lab), np.float32).reshape(-1, 3)


def _centre_weights(side: int) -> Floats:
    line = np.exp(-(np.linspace(-2, 2, side) ** 2))
    return np.outer(line, line).astype(np.float32)

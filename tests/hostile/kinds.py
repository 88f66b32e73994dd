"""What a generated input is, and what a run has to say of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

Outcome = Literal["taken", "noted", "refused", "prompt"]
SIZE = (96, 72)


@dataclass(frozen=True)
class Wanted:
    """What must happen to a file.

    ``outcome``: taken without a note, taken with a note, refused with a reason, or used as the
    prompt of a photo. ``says`` is a regular expression that the note or the reason matches.
    ``size`` is the width and height of the photo that is taken, in px.
    """

    outcome: Outcome
    says: str = ""
    size: tuple[int, int] | None = None


TAKEN = Wanted("taken")


def noted(says: str, size: tuple[int, int] | None = None) -> Wanted:
    """The photo is taken, and a note says this."""
    return Wanted("noted", says, size)


def refused(says: str) -> Wanted:
    """The file is refused, and the reason says this."""
    return Wanted("refused", says)


@dataclass(frozen=True)
class Input:
    """One file that was written, and what must happen to it."""

    file: Path
    wanted: Wanted


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    ``write`` writes the files of one input below a class folder. Its path has no suffix yet, and no
    other input uses its name. Its last argument is the number of a case, below ``n_cases``.
    """

    write: Callable[[Path, np.random.Generator, int], list[Input]]
    n_cases: int = 1


def draw_picture(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> Image.Image:
    """An RGB picture that no other seed gives: a shape on a smooth ground."""
    coarse = rng.integers(90, 200, (6, 8, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    draw.ellipse(_box(rng, size), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return image


def draw_mask(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> Image.Image:
    """A grey picture of an object: 255 in a shape and 0 outside of it."""
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse(_box(rng, size), fill=255)
    return mask


def _box(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    left, top = int(rng.integers(2, width // 3)), int(rng.integers(2, height // 3))
    return left, top, left + width // 2, top + height // 2

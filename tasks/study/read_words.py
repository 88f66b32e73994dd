"""Words of a grid: numbers of photos, shares and counts of images, as people write them."""

import math
import re
from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import Field

Number = Annotated[int, Field(strict=True)] | str
T = TypeVar("T")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def read_list(option: str, text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """The entries of a list that is separated by commas.

    Raises:
        ValueError: an entry can't be read, or is named twice.
    """
    words = [word.strip() for word in text.split(",")]
    doubled = next((word for word in words if words.count(word) > 1), None)
    if doubled is not None:
        raise ValueError(f"{option}: {doubled!r} is named twice; name it once")
    try:
        return tuple(map(read, words))
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def read_number(word: str) -> Number:
    """A number of photos: a whole number, a share such as ``5%``, or ``all``.

    Raises:
        ValueError: the word is none of these.
    """
    found = _PERCENT.fullmatch(word)
    if found:
        share = float(found[1])
        if not 0 <= share <= 100:
            raise ValueError(f"{word} of the photos is out of range; give 0% to 100%")
        return f"{share:g}%"
    if word == "all":
        return word
    if not word.isdecimal() or int(word) < 1:
        raise ValueError(
            f"{word!r} is no number of photos; give whole numbers from 1, shares such as 5%, or "
            "all, such as 5,10,all"
        )
    return int(word)


def read_share(word: str) -> float:
    """Generated images per photo, 0 or more.

    Raises:
        ValueError: the word is no such number.
    """
    try:
        share = float(word)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise ValueError(
            f"{word!r} is no number of images per photo; give numbers from 0, such as 0,0.5,2"
        )
    return share


def read_count(word: str) -> int:
    """A whole number of images, 1 or more.

    Raises:
        ValueError: the word is no such number.
    """
    if not word.isdecimal() or int(word) < 1:
        raise ValueError(f"{word!r} is no number of images; give whole numbers from 1")
    return int(word)

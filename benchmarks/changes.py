"""The changes that the benchmark planted_leaks applies to copies of photos."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from models.data.pixels import Pixels, decode, encode_jpeg

Change = Callable[[Pixels], Pixels]


def list_changes() -> dict[str, Change]:
    """Return the changes by name; photos are uint8 HxWx3 RGB."""
    changes: dict[str, Change] = {
        "JPEG, quality 30": lambda photo: decode(encode_jpeg(photo, 30)),
        "half size": lambda photo: _scale(photo, 0.5, 0.5),
        "quarter size": lambda photo: _scale(photo, 0.25, 0.25),
        "squeezed to 80 %": lambda photo: _scale(photo, 1.0, 0.8),
        "grey": _grey,
        "mirrored": _mirror,
        "lighter by 40 %": partial(_lighten, factor=1.4),
        "darker by 40 %": partial(_lighten, factor=0.6),
        "gamma 2": lambda photo: (255 * (photo / 255.0) ** 2).astype(np.uint8),
        "text band": _write_band,
    }
    for percent in (2, 5, 10, 20, 30, 40):
        changes[f"centre crop {percent} %"] = partial(_crop, percent=percent, position=0.5)
    for percent in (5, 10, 20, 40):
        changes[f"corner crop {percent} %"] = partial(_crop, percent=percent, position=0.0)
    for quarters in (1, 2, 3):
        changes[f"turned by {90 * quarters}"] = partial(np.rot90, k=quarters)
    for degrees in (2, 5, 10):
        changes[f"turned by {degrees}"] = partial(_turn, degrees=degrees)
    for percent in (2, 5, 10, 20):
        changes[f"border {percent} %"] = partial(
            _frame, percent_down=percent, percent_across=percent, grey=255
        )
    for percent in (10, 25):
        changes[f"screenshot bars {percent} %"] = partial(
            _frame, percent_down=percent, percent_across=0, grey=0
        )
    changes["mirrored, crop 20 %"] = lambda photo: _crop(_mirror(photo), 20, 0.5)
    changes["mirrored, turned, crop 20 %"] = lambda photo: _crop(np.rot90(_mirror(photo)), 20, 0.5)
    return changes


def _mirror(photo: Pixels) -> Pixels:
    return photo[:, ::-1]


def _grey(photo: Pixels) -> Pixels:
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def _lighten(photo: Pixels, factor: float) -> Pixels:
    return np.asarray(cv2.convertScaleAbs(photo, alpha=factor), np.uint8)


def _scale(photo: Pixels, across: float, down: float) -> Pixels:
    scaled = cv2.resize(photo, None, fx=across, fy=down, interpolation=cv2.INTER_AREA)
    return np.asarray(scaled, np.uint8)


def _crop(photo: Pixels, percent: int, position: float) -> Pixels:
    """Shorten both sides by a share; position 0.5 keeps the centre, 0 the upper left corner."""
    height, width = (round(side * (1 - percent / 100)) for side in photo.shape[:2])
    top = round((photo.shape[0] - height) * position)
    left = round((photo.shape[1] - width) * position)
    return photo[top : top + height, left : left + width]


def _turn(photo: Pixels, degrees: float) -> Pixels:
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(photo, matrix, (width, height), borderValue=(255, 255, 255))
    return np.asarray(turned, np.uint8)


def _frame(photo: Pixels, percent_down: int, percent_across: int, grey: int) -> Pixels:
    down = round(photo.shape[0] * percent_down / 100)
    across = round(photo.shape[1] * percent_across / 100)
    sides = ((down, down), (across, across), (0, 0))
    return np.pad(photo, sides, constant_values=grey)


def _write_band(photo: Pixels) -> Pixels:
    """Cover the lower 15 % with a white band and text."""
    height, width = photo.shape[:2]
    changed = photo.copy()
    changed[round(height * 0.85) :] = 255
    place, size = (5, round(height * 0.96)), width / 250
    cv2.putText(changed, "SALE -50 %", place, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 2)
    return changed

"""Pixel values of more than 8 bits as 8-bit values, by a range that is known, set or measured."""

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.data.photo_colours import PhotoRejectedError
from models.data.pixels import Pixels

ValueRange = Literal["auto", "full"] | tuple[float, float]

# A photo whose values span less than this share of their range has fewer than 16 grey levels.
_NARROW = 1 / 16
# Values beyond these shares of the pixels are outliers, such as the dead pixels of a sensor.
_LOW, _HIGH = 0.001, 0.999


def scale_values(
    values: npt.NDArray[Any], wanted: ValueRange, *, is_inverted: bool = False
) -> tuple[Pixels, str]:
    """The values as uint8 of the same shape, and a note on the range.

    Args:
        values: integers or floats, HxW or HxWxC.
        wanted: "full": 8, 12 or 16 bits, or floats in 0..1; "auto": the same, but a photo that
            spans less than a sixteenth of it is stretched; low and high: these become 0 and 255.
        is_inverted: the lowest value is white.

    Raises:
        PhotoRejectedError: the values are not finite, or have no known range.
    """
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):
        raise PhotoRejectedError("the pixels hold NaN or infinity; save it with 8 or 16 bits")
    if wanted in ("auto", "full"):
        start, end, note = _known_range(values.dtype.kind == "f", low, high)
        if wanted == "auto":
            start, end, note = _stretched(values, start, end) or (start, end, note)
    else:
        start, end = (float(limit) for limit in wanted)
        note = f"values {start:g} to {end:g} scaled (ingest.value_range)"
        if low < start or high > end:
            note += f"; those from {low:g} to {high:g} are clipped"
    shares = (values.astype(np.float32) - start) * (255.0 / (end - start))
    scaled = np.clip(np.rint(shares), 0, 255).astype(np.uint8)
    return (255 - scaled if is_inverted else scaled), note


def _known_range(is_float: bool, low: float, high: float) -> tuple[float, float, str]:
    if is_float and low >= 0.0 and high <= 1.0:
        return 0.0, 1.0, "float values scaled"
    if is_float or low < 0 or high > 65535:
        raise PhotoRejectedError(
            f"pixel values from {low:g} to {high:g} have no known range; set ingest.value_range to"
            " [low, high], or save it with 8 or 16 bits"
        )
    # Scanners and cameras put 8 or 12 bits into the low end of 16; scaled by 65535 such a photo
    # would be black, and no usable photo keeps below a sixteenth of its range.
    bits = 8 if high <= 255 else 12 if high <= 4095 else 16
    return 0.0, 2.0**bits - 1, f"{bits}-bit scaled"


def _stretched(
    values: npt.NDArray[Any], start: float, end: float
) -> tuple[float, float, str] | None:
    """The range of nearly all values if it is narrow, and a note; None if it is not."""
    low, high = (float(limit) for limit in np.quantile(values, [_LOW, _HIGH], method="nearest"))
    if low == high or high - low >= _NARROW * (end - start):
        return None
    levels = round(255 * (high - low) / (end - start)) + 1
    note = (
        f"values {low:g} to {high:g} fill {levels} of 256 grey levels; stretched to all"
        " (ingest.value_range)"
    )
    return low, high, note

"""The fourth channel of a photo: the mask of a cut-out object, or a band that is not used."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.data.pixels import Pixels

AlphaUse = Literal["mask", "ignore"]

GREY, WHITE = 127, 255
_LIKE_GREY = 24
# A mask is nearly transparent or nearly opaque in at least half of its pixels.
_CLEAR, _SOLID, _DECIDED = 16, 239, 0.5
# Shares of the image that an object fills: a speck is no object, and a whole photo is no cut-out.
_LEAST, _MOST = 0.002, 0.98


@dataclass(frozen=True)
class AlphaVerdict:
    """Whether an alpha channel is a mask; the note says what becomes of it, if there is news."""

    is_mask: bool
    note: str | None


def judge_alpha(alpha: Pixels, use: AlphaUse) -> AlphaVerdict:
    """Whether an alpha channel (uint8 HxW) can be the mask of one object.

    Args:
        use: "mask": it is one if its values allow it; "ignore": it never is.
    """
    if int(alpha.min()) == 255:
        return AlphaVerdict(False, None)
    if use == "ignore":
        return AlphaVerdict(False, "alpha not used (ingest.alpha)")
    share = float((alpha >= 128).mean())
    decided = float(((alpha <= _CLEAR) | (alpha >= _SOLID)).mean())
    if share == 0:
        problem = "holds no object"
    elif decided < _DECIDED:
        problem = "holds a band of many values"
    elif not _LEAST <= share <= _MOST:
        problem = f"covers {share:.1%} of the photo"
    else:
        return AlphaVerdict(True, None)
    return AlphaVerdict(False, f"alpha not used, it {problem} and is no mask")


def paste_on_backdrop(colours: Pixels, alpha: Pixels) -> tuple[Pixels, int]:
    """The object (uint8 HxWx3) on mid grey, and that grey; on white if the object is mid grey.

    The colour under transparent pixels is often arbitrary, and is not used.
    """
    is_grey = (np.abs(colours[alpha >= 128].astype(np.int16) - GREY) < _LIKE_GREY).all(axis=1)
    backdrop = WHITE if is_grey.mean() > 0.5 else GREY
    weight = alpha[..., None].astype(np.uint16)  # 255 * 255 + 127 still fits
    mixed = colours.astype(np.uint16) * weight + np.uint16(backdrop) * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8), backdrop

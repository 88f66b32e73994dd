"""From decoded pixels to a photo: its mask, its colours in sRGB, its size, and upright."""

import math

import numpy as np
from PIL import Image

from models.data.photo_colours import PhotoRejectedError, to_srgb
from models.data.photo_file.alpha import AlphaUse, judge_alpha, paste_on_backdrop
from models.data.photo_file.decode import Decoded
from models.data.photo_file.orientation import turn_upright
from models.data.pixels import Pixels


def finish_photo(
    decoded: Decoded,
    orientation: int,
    profile: bytes | None,
    max_side: int,
    use: AlphaUse,
    notes: list[str],
) -> tuple[Pixels, Pixels | None]:
    """The upright photo in sRGB, uint8 HxWx3, and its object's mask, uint8 HxW, if it has one.

    Args:
        profile: the bytes of an ICC profile.
        max_side: a photo whose longer side is larger is scaled down to it, px.
        use: whether an alpha channel may be a mask.
        notes: receives what was converted and what is not used.

    Raises:
        PhotoRejectedError: the photo is transparent and has one colour.
    """
    colours, mask = decoded.colours, _read_mask(decoded, use, notes)
    if mask is not None:
        in_srgb = np.asarray(to_srgb(colours, profile, notes))
        pasted, backdrop = paste_on_backdrop(in_srgb, np.asarray(mask))
        notes.append(f"alpha used as the object's mask, shown on grey {backdrop}")
        colours, profile = Image.fromarray(pasted), None
    if max(colours.size) > max_side:
        # Colours and mask apart: Pillow would multiply colours by alpha.
        colours, mask = _scale_down(colours, max_side), mask and _scale_down(mask, max_side)
    colours = to_srgb(colours, profile, notes)
    if not decoded.is_turned:
        colours = turn_upright(colours, orientation)
        mask = mask and turn_upright(mask, orientation)
    return _as_pixels(colours), None if mask is None else _as_pixels(mask)


def fitted_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Width and height at which the longer side is ``max_side`` px at most."""
    scale = min(1.0, max_side / max(size))
    return max(1, math.floor(size[0] * scale + 0.5)), max(1, math.floor(size[1] * scale + 0.5))


def _read_mask(decoded: Decoded, use: AlphaUse, notes: list[str]) -> Image.Image | None:
    if decoded.alpha is None:
        return None
    if not decoded.alpha.any() and _is_uniform(decoded.colours):
        raise PhotoRejectedError("every pixel is transparent")
    verdict = judge_alpha(decoded.alpha, use)
    if verdict.note is not None:
        notes.append(verdict.note)
    return Image.fromarray(decoded.alpha) if verdict.is_mask else None


def _is_uniform(image: Image.Image) -> bool:
    return all(low == high for low, high in np.reshape(image.getextrema(), (-1, 2)))


def _scale_down(image: Image.Image, max_side: int) -> Image.Image:
    size = fitted_size(image.size, max_side)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _as_pixels(image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image, np.uint8))

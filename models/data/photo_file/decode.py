"""The pixels of an opened image file as 8-bit colours and alpha, whatever depth it has."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from models.data.photo_colours import to_plain_mode
from models.data.photo_file.tiff_bands import name_unused_bands, read_bands, to_alpha
from models.data.photo_file.value_range import ValueRange, scale_values
from models.data.pixels import Pixels

_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA = 258, 262, 277, 284, 338
_WHITE_IS_ZERO, _SEPARATE_PLANES, _PREMULTIPLIED = 0, 2, 1


@dataclass(frozen=True, eq=False)
class Decoded:
    """Colours (a Pillow image of mode L, RGB or CMYK) and alpha (uint8 HxW) as far as there is one.

    ``is_turned``: the decoder has applied the orientation.
    """

    colours: Image.Image
    alpha: Pixels | None
    is_turned: bool


def decode_pixels(
    image: Image.Image, blob: bytes, value_range: ValueRange, notes: list[str]
) -> Decoded:
    """Decode an image file at its current page.

    Args:
        image: opened and not loaded.
        blob: the bytes of the file.
        value_range: how values of more than 8 bits are scaled.
        notes: receives what was scaled and what is not used.

    Raises:
        PhotoRejectedError: the colour mode or the range of the values is unknown.
        Exception: whatever a decoder raises on a damaged file.
    """
    is_tiff, page = image.format == "TIFF", image.tell()
    is_deep = ";16" in str(getattr(image, "tile", ""))
    tags: Any = dict(getattr(image, "tag_v2", {}))
    samples = int(tags.get(_SAMPLES, 0))
    is_odd = max(tags.get(_BITS, (8,))) > 8 or samples > len(image.getbands())
    if is_odd and tags.get(_PLANAR) == _SEPARATE_PLANES:
        bands = read_bands(blob, image.width * image.height, page)
        notes += bands.notes
        return Decoded(_scale(bands.values, value_range, notes), bands.alpha, False)
    image.load()  # Pillow turns TIFFs here
    if image.mode == "F" or image.mode.startswith("I"):
        inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and image.mode.startswith("I;16")
        values, clear = np.asarray(image), image.info.get("transparency")
        alpha = np.where(values == clear, 0, 255).astype(np.uint8) if clear is not None else None
        return Decoded(_scale(values, value_range, notes, inverted), alpha, is_tiff)
    if samples > len(image.getbands()):
        notes.append(name_unused_bands(len(image.getbands()), samples))
    is_premultiplied = _PREMULTIPLIED in tags.get(_EXTRA, ())
    if is_deep and image.mode in ("LA", "RGB", "RGBA") and page == 0 and not is_premultiplied:
        deep = _decode_deep(blob)
        if deep is not None:
            alpha = to_alpha(deep[..., 3]) if deep.shape[2] == 4 else None
            return Decoded(_scale(deep[..., :3], value_range, notes), alpha, is_tiff)
    if is_deep:
        notes.append("16-bit scaled")  # Pillow keeps the high byte of 16-bit colour
    return _split(to_plain_mode(image), is_tiff)


def _scale(
    values: npt.NDArray[Any], value_range: ValueRange, notes: list[str], is_inverted: bool = False
) -> Image.Image:
    if values.dtype == np.uint8:
        return Image.fromarray(values)
    scaled, note = scale_values(values, value_range, is_inverted=is_inverted)
    notes.append(note)
    return Image.fromarray(scaled)


def _decode_deep(blob: bytes) -> npt.NDArray[np.uint16] | None:
    """The 16-bit RGB or RGBA values of the first page; None where OpenCV can't decode it.

    OpenCV turns a TIFF upright, and leaves other files as they are stored.
    """
    values = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return None
    codes = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    return np.asarray(cv2.cvtColor(values, codes[values.shape[2]]), np.uint16)


def _split(image: Image.Image, is_turned: bool) -> Decoded:
    if image.mode not in ("LA", "RGBA"):
        return Decoded(image, None, is_turned)
    alpha = np.asarray(image.getchannel("A"))
    colours = image.getchannel("L") if image.mode == "LA" else image.convert("RGB")
    return Decoded(colours, alpha, is_turned)

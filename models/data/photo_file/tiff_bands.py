"""TIFF pages that Pillow can't decode: other numbers of bands, or planes of more than 8 bits."""

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile

from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file.orientation import known_orientation
from models.data.pixels import Pixels

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PAGES = 1000
_MOST_BYTES_PER_PIXEL = 16
_ALPHA = {1, 2}  # associated and unassociated, of the tag ExtraSamples
_ORIENTATION = 274


@dataclass(frozen=True, eq=False)
class Bands:
    """``values`` of a page as stored, HxW or HxWx3; its EXIF ``orientation``; ``notes``.

    ``alpha``: uint8 HxW, where the file says that a band is alpha.
    """

    values: npt.NDArray[Any]
    alpha: Pixels | None
    orientation: int
    notes: tuple[str, ...]


def read_bands(blob: bytes, max_pixels: int, page: int | None = None) -> Bands:
    """The bands of a page that are used: the first three, or the first one of fewer.

    Args:
        max_pixels: most pixels that a page may have; a larger one is refused unread.
        page: its number; None: the largest one.

    Raises:
        PhotoRejectedError: the page is no grey or colour image, or is too large.
    """
    with tifffile.TiffFile(io.BytesIO(blob)) as document:
        chosen: Any = _largest_page(document) if page is None else document.pages[page]
        height, width = chosen.imagelength, chosen.imagewidth
        if width * height > max_pixels:
            raise PhotoRejectedError(
                f"{width}x{height} px is {width * height:,} pixels; at most {max_pixels:,} are read"
            )
        if chosen.nbytes > _MOST_BYTES_PER_PIXEL * max_pixels:
            raise PhotoRejectedError(
                f"{width}x{height} px of {chosen.samplesperpixel:,} bands are {chosen.nbytes:,}"
                " bytes; save the bands that show the photo"
            )
        values, planes_first = np.asarray(chosen.asarray()), chosen.axes.startswith("S")
        orientation, count = _orientation(chosen), len(document.pages)
        number, meanings = chosen.index + 1, tuple(chosen.extrasamples)
    if values.ndim == 3 and planes_first:
        values = np.moveaxis(values, 0, -1)
    if values.ndim not in (2, 3) or values.shape[:2] != (height, width):
        raise PhotoRejectedError(f"a TIFF page of shape {values.shape}; save it as grey or RGB")
    notes = [f"page {number} of {count}"] if count > 1 and page is None else []
    bands = values.shape[2] if values.ndim == 3 else 1
    used = 3 if bands >= 3 else 1
    alpha = to_alpha(values[..., used]) if bands > used and _ALPHA & set(meanings[:1]) else None
    named = used if alpha is None else used + 1
    if bands > named:
        notes.append(name_unused_bands(named, bands))
    kept = values[..., :3] if used == 3 else values.reshape(height, width, -1)[..., 0]
    return Bands(np.ascontiguousarray(kept), alpha, orientation, tuple(notes))


def to_alpha(values: npt.NDArray[Any]) -> Pixels:
    """Alpha of 8 or 16 bits, or in 0..1, as uint8."""
    most = {"u1": 255, "u2": 65535}.get(values.dtype.str[1:], 1)
    return np.rint(np.clip(values / most, 0, 1) * 255).astype(np.uint8)


def read_band_size(stream: BinaryIO) -> tuple[tuple[int, int], int]:
    """Width and height in px as stored, and the EXIF orientation, of the largest page."""
    with tifffile.TiffFile(stream) as document:
        page = _largest_page(document)
        return (page.imagewidth, page.imagelength), _orientation(page)


def name_unused_bands(used: int, bands: int) -> str:
    """The note on the bands after the first ``used`` ones."""
    if bands == used + 1:
        return f"band {bands} of {bands} is not used"
    return f"bands {used + 1} to {bands} of {bands} are not used"


def _largest_page(document: Any) -> Any:
    pages = (document.pages[number] for number in range(min(len(document.pages), _MOST_PAGES)))
    return max(pages, key=lambda page: page.imagelength * page.imagewidth)


def _orientation(page: Any) -> int:
    tag = page.tags.get(_ORIENTATION)
    return 1 if tag is None else known_orientation(tag.value)

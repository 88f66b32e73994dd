"""Read one photo file safely: upright sRGB pixels, or one reason for its rejection.

A folder of photos holds rotated JPEGs, CMYK prints, 16-bit scans, cut-outs, animations, and files
that are no image at all. A file that can be converted without guessing is converted; a note names
each conversion and whatever is not used. Any other file is rejected with a reason. The content
decides the type of a file, never its suffix, and metadata never decides whether pixels are sound.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file import jpeg_end, tiff_bands
from models.data.photo_file.alpha import AlphaUse
from models.data.photo_file.decode import Decoded, decode_pixels
from models.data.photo_file.finish import finish_photo, fitted_size
from models.data.photo_file.open_image import open_image, reject_errors
from models.data.photo_file.orientation import read_orientation, upright_size
from models.data.photo_file.pages import seek_photo
from models.data.photo_file.png_chunks import NO_END, SIGNATURE, clean_png
from models.data.photo_file.value_range import ValueRange, scale_values
from models.data.photo_file.webp_chunks import drop_cut_metadata
from models.data.pixels import Pixels

_MAX_ASPECT = 20.0


@dataclass(frozen=True)
class Photo:
    """A photo that was read.

    ``pixels`` are upright sRGB, uint8 HxWx3. ``alpha`` (uint8 HxW) is the mask of its object if the
    file has one; pixels show the object on grey then. ``file_size`` is the width and height of
    the upright photo in px before it was scaled down. ``notes`` list conversions and what of the
    file is not used.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()
    alpha: Pixels | None = None
    file_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Wanted:
    max_pixels: int
    max_side: int
    min_side: int
    value_range: ValueRange
    alpha: AlphaUse


def read_photo(
    blob: bytes,
    *,
    max_pixels: int = 100_000_000,
    max_side: int = 2048,
    min_side: int = 32,
    value_range: ValueRange = "auto",
    alpha: AlphaUse = "mask",
) -> Photo:
    """The photo in the bytes of a file, upright, in sRGB, its longer side at most ``max_side`` px.

    EXIF orientation and ICC profiles are applied; grey, CMYK, palette and 16-bit images become
    8-bit RGB; a document gives its largest page and an animation its first frame. The same bytes
    always give the same pixels.

    Args:
        max_pixels: most pixels that the header may announce; a larger file is refused unread.
        min_side: shortest side in pixels that the file may have.
        value_range: how values of more than 8 bits become 8-bit values, see `scale_values`.
        alpha: whether an alpha channel may be the mask of the object, see `judge_alpha`.

    Raises:
        PhotoRejectedError: the bytes are no complete, usable photo. No bytes raise another error.
    """
    if not blob:
        raise PhotoRejectedError("the file is empty (0 bytes)")
    wanted = _Wanted(max_pixels, max_side, min_side, value_range, alpha)
    with reject_errors():
        if not blob.startswith(jpeg_end.START) or not jpeg_end.lacks_end(blob):
            return _read(blob, wanted)
        photos = [_read(ended, wanted) for ended in jpeg_end.endings(blob)]
        if not all(np.array_equal(photo.pixels, photos[0].pixels) for photo in photos):
            raise PhotoRejectedError("the file is cut short; pixels are missing")
        return replace(photos[0], notes=(NO_END, *photos[0].notes))


def read_size(file: Path) -> tuple[int, int]:
    """The width and height of an upright photo in px, from the header of its file.

    Raises:
        PhotoRejectedError: the file has no header of a photo.
    """
    with reject_errors(), file.open("rb") as opened:
        start = opened.read(8)
        opened.seek(0)
        stream = io.BytesIO(clean_png(opened.read()).blob) if start == SIGNATURE else opened
        try:
            with open_image(stream) as image:
                seek_photo(image)
                size, orientation = image.size, read_orientation(image)
        except PhotoRejectedError:
            if not start.startswith(tiff_bands.STARTS):
                raise
            opened.seek(0)
            size, orientation = tiff_bands.read_band_size(opened)
        return upright_size(size, orientation)


def _read(blob: bytes, wanted: _Wanted) -> Photo:
    notes: list[str] = []
    profile = None
    if blob.startswith(SIGNATURE):
        clean = clean_png(blob)
        blob, profile = clean.blob, clean.profile
        notes += clean.notes
    try:
        image = open_image(io.BytesIO(drop_cut_metadata(blob)))
    except PhotoRejectedError:
        if not blob.startswith(tiff_bands.STARTS):
            raise
        return _read_bands(blob, wanted)
    with image:
        if page := seek_photo(image):
            notes.append(page)
        _check_size(image.size, wanted)
        orientation = read_orientation(image)
        profile = profile or image.info.get("icc_profile")
        # JPEG can be decoded at 1/2, 1/4 or 1/8: twice the wanted size is as sharp as a full one.
        fitted, size = fitted_size(image.size, wanted.max_side), image.size
        image.draft(None, (2 * fitted[0], 2 * fitted[1]))
        decoded = decode_pixels(image, blob, wanted.value_range, notes)
    return _finish(decoded, size, orientation, profile, wanted, notes)


def _finish(
    decoded: Decoded,
    size: tuple[int, int],
    orientation: int,
    profile: bytes | None,
    wanted: _Wanted,
    notes: list[str],
) -> Photo:
    if max(size) > wanted.max_side:
        notes.append(f"scaled down from {size[0]}x{size[1]}")
    if orientation != 1:
        notes.append(f"EXIF orientation {orientation} applied")
    pixels, alpha = finish_photo(
        decoded, orientation, profile, wanted.max_side, wanted.alpha, notes
    )
    return Photo(pixels, tuple(notes), alpha, upright_size(size, orientation))


def _read_bands(blob: bytes, wanted: _Wanted) -> Photo:
    """A TIFF whose bands Pillow does not know."""
    bands = tiff_bands.read_bands(blob, wanted.max_pixels)
    height, width = bands.values.shape[:2]
    _check_size((width, height), wanted)
    notes = list(bands.notes)
    values = bands.values
    if values.dtype != np.uint8:
        values, note = scale_values(values, wanted.value_range)
        notes.append(note)
    decoded = Decoded(Image.fromarray(values), bands.alpha, is_turned=False)
    return _finish(decoded, (width, height), bands.orientation, None, wanted, notes)


def _check_size(size: tuple[int, int], wanted: _Wanted) -> None:
    width, height = size
    if width * height > wanted.max_pixels:
        raise PhotoRejectedError(
            f"{width}x{height} px is {width * height:,} pixels; at most {wanted.max_pixels:,} are"
            " read"
        )
    if min(size) < wanted.min_side:
        raise PhotoRejectedError(
            f"{width}x{height} px is too small; each side needs {wanted.min_side} px"
        )
    if max(size) > _MAX_ASPECT * min(size):
        raise PhotoRejectedError(f"{width}x{height} px is narrower than {_MAX_ASPECT:.0f}:1")

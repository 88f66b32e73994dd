"""Read one photo file safely: upright sRGB pixels, or one reason for its rejection.

A folder of photos holds rotated JPEGs, CMYK prints, 16-bit scans, animations, and files that are
no image at all. A file that can be converted without guessing is converted, with a note. Any other
file is rejected with a reason. The content decides the type of a file, never its suffix.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from models.data.photo_colours import PhotoRejectedError, flatten, to_eight_bits, to_srgb
from models.data.pixels import Pixels

_READS_HEIF = importlib.util.find_spec("pillow_heif") is not None

# A hostile or renamed file must not reach Pillow's other readers. They start Ghostscript (EPS),
# render (WMF) or have no signature (TGA), and their types hold no photos.
_SUFFIXES_PER_FORMAT = {
    "JPEG": [".jpg", ".jpeg", ".jpe", ".jfif"],
    "MPO": [".mpo"],
    "PNG": [".png", ".apng"],
    "WEBP": [".webp"],
    "BMP": [".bmp"],
    "DIB": [".dib"],
    "GIF": [".gif"],
    "TIFF": [".tif", ".tiff"],
    "AVIF": [".avif"],
    "JPEG2000": [".jp2", ".j2k", ".jpx", ".jpf"],
    "PPM": [".ppm", ".pgm", ".pbm", ".pnm"],
    "QOI": [".qoi"],
    "HEIF": [".heic", ".heif"] if _READS_HEIF else [],
}
SUFFIXES = frozenset(suffix for listed in _SUFFIXES_PER_FORMAT.values() for suffix in listed)
_HEIF_BRANDS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypmif1", b"ftypmsf1")
_MAX_ASPECT = 20.0
_PIL_PER_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Photo:
    """A photo that was read.

    ``pixels`` are upright sRGB, uint8 HxWx3; ``notes`` list the conversions.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()


def read_photo(
    blob: bytes, *, max_pixels: int = 100_000_000, max_side: int = 2048, min_side: int = 32
) -> Photo:
    """The photo in the bytes of a file, upright, in sRGB, its longer side at most ``max_side`` px.

    EXIF orientation and ICC profiles are applied, transparency is flattened on mid grey, grey,
    CMYK, palette and 16-bit images become 8-bit RGB, and an animation or document gives its first
    frame. Each conversion leaves a note. The same bytes always give the same pixels.

    Args:
        max_pixels: most pixels that the header may announce; a larger file is refused unread.
        min_side: shortest side in pixels that the file may have.

    Raises:
        PhotoRejectedError: the bytes are no complete, usable photo. No bytes raise another error.
    """
    if not blob:
        raise PhotoRejectedError("the file is empty (0 bytes)")
    with _reasons(), _open(io.BytesIO(blob)) as image:
        _check_size(image.size, max_pixels, min_side)
        return _convert(image, max_side)


def read_size(file: Path) -> tuple[int, int]:
    """The width and height of an upright photo in px, from the header of its file.

    Raises:
        PhotoRejectedError: the file has no header of a photo.
    """
    with _reasons(), file.open("rb") as stream, _open(stream) as image:
        return image.size[::-1] if _orientation(image) in _SIDEWAYS else image.size


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Turn every error into the reason of a rejection."""
    try:
        # Pillow warns of odd EXIF and of sizes that are checked elsewhere. A run that turns
        # warnings into errors must reject the same photos as any other run.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PhotoRejectedError:
        raise
    except Exception as error:  # the readers raise a dozen types, from struct.error to SyntaxError
        text = " ".join(str(error).split())
        # Some messages name a Python object with its address, which differs from run to run.
        reason = text[:120] if text and " at 0x" not in text else type(error).__name__
        raise PhotoRejectedError(f"the file is corrupt or cut short ({reason})") from error


def _open(stream: BinaryIO) -> Image.Image:
    try:
        return Image.open(stream, formats=readable_formats())
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise PhotoRejectedError(f"the header announces more than {limit:,} pixels") from None
    except UnidentifiedImageError:
        stream.seek(0)
        start = stream.read(512)
        if start[4:12] in _HEIF_BRANDS and not _READS_HEIF:
            reason = "a HEIC photo; export it as JPEG or install pillow-heif"
        elif b"\0" not in start and start.isascii():
            reason = "the content is text, not an image"
        else:
            reason = "the content is no image of a known type (JPEG, PNG, ...) or is corrupt"
        raise PhotoRejectedError(reason) from None


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """The names of the Pillow readers that may open a photo."""
    Image.init()
    if _READS_HEIF:
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in _SUFFIXES_PER_FORMAT if name in Image.OPEN)


def _check_size(size: tuple[int, int], max_pixels: int, min_side: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise PhotoRejectedError(
            f"{width}x{height} px is {width * height:,} pixels; at most {max_pixels:,} are read"
        )
    if min(size) < min_side:
        raise PhotoRejectedError(f"{width}x{height} px is too small; each side needs {min_side} px")
    if max(size) > _MAX_ASPECT * min(size):
        raise PhotoRejectedError(f"{width}x{height} px is narrower than {_MAX_ASPECT:.0f}:1")


def _convert(image: Image.Image, max_side: int) -> Photo:
    notes: list[str] = []
    size = image.size
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first frame of {frames}")
    orientation = _orientation(image)
    profile = image.info.get("icc_profile")
    fitted = _fitted(size, max_side)
    # JPEG can be decoded at 1/2, 1/4 or 1/8: twice the wanted size is as sharp as a full decode.
    image.draft(None, (2 * fitted[0], 2 * fitted[1]))
    is_deep = ";16" in str(getattr(image, "tile", ""))
    image.load()
    upright = to_eight_bits(image, is_deep, notes)
    if max(upright.size) > max_side:
        notes.append(f"scaled down from {size[0]}x{size[1]}")
        upright = upright.resize(
            _fitted(upright.size, max_side), Image.Resampling.LANCZOS, reducing_gap=2.0
        )
    upright = flatten(to_srgb(upright, profile, notes), notes)
    if orientation != 1:
        notes.append(f"EXIF orientation {orientation} applied")
        if image.format != "TIFF":  # Pillow turns TIFFs itself while it loads them
            upright = upright.transpose(_PIL_PER_ORIENTATION[orientation])
    return Photo(np.ascontiguousarray(np.asarray(upright, np.uint8)), tuple(notes))


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(size))
    return max(1, math.floor(size[0] * scale + 0.5)), max(1, math.floor(size[1] * scale + 0.5))


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # with damaged EXIF the pixels are shown as stored, as image viewers do
        return 1
    return int(orientation) if orientation in _PIL_PER_ORIENTATION else 1

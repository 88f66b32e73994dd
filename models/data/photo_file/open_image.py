"""Open an image file of a known type, whatever its suffix says, and name what is wrong with it."""

import contextlib
import functools
import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from models.data.photo_colours import PhotoRejectedError

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


@contextlib.contextmanager
def reject_errors() -> Iterator[None]:
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


def open_image(stream: BinaryIO) -> Image.Image:
    """The image in a stream, its header read.

    Raises:
        PhotoRejectedError: the content is no image of a type that holds photos.
    """
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

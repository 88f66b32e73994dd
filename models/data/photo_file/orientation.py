"""How a photo is turned upright: the EXIF orientation, read where image viewers read it."""

from PIL import Image

_TURNS = {
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


def read_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8: of the TIFF page, or of the EXIF block of another file.

    Viewers don't read it from XMP, nor from the text of a PNG. AVIF and HEIF turn their pixels or
    have it in the EXIF block that their readers give.
    """
    image.info.pop("xmp", None)  # Pillow would read it while it loads a TIFF
    try:
        if image.format == "TIFF":
            return known_orientation(image.getexif().get(_EXIF_ORIENTATION, 1))
        exif = Image.Exif()
        exif.load(image.info.get("exif") or b"")
        return known_orientation(exif.get(_EXIF_ORIENTATION, 1))
    except Exception:  # with damaged EXIF the pixels are shown as stored, as image viewers do
        return 1


def known_orientation(value: object) -> int:
    """The value if it is an orientation, else 1."""
    return int(value) if isinstance(value, int) and value in _TURNS else 1


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image as it is seen, from the pixels as they are stored."""
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height as they are seen, from those as they are stored."""
    return size[::-1] if orientation in _SIDEWAYS else size

"""Which page or frame of a file is the photo."""

from PIL import Image

_MOST_PAGES = 1000
_SUBFILE_TYPE = 254
# Bits of the TIFF tag NewSubfileType: a smaller copy of another page, and a page that is a mask.
_REDUCED, _MASK = 1, 4


def seek_photo(image: Image.Image) -> str | None:
    """Go to the largest page of a document, or stay at the first frame of an animation.

    Returns:
        A note that names what is not used; None for a file with one page.
    """
    count = int(getattr(image, "n_frames", 1))
    if count < 2:
        return None
    if image.format == "HEIF":
        return f"the main picture of {count}"
    if image.format not in ("TIFF", "MPO"):
        return f"first frame of {count}"
    sizes = [_area(image, page) for page in range(min(count, _MOST_PAGES))]
    largest = sizes.index(max(sizes))
    image.seek(largest)
    return f"page {largest + 1} of {count}" + (", the largest" if largest else "")


def _area(image: Image.Image, page: int) -> int:
    """The pixels of a page; 0 for a page that is a copy or a mask of another one."""
    image.seek(page)
    kind = getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)
    return 0 if kind & (_REDUCED | _MASK) else image.width * image.height

"""Measures of an image: contrast, sharpness, its object, and a difference hash.

Hashes are 256-bit difference hashes (a 16 x 17 thumbnail, each cell brighter than its neighbour or
not). They survive scaling, recompression and changes of brightness.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.data.formats.annotated import box_of_mask
from models.data.pixels import Bools, Pixels
from models.data.records import Box

HASH_SIDE = 16
# Sharpness is compared at one scale, or an enlarged image would count as blurred.
SHARPNESS_SIDE = 256
# Parts below this share of the object are specks of the mask.
LEAST_PART = 0.02

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Quality:
    """Measures of one image; those of its object are None where the image has no alpha channel.

    ``contrast``: standard deviation of luma, 0..0.5. ``sharpness``: variance of the Laplacian of
    8-bit luma inside the object's box, or in the whole image without an alpha channel; the longer
    side is scaled to 256 px. ``object_fraction``: share of the image, 0..1. ``cut_fraction``: share
    of the object's outline that lies on the image border, 0..1. ``box``: (x, y, width, height) in
    px, None without an object. ``dhash``: 64 hexadecimal digits. ``components``: parts of the
    object.
    """

    contrast: float
    sharpness: float
    object_fraction: float | None
    cut_fraction: float | None
    box: Box | None
    dhash: str
    components: int | None


def measure(image: Pixels) -> Quality:
    """The measures of an RGBA image (uint8 HxWx4), or of an RGB image (HxWx3) without its mask."""
    has_alpha = image.shape[2] == 4
    code = cv2.COLOR_RGBA2GRAY if has_alpha else cv2.COLOR_RGB2GRAY
    grey = np.asarray(cv2.cvtColor(image, code), np.uint8)
    contrast = float(cv2.meanStdDev(grey)[1].item()) / 255.0
    hash_digits = f"{_dhash_of_grey(grey, HASH_SIDE):064x}"
    if not has_alpha:
        return Quality(contrast, _measure_sharpness(grey), None, None, None, hash_digits, None)
    mask = np.asarray(cv2.extractChannel(image, 3) > 127)
    box = box_of_mask(mask)
    return Quality(
        contrast=contrast,
        sharpness=_measure_sharpness(grey[_slices(box)]) if box else 0.0,
        object_fraction=float(mask.mean()),
        cut_fraction=_cut_fraction(mask),
        box=box,
        dhash=hash_digits,
        components=_count_parts(mask[_slices(box)]) if box else 0,
    )


def dhash(pixels: Pixels, side: int = HASH_SIDE) -> int:
    """The difference hash of an RGB image as an integer of ``side * side`` bits."""
    return _dhash_of_grey(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8), side)


def dhash_mirrored(pixels: Pixels, side: int = HASH_SIDE) -> int:
    """The difference hash of the image's mirror image."""
    return dhash(np.ascontiguousarray(pixels[:, ::-1]), side)


def dhash_turned(pixels: Pixels) -> tuple[int, ...]:
    """The hashes of the image turned by 90, 180 and 270 degrees, each before its mirror image's."""
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    turns = [np.rot90(grey, quarters) for quarters in (1, 2, 3)]
    return tuple(
        _dhash_of_grey(np.ascontiguousarray(side), HASH_SIDE)
        for turn in turns
        for side in (turn, turn[:, ::-1])
    )


def describe_hashes(pixels: Pixels) -> dict[str, str | list[str]]:
    """All hashes of a photo as hexadecimal digits, by the names that records use."""
    return {
        "dhash": f"{dhash(pixels):064x}",
        "dhash_mirrored": f"{dhash_mirrored(pixels):064x}",
        "dhashes_turned": [f"{code:064x}" for code in dhash_turned(pixels)],
    }


def hamming(first: int, second: int) -> int:
    """In how many bits two hashes differ."""
    return (first ^ second).bit_count()


def _slices(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    x, y, width, height = box
    return slice(y, y + height), slice(x, x + width)


def _measure_sharpness(grey: Grey) -> float:
    height, width = grey.shape
    scale = SHARPNESS_SIDE / max(width, height)
    size = (max(3, round(width * scale)), max(3, round(height * scale)))
    scaled = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return float(cv2.Laplacian(scaled, cv2.CV_32F).var())


def _cut_fraction(mask: Bools) -> float:
    on_border = sum(int(edge.sum()) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    if on_border == 0:
        return 0.0
    across = np.count_nonzero(mask[1:] != mask[:-1])
    along = np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return on_border / (on_border + across + along)


def _count_parts(mask: Bools) -> int:
    # Parts that count are far larger than the px skipped in a large image.
    step = max(1, max(mask.shape) // 256)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask[::step, ::step].astype(np.uint8))
    sizes = stats[1:count, cv2.CC_STAT_AREA]
    return int(np.count_nonzero(sizes > LEAST_PART * sizes.sum()))


def _dhash_of_grey(grey: Grey, side: int) -> int:
    # Averaging whole blocks first is far faster; 8 px per cell are left for the exact average.
    factor = max(1, min(grey.shape) // (8 * (side + 1)))
    height, width = grey.shape
    even = grey[: height // factor * factor, : width // factor * factor]
    size = (width // factor, height // factor)
    reduced = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(reduced, (side + 1, side), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")

"""What can be measured of a finished image: contrast, sharpness, its object, and what it resembles.

Hashes are 256-bit difference hashes (a 16 x 17 thumbnail, each cell brighter than its neighbour or
not): they survive scaling, recompression and changes of brightness.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Pixels
from models.data.records import Box

HASH_SIDE = 16
# Sharpness is compared at one scale, or an enlarged image would count as blurred.
SHARPNESS_SIDE = 256
# Parts below this share of the object are specks of the mask.
LEAST_PART = 0.02

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Quality:
    """Measures of one image with its matte.

    ``contrast``: standard deviation of luma, 0..0.5. ``sharpness``: variance of the Laplacian of
    8-bit luma inside the object's box, the longer side of the box scaled to 256 px.
    ``object_fraction``: share of the image, 0..1. ``cut_fraction``: share of the object's outline
    that lies on the image border, 0..1. ``box``: (x, y, width, height) in px, None without an
    object. ``dhash``: 64 hexadecimal digits. ``components``: parts of the object.
    """

    contrast: float
    sharpness: float
    object_fraction: float
    cut_fraction: float
    box: Box | None
    dhash: str
    components: int


def measure(rgba: Pixels) -> Quality:
    """The measures of an RGB + matte image (uint8 HxWx4)."""
    grey = cv2.cvtColor(rgba, cv2.COLOR_RGBA2GRAY).astype(np.uint8)
    mask = rgba[..., 3] > 127
    boxes = boxes_from_mask(mask)
    return Quality(
        contrast=float(grey.std()) / 255.0,
        sharpness=_sharpness(grey, boxes[0]) if boxes else 0.0,
        object_fraction=float(mask.mean()),
        cut_fraction=_cut_fraction(mask),
        box=boxes[0] if boxes else None,
        dhash=f"{_dhash_of_grey(grey, HASH_SIDE):064x}",
        components=_parts(mask, boxes[0]) if boxes else 0,
    )


def boxes_from_mask(mask: Bools) -> list[Box]:
    """The box around the object (bool HxW) as a list of one, or an empty list.

    An image shows one object; a pair of shoes is one.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return []
    x, y = int(columns[0]), int(rows[0])
    return [(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)]


def dhash(pixels: Pixels, side: int = HASH_SIDE) -> int:
    """The difference hash of an RGB image as an integer of ``side * side`` bits."""
    return _dhash_of_grey(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8), side)


def dhash_mirrored(pixels: Pixels, side: int = HASH_SIDE) -> int:
    """The difference hash of the image's mirror image."""
    return dhash(np.ascontiguousarray(pixels[:, ::-1]), side)


def hamming(one: int, other: int) -> int:
    """In how many bits two hashes differ."""
    return (one ^ other).bit_count()


def _sharpness(grey: npt.NDArray[np.uint8], box: Box) -> float:
    x, y, width, height = box
    patch = grey[y : y + height, x : x + width]
    scale = SHARPNESS_SIDE / max(width, height)
    size = (max(3, round(width * scale)), max(3, round(height * scale)))
    patch = cv2.resize(patch, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return float(cv2.Laplacian(patch, cv2.CV_32F).var())


def _cut_fraction(mask: Bools) -> float:
    on_border = sum(int(edge.sum()) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    if on_border == 0:
        return 0.0
    across = np.count_nonzero(mask[1:] != mask[:-1])
    along = np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return on_border / (on_border + across + along)


def _parts(mask: Bools, box: Box) -> int:
    x, y, width, height = box
    # Parts that count are far larger than the px skipped in a large image.
    step = max(1, max(width, height) // 256)
    found = mask[y : y + height : step, x : x + width : step].astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(found)
    sizes = stats[1:count, cv2.CC_STAT_AREA]
    return int(np.count_nonzero(sizes > LEAST_PART * sizes.sum()))


def _dhash_of_grey(grey: npt.NDArray[np.uint8], side: int) -> int:
    # Whole factors are averaged far faster than others; 8 px a cell are left all the same.
    factor = max(1, min(grey.shape) // (8 * (side + 1)))
    height, width = grey.shape
    even = grey[: height // factor * factor, : width // factor * factor]
    size = (width // factor, height // factor)
    reduced = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(reduced, (side + 1, side), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")

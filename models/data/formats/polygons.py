"""Masks to run lengths and polygons and back, by the rules of the COCO tools."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from models.data.pixels import Bools

Point = tuple[int, int]


def read_segmentation(segmentation: Any, width: int, height: int) -> Bools | None:
    """The mask (bool HxW) of the ``segmentation`` of a COCO annotation; None where it is empty.

    Raises:
        ValueError: it is neither a list of polygons nor run lengths of this image.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, list):
        for polygon in segmentation:
            _check_polygon(polygon, width, height)
        return polygons_to_mask(segmentation, height, width)
    if not isinstance(segmentation, dict) or segmentation.get("size") != [height, width]:
        raise ValueError(f"the run lengths need the size [{height}, {width}]")
    counts = segmentation.get("counts")
    if not isinstance(counts, str | list):
        raise ValueError("counts must be a text or a list of numbers")
    return decode_runs(counts, height, width)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number of usual size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _check_polygon(polygon: Any, width: int, height: int) -> None:
    if not isinstance(polygon, list) or not all(map(is_number, polygon)):
        raise ValueError("a polygon must be a list of numbers")
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon needs pairs x, y of at least 3 points")
    check_points(polygon, width, height)


def check_points(points: Sequence[float], width: int, height: int) -> None:
    """Raise ValueError if a point (x1, y1, x2, y2, ...) is 1 px or more outside the image."""
    sides = (width, height)
    if any(value <= -1 or value >= sides[n % 2] + 1 for n, value in enumerate(points)):
        raise ValueError(f"the polygon must lie in the {width}x{height} px image, and does not")


def polygons_to_mask(polygons: Sequence[Sequence[float]], height: int, width: int) -> Bools:
    """The pixels (bool HxW) inside any of several polygons.

    Args:
        polygons: each as x1, y1, x2, y2, ... in px, at least three points.
    """
    runs = coco_mask.frPyObjects([list(map(float, polygon)) for polygon in polygons], height, width)
    return np.asarray(coco_mask.decode(coco_mask.merge(runs)), np.bool_)


def encode_runs(mask: Bools) -> dict[str, Any]:
    """The mask as a compressed COCO run-length record: ``size`` [height, width] and ``counts``."""
    return {"size": [int(side) for side in mask.shape], "counts": encode_mask(mask)}


def encode_mask(mask: Bools) -> str:
    """The compressed run lengths of a bool HxW mask: the ``counts`` of a COCO record."""
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return str(runs["counts"].decode("ascii"))


def encode_part(part: Bools, corner: tuple[int, int], size: tuple[int, int]) -> str:
    """What `encode_mask` returns for an image that is empty but for one part.

    It is far faster than that where the part is small.

    Args:
        part: bool HxW.
        corner: x and y of the part in px of the image.
        size: width and height of the image in px.
    """
    width, height = size
    columns = np.zeros((part.shape[1], part.shape[0] + 2), np.int8)
    columns[:, 1:-1] = part.T
    edges = np.flatnonzero(np.diff(columns.ravel()))
    column, row = np.divmod(edges, part.shape[0] + 2)
    places = (column + corner[0]) * height + row + corner[1]
    # A run that ends at the bottom of a column goes on where the next column begins with one.
    changes = np.flatnonzero(np.diff(places) == 0)
    places = np.delete(places, np.concatenate([changes, changes + 1]))
    counts = np.diff(places, prepend=0, append=width * height).tolist()
    counts = counts[: len(counts) - (counts[-1] == 0)]
    runs = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return str(runs["counts"].decode("ascii"))


def decode_runs(counts: str | Sequence[int], height: int, width: int) -> Bools:
    """The mask (bool HxW) of COCO run lengths, compressed (text) or not (numbers).

    pycocotools returns uninitialised memory for runs that are too short, so it is not used here.

    Raises:
        ValueError: the runs don't add up to the image, or are no runs.
    """
    runs = _uncompress(counts) if isinstance(counts, str) else list(counts)
    if not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError("run lengths must be whole numbers of at least 0")
    if sum(runs) != height * width:
        raise ValueError(f"the runs must cover {height * width} px, and cover {sum(runs)}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _uncompress(text: str) -> list[int]:
    """Run lengths from COCO's text: 5 bits a character, and from the third run on differences."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("the compressed run lengths hold a wrong character; write them again")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)  # the sign bit of the last five
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("the compressed run lengths are cut short; write them again")
    return runs


def mask_to_polygon(mask: Bools) -> list[Point]:
    """One polygon along pixel borders, from which `polygons_to_mask` gives exactly the mask.

    Separate parts are joined by lines that are drawn forth and back and so enclose nothing.

    Args:
        mask: bool HxW, not empty.

    Raises:
        ValueError: the mask has a hole.
    """
    outlines = _outlines(mask)
    if any(_signed_area(outline) < 0 for outline in outlines):
        raise ValueError("the mask must have no hole, which a polygon can't hold")
    if len(outlines) == 1:
        return outlines[0]
    path = [point for outline in outlines for point in (*outline, outline[0])]
    return path + [outline[0] for outline in reversed(outlines[1:-1])]


def _outlines(mask: Bools) -> list[list[Point]]:
    """Closed lines along pixel borders with the mask on their right, corners only.

    Pixels that touch at a corner alone get separate outlines. Outlines of holes run the other way.
    """
    ends = _border_edges(mask)
    outlines = []
    while ends:
        start = point = min(ends)
        outline = [start]
        step = (0, 0)
        while not (point == start and step != (0, 0)):
            candidates = ends[point]
            right = (point[0] - step[1], point[1] + step[0])
            end = candidates.pop(candidates.index(right) if right in candidates else 0)
            if not candidates:
                del ends[point]
            if (end[0] - point[0], end[1] - point[1]) == step:
                outline[-1] = end
            else:
                outline.append(end)
            step = (end[0] - point[0], end[1] - point[1])
            point = end
        outlines.append(outline[:-1])
    return outlines


def _border_edges(mask: Bools) -> dict[Point, list[Point]]:
    """Per corner point, where the pixel borders that begin there end."""
    padded = np.pad(mask, 1)
    sides = (  # the neighbour, and where the border to it begins and ends, from the pixel's corner
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    ends: dict[Point, list[Point]] = {}
    for neighbour, begin, end in sides:
        rows, columns = np.nonzero(mask & ~neighbour)
        for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
            ends.setdefault((x + begin[0], y + begin[1]), []).append((x + end[0], y + end[1]))
    return ends


def _signed_area(outline: Sequence[Point]) -> float:
    points = np.array(outline, np.float64)
    following = np.roll(points, -1, axis=0)
    return float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum() / 2)

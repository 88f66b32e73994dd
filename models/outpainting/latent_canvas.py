"""The canvas of an outpainted scene: where it moves to, what is generated, how both are joined.

The scene moves by whole cells of the latent grid (8 px), so that its latents move with it. The
network's own region is the border that comes into view and one cell of the scene beside it: its
seam then lies inside what it draws (as stable-diffusion.cpp#1357 does). Afterwards the scene's own
pixels are put back, exact but for a feather beside the seam, over which they fade into the
generated ones; those are first given the colours that the scene has there. A result is never
moved again, so nothing drifts.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Pixels
from models.outpainting.extend_scene import free_ways

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Box = tuple[slice, slice]

CELL = 8
# Colours are compared over as many cells inwards from the seam, and smoothed by as many along it.
_COMPARED = 2
_SMOOTHED = 3.0
# A larger difference is other content rather than another tint.
_LARGEST_OFFSET = 32.0


@dataclass(frozen=True)
class Move:
    """A scene of some size, moved over a canvas of that size.

    ``size``: (width, height), px. ``by``: (x, y), px to the right and down, multiples of 8, as
    `models.outpainting.extend_scene.ExtendedScene.offset` counts them.

    Raises:
        ValueError: the move is no multiple of 8 px, or farther than half of the canvas.
    """

    size: tuple[int, int]
    by: tuple[int, int]

    def __post_init__(self) -> None:
        for name, length, moved in zip("xy", self.size, self.by, strict=True):
            if moved % CELL or 2 * abs(moved) > length:
                raise ValueError(
                    f"shift {name} is {moved} px on a canvas of {length} px; "
                    f"give a multiple of {CELL} within half of the canvas"
                )

    @property
    def reveals(self) -> bool:
        """Whether anything comes into view."""
        return self.by != (0, 0)

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the latent grid; the last ones may stick out of the canvas."""
        width, height = self.size
        return -(-height // CELL), -(-width // CELL)

    @property
    def known(self) -> Box:
        """The canvas' part that the scene covers."""
        (width, height), (x, y) = self.size, self.by
        return _span(height, y), _span(width, x)

    @property
    def source(self) -> Box:
        """The scene's part that stays in view."""
        (width, height), (x, y) = self.size, self.by
        return _span(height, -y), _span(width, -x)

    @property
    def known_cells(self) -> Box:
        """The cells of the canvas whose latents are the scene's: those that it covers fully, as far
        as they are in view."""
        (rows, columns), (x, y) = self.cells, self.by
        return _cells_in(self.known[0], y, rows), _cells_in(self.known[1], x, columns)

    @property
    def source_cells(self) -> Box:
        """The cells of the scene whose latents stay in view."""
        (down, right), (x, y) = self.known_cells, self.by
        return _moved(down, -y // CELL), _moved(right, -x // CELL)


def whole_cells(share: tuple[float, float], reach: float, rgba: Pixels) -> tuple[int, int]:
    """The px (x, y) by which a scene moves for a shift (dx, dy) of
    `models.outpainting.extend_scene.grid_offsets`.

    As `models.outpainting.extend_scene.ExtendedScene.offset`, rounded to multiples of 8 px:
    shortened where the move
    would cut off more of the object than was cut before, or bare an edge where it was cut.

    Args:
        share: shares of the canvas.
        reach: the farthest shift of the grid, a share of the canvas.
        rgba: uint8 HxWx4, RGB + the object's matte.
    """
    height, width = rgba.shape[:2]
    pads = (_nearest(reach * width), _nearest(reach * height))
    moved = []
    for length, wanted, (low, high) in zip(
        (width, height), share, free_ways(rgba[..., 3], pads), strict=True
    ):
        least, greatest = -(-low // CELL) * CELL, high // CELL * CELL
        moved.append(max(least, min(greatest, _nearest(wanted * length))))
    return moved[0], moved[1]


def inpaint_mask(move: Move, matte: Pixels | None = None) -> Bools:
    """The latent cells that the network draws: the border in view, and one cell of the scene beside
    it where the object is not.

    Args:
        matte: uint8 HxW, the scene's object.

    Returns:
        bool hxw, h and w in cells.
    """
    unknown = np.ones(move.cells, np.uint8)
    unknown[move.known_cells] = 0
    grown = cv2.dilate(unknown, np.ones((3, 3), np.uint8)) > 0
    if matte is None or not matte.any():
        return np.asarray(grown)
    taken = _by_cells(placed(matte, move) > 0, move.cells)
    return np.asarray((unknown > 0) | (grown & ~taken))


def placed(scene: Pixels, move: Move) -> Pixels:
    """The moved scene on an empty canvas: uint8 of its shape, 0 where nothing is known."""
    canvas = np.zeros_like(scene)
    canvas[move.known] = scene[move.source]
    return canvas


def paste_back(drawn: Pixels, scene: Pixels, move: Move, feather: int) -> Pixels:
    """The moved scene with its border out of the decoded canvas.

    In the known part each pixel that is farther than ``feather`` px from the seam is the scene's,
    and so is the object's; nearer, the scene fades into what was drawn. What was drawn is given the
    scene's colours: their difference beside the seam, smoothed along it and carried on outwards.

    Args:
        drawn: uint8 HxWx3, the decoded canvas.
        scene: uint8 HxWx3, or HxWx4 with the object's matte.
        move: where the scene went.
        feather: px over which the scene fades, 0 or more.

    Returns:
        uint8 of the scene's shape; the matte moves along and is 0 in the border.
    """
    canvas = placed(scene, move)
    if not move.reveals:
        return canvas
    offset = _colour_offset(drawn, canvas, move)
    inwards = _inwards(move)
    for box in _strips(move, feather):
        ours = canvas[box]
        share = _share_of_drawn(inwards[box], ours, feather)[..., None]
        mixed = ours[..., :3] * (1 - share) + (drawn[box] + offset[box]) * share
        ours[..., :3] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return canvas


def seam_step(pixels: Pixels, move: Move, band: int = CELL) -> float:
    """How strongly a seam shows as a step of tone or colour, feathered or not.

    The step between the means of ``band`` px on either side of a line, at the seam and within half
    a band of it, over the same at lines two to four bands away. About 1 where nothing shows, 0
    without a seam. `models.outpainting.extend_scene.seam_contrast` looks for hard edges instead,
    of a single px.

    Args:
        pixels: uint8 HxWx3 or more, the moved scene.
        band: px, even.
    """
    ratios = []
    colours = pixels[..., :3]
    for image, moved in ((colours, move.by[0]), (colours.transpose(1, 0, 2), move.by[1])):
        if moved == 0:
            continue
        seam = moved if moved > 0 else image.shape[1] + moved
        first = max(0, seam - 5 * band)
        steps = _steps(np.ascontiguousarray(image[:, first : seam + 5 * band]), band)
        away = np.abs(np.arange(len(steps)) + first + band - seam)
        near, far = away <= band // 2, (away >= 2 * band) & (away <= 4 * band)
        if near.any() and far.any():
            ratios.append(float(steps[near].mean() / (steps[far].mean() + 0.5)))
    return max(ratios, default=0.0)


def _span(length: int, moved: int) -> slice:
    return slice(max(moved, 0), length + min(moved, 0))


def _cells_in(known: slice, moved: int, count: int) -> slice:
    """Cells that lie within the known px; what sticks out of the canvas counts as covered where the
    scene covers the canvas to that edge."""
    last = count if moved >= 0 else known.stop // CELL
    return slice(known.start // CELL, last)


def _moved(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _nearest(px: float) -> int:
    return round(px / CELL) * CELL


def _by_cells(pixels: Bools, cells: tuple[int, int]) -> Bools:
    """Per cell whether any of its px is set."""
    height, width = pixels.shape
    beyond = ((0, cells[0] * CELL - height), (0, cells[1] * CELL - width))
    blocks = np.pad(pixels, beyond).reshape(cells[0], CELL, cells[1], CELL)
    return np.asarray(blocks.any(axis=(1, 3)))


def _inwards(move: Move) -> Floats:
    """Per px of the canvas its distance from the seam into the known part: 1 beside it, 0 and less
    in the border."""
    lines = []
    for length, moved in zip(move.size[::-1], move.by[::-1], strict=True):
        away = np.arange(length, dtype=np.float32) + 1 - abs(moved)
        nowhere = np.full(length, np.float32(length))
        lines.append(away if moved > 0 else away[::-1] if moved < 0 else nowhere)
    return np.asarray(np.minimum(lines[0][:, None], lines[1][None]), np.float32)


def _share_of_drawn(inwards: Floats, ours: Pixels, feather: int) -> Floats:
    """1 in the border, falling smoothly to 0 over the feather, 0 where the object is."""
    way = np.clip(inwards / (feather + 1), 0, 1)
    share = 1 - way * way * (3 - 2 * way)
    if ours.shape[2] == 4:
        share *= 1 - ours[..., 3].astype(np.float32) / 255
    return np.asarray(share, np.float32)


def _colour_offset(drawn: Pixels, canvas: Pixels, move: Move) -> Floats:
    """HxWx3: what to add to the drawn px, low in frequency."""
    ours, theirs = canvas[move.known], drawn[move.known]
    height, width = ours.shape[:2]
    size = (max(1, width // CELL), max(1, height // CELL))
    colours, away = _shrunk(ours, size), _shrunk(_inwards(move)[move.known], size)
    trusted = (away <= _COMPARED * CELL).astype(np.float32)
    if canvas.shape[2] == 4:
        trusted *= colours[..., 3] == 0
    gap = colours[..., :3] - _shrunk(theirs, size)
    total = _spread(gap * trusted[..., None])
    offset = total / np.maximum(_spread(trusted), 1e-4)[..., None]
    offset = np.clip(offset, -_LARGEST_OFFSET, _LARGEST_OFFSET)
    smooth = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    rows, columns = move.known
    tall, wide = canvas.shape[:2]
    beyond = (rows.start, tall - rows.stop, columns.start, wide - columns.stop)
    return np.asarray(cv2.copyMakeBorder(smooth, *beyond, cv2.BORDER_REPLICATE), np.float32)


def _shrunk(pixels: npt.NDArray[Any], size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _spread(values: Floats) -> Floats:
    return np.asarray(
        cv2.GaussianBlur(values, (0, 0), _SMOOTHED, borderType=cv2.BORDER_CONSTANT), np.float32
    )


def _strips(move: Move, feather: int) -> list[Box]:
    """Boxes of the canvas that hold border and feather, each px once."""
    (width, height), (x, y) = move.size, move.by
    columns = _strip(width, x, feather)
    rows = _strip(height, y, feather)
    boxes = [(slice(0, height), columns)] if x else []
    if y:
        rest = slice(columns.stop, width) if x > 0 else slice(0, columns.start if x else width)
        boxes.append((rows, rest))
    return boxes


def _strip(length: int, moved: int, feather: int) -> slice:
    if moved > 0:
        return slice(0, min(length, moved + feather))
    return slice(max(0, length + moved - feather), length)


def _steps(image: Pixels, band: int) -> Floats:
    """The step across each line between columns that has ``band`` columns on either side."""
    rows = max(1, image.shape[0] // CELL)
    blocks = cv2.resize(image, (image.shape[1], rows), interpolation=cv2.INTER_AREA)
    sums = np.pad(np.cumsum(blocks, axis=1, dtype=np.float32), ((0, 0), (1, 0), (0, 0)))
    means = (sums[:, band:] - sums[:, :-band]) / band
    return np.asarray(np.abs(means[:, band:] - means[:, :-band]).mean(axis=(0, 2)), np.float32)

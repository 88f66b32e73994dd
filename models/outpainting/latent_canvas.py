"""The canvas of an outpainted scene: its shift, the cells to generate, and how both are joined.

The scene shifts by whole cells of the latent grid (8 px), so that its latents shift with it. The
network generates the border that comes into view and one cell of the scene next to it, so the seam
lies inside what it generates (as in stable-diffusion.cpp#1357). Afterwards the scene's own pixels
replace the generated ones. Next to the seam they fade into the generated pixels over a feather,
after the generated pixels got the scene's colours. A result is never shifted again, so nothing
drifts.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Bools, Floats, Pixels, round_to_uint8
from models.diffusion.sd2.latents import CELL
from models.outpainting.extend_scene import offset_limits

Box = tuple[slice, slice]

# Colours are compared over as many cells inwards from the seam, and smoothed by as many along it.
_COMPARED_CELLS = 2
_SMOOTHING_CELLS = 3.0
# Grey levels. A larger difference is other content rather than another tint.
_LARGEST_CORRECTION = 32.0


@dataclass(frozen=True)
class Shift:
    """A shift of a scene over a canvas of its own size.

    ``size``: (width, height) in px. ``offset``: (x, y) in px to the right and down, multiples of 8,
    as `models.outpainting.extend_scene.ExtendedScene.offset` counts them.

    Raises:
        ValueError: the offset is no multiple of 8 px, or more than half of the canvas.
    """

    size: tuple[int, int]
    offset: tuple[int, int]

    def __post_init__(self) -> None:
        for name, length, px in zip("xy", self.size, self.offset, strict=True):
            if px % CELL or 2 * abs(px) > length:
                raise ValueError(
                    f"shift {name} is {px} px on a canvas of {length} px; "
                    f"give a multiple of {CELL} within half of the canvas"
                )

    @property
    def reveals_border(self) -> bool:
        """Whether a border comes into view."""
        return self.offset != (0, 0)

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the latent grid; the last ones may extend beyond the canvas."""
        width, height = self.size
        return -(-height // CELL), -(-width // CELL)

    @property
    def known(self) -> Box:
        """The part of the canvas that the scene covers."""
        (width, height), (x, y) = self.size, self.offset
        return _span(height, y), _span(width, x)

    @property
    def source(self) -> Box:
        """The part of the scene that stays in view."""
        (width, height), (x, y) = self.size, self.offset
        return _span(height, -y), _span(width, -x)

    @property
    def known_cells(self) -> Box:
        """The cells of the canvas that the scene covers fully, as far as they are in view."""
        (rows, columns), (x, y) = self.cells, self.offset
        return _cells_in(self.known[0], y, rows), _cells_in(self.known[1], x, columns)

    @property
    def source_cells(self) -> Box:
        """The cells of the scene whose latents stay in view."""
        (down, right), (x, y) = self.known_cells, self.offset
        return _shift_span(down, -y // CELL), _shift_span(right, -x // CELL)


def round_to_cells(share: tuple[float, float], max_shift: float, rgba: Pixels) -> tuple[int, int]:
    """The offset (x, y) in px, in multiples of 8, for an offset of `grid_offsets`.

    As `ExtendedScene.offset`, it is shortened where it would cut off more of the object than was
    cut before, or expose an edge where it was cut.

    Args:
        share: (dx, dy), shares of the canvas.
        max_shift: the farthest shift of the grid, a share of the canvas.
        rgba: uint8 HxWx4, RGB + the object's alpha.
    """
    height, width = rgba.shape[:2]
    pads = (_nearest_multiple(max_shift * width), _nearest_multiple(max_shift * height))
    limits = offset_limits(rgba[..., 3], pads)
    offset = []
    for length, wanted, (low, high) in zip((width, height), share, limits, strict=True):
        least, greatest = -(-low // CELL) * CELL, high // CELL * CELL
        offset.append(max(least, min(greatest, _nearest_multiple(wanted * length))))
    return offset[0], offset[1]


def inpaint_mask(shift: Shift, alpha: Pixels | None = None) -> Bools:
    """The latent cells that the network generates, bool hxw in cells.

    They are the border in view, and one cell of the scene next to it where the object is not.

    Args:
        shift: of the scene.
        alpha: uint8 HxW, the object's.
    """
    unknown = np.ones(shift.cells, np.uint8)
    unknown[shift.known_cells] = 0
    grown = cv2.dilate(unknown, np.ones((3, 3), np.uint8)) > 0
    if alpha is None or not alpha.any():
        return np.asarray(grown)
    occupied = _any_per_cell(shift_image(alpha, shift) > 0, shift.cells)
    return np.asarray((unknown > 0) | (grown & ~occupied))


def shift_image(scene: Pixels, shift: Shift) -> Pixels:
    """The shifted scene on an empty canvas: uint8 of its shape, 0 where nothing is known."""
    canvas = np.zeros_like(scene)
    canvas[shift.known] = scene[shift.source]
    return canvas


def blend_original(generated: Pixels, scene: Pixels, shift: Shift, feather: int) -> Pixels:
    """The shifted scene with its generated border, uint8 of the scene's shape.

    In the known part, the scene's pixels stay exact where they are farther than ``feather`` px from
    the seam or belong to the object. Nearer, the scene fades into the generated pixels. These are
    first corrected by the colour difference at the seam, smoothed along it and extended outwards.
    The alpha shifts along and is 0 in the border.

    Args:
        generated: uint8 HxWx3, the decoded canvas.
        scene: uint8 HxWx3, or HxWx4 with the object's alpha.
        shift: of the scene.
        feather: px over which the scene fades, 0 or more.
    """
    canvas = shift_image(scene, shift)
    if not shift.reveals_border:
        return canvas
    correction = _colour_correction(generated, canvas, shift)
    distances = _distance_to_seam(shift)
    for box in _strips(shift, feather):
        original = canvas[box]
        share = _generated_share(distances[box], original, feather)[..., None]
        mixed = original[..., :3] * (1 - share) + (generated[box] + correction[box]) * share
        original[..., :3] = round_to_uint8(mixed)
    return canvas


def seam_step(pixels: Pixels, shift: Shift, band: int = CELL) -> float:
    """How strongly a seam shows as a step of tone or colour, feathered or not.

    It is the step between the means of ``band`` px on either side of a line, at the seam and within
    half a band of it, divided by the same at lines two to four bands away. About 1 where nothing
    shows, 0 without a seam.

    Args:
        pixels: uint8 HxWx3 or more, the shifted scene.
        shift: of the scene.
        band: px, even.
    """
    ratios = []
    colours = pixels[..., :3]
    x, y = shift.offset
    for image, px in ((colours, x), (colours.transpose(1, 0, 2), y)):
        if px == 0:
            continue
        seam = px if px > 0 else image.shape[1] + px
        first = max(0, seam - 5 * band)
        steps = _steps(np.ascontiguousarray(image[:, first : seam + 5 * band]), band)
        distance = np.abs(np.arange(len(steps)) + first + band - seam)
        near, far = distance <= band // 2, (distance >= 2 * band) & (distance <= 4 * band)
        if near.any() and far.any():
            ratios.append(float(steps[near].mean() / (steps[far].mean() + 0.5)))
    return max(ratios, default=0.0)


def _span(length: int, offset: int) -> slice:
    return slice(max(offset, 0), length + min(offset, 0))


def _cells_in(known: slice, offset: int, count: int) -> slice:
    """Cells within the known px.

    The last cell may extend beyond the canvas; it counts where the scene covers that edge.
    """
    last = count if offset >= 0 else known.stop // CELL
    return slice(known.start // CELL, last)


def _shift_span(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _nearest_multiple(px: float) -> int:
    return round(px / CELL) * CELL


def _any_per_cell(pixels: Bools, cells: tuple[int, int]) -> Bools:
    """Per cell whether any of its px is set."""
    height, width = pixels.shape
    beyond = ((0, cells[0] * CELL - height), (0, cells[1] * CELL - width))
    blocks = np.pad(pixels, beyond).reshape(cells[0], CELL, cells[1], CELL)
    return np.asarray(blocks.any(axis=(1, 3)))


def _distance_to_seam(shift: Shift) -> Floats:
    """Per px of the canvas its distance in px from the seam: 1 next to it, 0 and less outside."""
    lines = []
    for length, px in zip(shift.size[::-1], shift.offset[::-1], strict=True):
        distance = np.arange(length, dtype=np.float32) + 1 - abs(px)
        no_seam = np.full(length, np.float32(length))
        lines.append(distance if px > 0 else distance[::-1] if px < 0 else no_seam)
    return np.asarray(np.minimum(lines[0][:, None], lines[1][None]), np.float32)


def _generated_share(distances: Floats, original: Pixels, feather: int) -> Floats:
    """1 in the border, falling smoothly to 0 over the feather, 0 where the object is."""
    position = np.clip(distances / (feather + 1), 0, 1)
    share = 1 - position * position * (3 - 2 * position)
    if original.shape[2] == 4:
        share *= 1 - original[..., 3].astype(np.float32) / 255
    return np.asarray(share, np.float32)


def _colour_correction(generated: Pixels, canvas: Pixels, shift: Shift) -> Floats:
    """HxWx3, grey levels: what to add to the generated px; it varies slowly."""
    known = canvas[shift.known]
    height, width = known.shape[:2]
    size = (max(1, width // CELL), max(1, height // CELL))
    colours = _shrink(known, size)
    distances = _shrink(_distance_to_seam(shift)[shift.known], size)
    trusted = (distances <= _COMPARED_CELLS * CELL).astype(np.float32)
    if canvas.shape[2] == 4:
        trusted *= colours[..., 3] == 0
    difference = colours[..., :3] - _shrink(generated[shift.known], size)
    total = _smooth(difference * trusted[..., None])
    correction = total / np.maximum(_smooth(trusted), 1e-4)[..., None]
    correction = np.clip(correction, -_LARGEST_CORRECTION, _LARGEST_CORRECTION)
    full = cv2.resize(correction, (width, height), interpolation=cv2.INTER_LINEAR)
    rows, columns = shift.known
    tall, wide = canvas.shape[:2]
    border = (rows.start, tall - rows.stop, columns.start, wide - columns.stop)
    return np.asarray(cv2.copyMakeBorder(full, *border, cv2.BORDER_REPLICATE), np.float32)


def _shrink(pixels: npt.NDArray[Any], size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _smooth(values: Floats) -> Floats:
    return np.asarray(
        cv2.GaussianBlur(values, (0, 0), _SMOOTHING_CELLS, borderType=cv2.BORDER_CONSTANT),
        np.float32,
    )


def _strips(shift: Shift, feather: int) -> list[Box]:
    """Boxes of the canvas that hold border and feather, each px once."""
    (width, height), (x, y) = shift.size, shift.offset
    columns = _strip(width, x, feather)
    rows = _strip(height, y, feather)
    boxes = [(slice(0, height), columns)] if x else []
    if y:
        rest = slice(columns.stop, width) if x > 0 else slice(0, columns.start if x else width)
        boxes.append((rows, rest))
    return boxes


def _strip(length: int, offset: int, feather: int) -> slice:
    if offset > 0:
        return slice(0, min(length, offset + feather))
    return slice(max(0, length + offset - feather), length)


def _steps(image: Pixels, band: int) -> Floats:
    """Mean colour step across each line between columns with ``band`` columns on either side."""
    rows = max(1, image.shape[0] // CELL)
    blocks = cv2.resize(image, (image.shape[1], rows), interpolation=cv2.INTER_AREA)
    sums = np.pad(np.cumsum(blocks, axis=1, dtype=np.float32), ((0, 0), (1, 0), (0, 0)))
    means = (sums[:, band:] - sums[:, :-band]) / band
    return np.asarray(np.abs(means[:, band:] - means[:, :-band]).mean(axis=(0, 2)), np.float32)

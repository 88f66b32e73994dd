"""Shift a scene over its canvas and fill the border that comes into view (classical outpainting).

The scene is extended once, by the largest shift, and every shift is a crop of the extension. So
shifts of one scene agree on what lies outside, and the known region is copied, never resampled. The
extension grows from the scene without its object, so the object cannot appear twice.

A border continues as a strip of the scene itself, with its colours adapted to the edge's; a mirror
image would show its axis. To the sides, each row's strip starts where its neighbours look most like
the edge, found by dynamic programming over the rows as in image quilting (Efros & Freeman, SIGGRAPH
2001). The start may drift from row to row, so boards and tiles in perspective keep their direction.
Above and below, the strip is one piece that may slide sideways.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Bools, Floats, Pixels, round_to_uint8

# Alpha above which a px (0..255) counts as object.
_OBJECT_ALPHA = 12


def grid_offsets(grid_size: int, max_shift: float) -> list[tuple[float, float]]:
    """Offsets (dx, dy) of a grid_size x grid_size grid, evenly over [-max_shift, max_shift].

    They are shares of the canvas, row by row.

    >>> grid_offsets(2, 0.1)
    [(-0.1, -0.1), (0.1, -0.1), (-0.1, 0.1), (0.1, 0.1)]

    Raises:
        ValueError: grid_size is under 1, or max_shift is not within 0..0.5.
    """
    if grid_size < 1:
        raise ValueError(f"grid_size is {grid_size}; give 1 or more shifts per axis")
    _check_max_shift(max_shift)
    if grid_size == 1:
        return [(0.0, 0.0)]
    steps = [
        round(max_shift * (2 * step / (grid_size - 1) - 1), 12) + 0.0 for step in range(grid_size)
    ]
    return [(dx, dy) for dy in steps for dx in steps]


def _check_max_shift(max_shift: float) -> None:
    if not 0 <= max_shift <= 0.5:
        raise ValueError(f"max_shift is {max_shift}; give a share of the canvas within 0..0.5")


class ExtendedScene:
    """A scene with its surroundings, from which shifts are cropped.

    Args:
        rgba: uint8 HxWx4, RGB + the object's alpha; 16 px or more per side.
        max_shift: the farthest shift, as a share of the canvas, 0..0.5.
        rng: draws how the borders vary.

    Raises:
        ValueError: the array is no such image, or max_shift is not within 0..0.5.
    """

    def __init__(self, rgba: Pixels, max_shift: float, rng: np.random.Generator) -> None:
        if rgba.ndim != 3 or rgba.shape[2] != 4 or min(rgba.shape[:2]) < 16:
            raise ValueError(
                f"a scene of shape {rgba.shape} can't be shifted; give HxWx4, 16 px or more"
            )
        _check_max_shift(max_shift)
        height, width = rgba.shape[:2]
        self._size = (width, height)
        self._pads = (int(np.ceil(max_shift * width)), int(np.ceil(max_shift * height)))
        self._limits = offset_limits(rgba[..., 3], self._pads)
        self._canvas = _extend(rgba, self._pads, rng)

    def shift(self, dx: float, dy: float) -> Pixels:
        """The scene shifted by (dx * width, dy * height), uint8 of its own shape.

        Offsets are rounded to whole px. They are shortened where they would cut off more of the
        object than was cut before, or expose an edge where it was cut.

        Raises:
            ValueError: the shift is farther than max_shift.
        """
        x, y = self.offset(dx, dy)
        left, top = self._pads[0] - x, self._pads[1] - y
        width, height = self._size
        return self._canvas[top : top + height, left : left + width].copy()

    def offset(self, dx: float, dy: float) -> tuple[int, int]:
        """The px (x, y) by which `shift` shifts the scene after rounding and shortening.

        Raises:
            ValueError: the shift is farther than max_shift.
        """
        offset = []
        for axis, share in enumerate((dx, dy)):
            wanted = round(share * self._size[axis])
            if abs(wanted) > self._pads[axis]:
                name = ("dx", "dy")[axis]
                raise ValueError(f"{name} is {share}, farther than this scene's max_shift")
            low, high = self._limits[axis]
            offset.append(max(low, min(high, wanted)))
        return offset[0], offset[1]


def offset_limits(alpha: Pixels, pads: tuple[int, int]) -> list[tuple[int, int]]:
    """Per axis (x, y) the least and the greatest offset in px that keeps the object whole.

    An object that touches an edge stays where it is.

    Args:
        alpha: uint8 HxW, the object's.
        pads: the largest offset in px per axis (x, y).
    """
    limits = []
    solid = alpha > _OBJECT_ALPHA
    for axis, pad in enumerate(pads):
        occupied = np.flatnonzero(solid.any(axis=axis))
        length = alpha.shape[1 - axis]
        if occupied.size == 0:
            limits.append((-pad, pad))
            continue
        first, last = int(occupied[0]), int(occupied[-1])
        if first == 0 or last == length - 1:
            limits.append((0, 0))
        else:
            limits.append((-min(pad, first), min(pad, length - 1 - last)))
    return limits


@dataclass(frozen=True)
class _Match:
    """A small copy of the scene, to find the strip that continues its right edge.

    ``small``: float32 hxwx3. ``hidden``: float32 hxw in 0..1, where the object was. ``band``:
    columns to compare. ``strip``: columns to add. ``scale``: px of the scene per px of the copy.
    ``size`` and ``pad``: the scene's (width, height) and the columns to add, in its px.
    """

    small: Floats
    hidden: Floats
    band: int
    strip: int
    scale: int
    size: tuple[int, int]
    pad: int

    def jumps(self) -> Floats:
        """Per px, how much more it differs from its left neighbour than px at the edge do.

        A strip that starts at a contour would repeat it along the whole seam.
        """
        steps = np.abs(np.diff(self.small, axis=1, prepend=self.small[:, :1])).mean(axis=2)
        usual = float(steps[:, -self.band :].mean())
        return np.asarray(np.maximum(steps - usual, 0), np.float32)

    def strip_at(self, starts: Floats, lift: float = 0.0) -> tuple[Floats, Floats]:
        """(columns, rows) in the scene of the strip's px, and of the column before the strip.

        Args:
            starts: the strip's first column per row of the copy.
            lift: how many rows of the copy lower the strip is taken from.
        """
        width, height = self.size
        full = cv2.resize(starts.reshape(-1, 1), (1, height), interpolation=cv2.INTER_LINEAR)
        first = np.minimum(full * self.scale, width - self.pad)
        columns = first + np.arange(-1, self.pad, dtype=np.float32)[None]
        rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(lift * self.scale)
        return columns, np.ascontiguousarray(np.broadcast_to(rows, columns.shape))


# Finds where in the scene the px of a strip come from: (columns, rows).
_Finder = Callable[[_Match, np.random.Generator], tuple[Floats, Floats]]


def _extend(rgba: Pixels, pads: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """The scene (uint8 HxWx4) with pads[0] columns and pads[1] rows more on each side."""
    height, width = rgba.shape[:2]
    wide, tall = pads
    occupied = rgba[..., 3] > 0
    grown = _remove_object(rgba, occupied)
    avoid = _grow_mask(occupied)
    if wide:
        grown = _extend_both(grown, avoid, wide, rng, _drifting_strip)
    if tall:
        avoid = np.pad(avoid, ((0, 0), (wide, wide))).T
        transposed = np.asarray(cv2.transpose(grown), np.uint8)
        taller = _extend_both(transposed, avoid, tall, rng, _sliding_strip)
        grown = np.asarray(cv2.transpose(taller), np.uint8)
    canvas = cv2.cvtColor(grown, cv2.COLOR_RGB2RGBA)
    canvas[..., 3] = 0
    canvas[tall : tall + height, wide : wide + width] = rgba
    return np.asarray(canvas, np.uint8)


def _extend_both(
    pixels: Pixels, avoid: Bools, pad: int, rng: np.random.Generator, find: _Finder
) -> Pixels:
    """The scene with `pad` columns more at its left and at its right."""
    sides = []
    for step in (1, -1):
        image = pixels if step == 1 else np.asarray(cv2.flip(pixels, 1), np.uint8)
        match = _prepare_match(image, np.ascontiguousarray(avoid[:, ::step]), pad)
        columns, rows = find(match, rng)
        strip = cv2.remap(image, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        sides.append(_fit_to_edge(np.asarray(strip, np.uint8), image[:, -1])[:, ::step])
    return np.hstack([sides[1], pixels, sides[0]])


def _prepare_match(pixels: Pixels, avoid: Bools, pad: int) -> _Match:
    height, width = pixels.shape[:2]
    scale = max(1, min(height, width) // 160)
    size = (max(8, width // scale), max(8, height // scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    holes = cv2.resize(avoid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    band, strip = max(3, size[0] // 20), -(-pad // scale)
    return _Match(small, np.asarray(holes), band, strip, scale, (width, height), pad)


def _drifting_strip(match: _Match, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The strip whose start follows the best match from row to row."""
    height, width = match.small.shape[:2]
    count = width - match.strip - match.band
    if count < 3:
        return _mirrored_strip(match)
    edge = match.small[:, -match.band :]
    misfit = np.empty((height, count), np.float32)
    for column in range(count):
        left = match.small[:, column : column + match.band]
        misfit[:, column] = ((left - edge) ** 2).mean(axis=(1, 2))
    # Average over neighbouring rows, because noise dominates single rows.
    jumps = match.jumps()[:, match.band :][:, :count]
    window = (1, max(3, height // 16 | 1))
    misfit = np.sqrt(cv2.blur(misfit, window)) + cv2.blur(jumps, window)
    misfit = misfit / (float(edge.std(axis=0).mean()) + 4.0)
    hidden = cv2.blur(match.hidden, (match.strip, 1), anchor=(0, 0))[:, match.band :][:, :count]
    variety = rng.uniform(0, 0.05, count).astype(np.float32)
    path = _cheapest_path(misfit + hidden + variety, 0.1).astype(np.float32)
    smooth = cv2.GaussianBlur(path[:, None], (1, 0), sigmaX=0, sigmaY=2.5)
    return match.strip_at(np.asarray(smooth, np.float32) + match.band)


def _sliding_strip(match: _Match, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The strip that matches best in one piece, shifted along the edge by an eighth of it at most.

    Only the half of the scene next to the edge is searched, so that sky never continues the ground.
    """
    height, width = match.small.shape[:2]
    slide = height // 8
    first = max(0, width // 2 - match.band)
    last = width - match.strip
    if last - first < match.band + 2 or slide < 1:
        return _mirrored_strip(match)
    edge = np.ascontiguousarray(match.small[slide : height - slide, -match.band :])
    misfit: Any = cv2.matchTemplate(match.small[:, first:last], edge, cv2.TM_SQDIFF)
    starts = slice(None, misfit.shape[0]), slice(first + match.band, last + 1)
    jumps = cv2.blur(match.jumps(), (1, edge.shape[0]), anchor=(0, 0))[starts]
    gap = np.sqrt(np.maximum(misfit, 0) / edge.size) + 2 * jumps
    hidden = cv2.blur(match.hidden, (match.strip, edge.shape[0]), anchor=(0, 0))[starts]
    lifts = np.abs(np.arange(misfit.shape[0]) - slide)[:, None] / slide
    gap = gap / (float(edge.std(axis=(0, 1)).mean()) + 4.0)
    cost = gap + hidden + 0.2 * lifts + rng.uniform(0, 0.05, misfit.shape)
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    start = np.full((height, 1), first + int(column) + match.band, np.float32)
    return match.strip_at(start, float(row) - slide)


def _mirrored_strip(match: _Match) -> tuple[Floats, Floats]:
    """The mirror image, for a scene too small to have a strip that continues it."""
    width, height = match.size
    columns = np.broadcast_to(
        np.arange(width - 1, width + match.pad, dtype=np.float32), (height, match.pad + 1)
    )
    rows = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], columns.shape)
    return np.ascontiguousarray(columns), np.ascontiguousarray(rows)


def _fit_to_edge(strip: Pixels, edge: Pixels) -> Pixels:
    """The strip without its first column, with colours adapted so that this column equals the edge.

    The correction fades out with the distance. Its fine parts fade fast, because grain would
    otherwise become streaks.
    """
    pad = strip.shape[1] - 1
    gap = (edge.astype(np.float32) - strip[:, 0])[:, None]
    distance = np.arange(pad, dtype=np.float32)[None, :, None]
    result = strip[:, 1:].astype(np.float32)
    for sigma, length in ((0.02, 0.35), (0.004, 0.08), (0.0, 0.03)):
        part = cv2.GaussianBlur(gap, (1, 0), sigmaX=0, sigmaY=sigma * len(gap)) if sigma else gap
        part = np.asarray(part, np.float32).reshape(gap.shape)
        result += part * np.exp(-distance / max(length * pad, 3.0))
        gap = gap - part
    return round_to_uint8(result)


def _cheapest_path(cost: Floats, drift: float) -> npt.NDArray[np.intp]:
    """Per row the column of the cheapest path downwards; a step to the side costs `drift`."""
    rows, columns = cost.shape
    total = cost.copy()
    for row in range(1, rows):
        above = np.pad(total[row - 1], 1, constant_values=np.inf)
        aside = np.minimum(above[:-2], above[2:]) + drift
        total[row] += np.minimum(above[1:-1], aside)
    path = np.empty(rows, np.intp)
    path[-1] = int(np.argmin(total[-1]))
    for row in range(rows - 2, -1, -1):
        last = int(path[row + 1])
        low = max(0, last - 1)
        options = total[row, low : min(columns, last + 2)]
        step_cost = np.abs(np.arange(low, low + options.size) - last) * drift
        path[row] = low + int(np.argmin(options + step_cost))
    return path


def _grow_mask(mask: Bools) -> Bools:
    """The object's mask, grown to where its shadow is most likely."""
    if not mask.any():
        return mask
    _, _, width, height = cv2.boundingRect(mask.astype(np.uint8))
    side = 2 * int(0.06 * max(width, height)) + 3
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def _remove_object(rgba: Pixels, mask: Bools) -> Pixels:
    """The scene (uint8 RGB) with its object inpainted.

    Colours come from a small inpainting (Telea 2004), texture from the neighbourhood.
    """
    pixels = np.ascontiguousarray(rgba[..., :3])
    if not mask.any():
        return pixels
    height, width = mask.shape
    hole = _grow_mask(mask)
    known = (~hole).astype(np.uint8)
    scale = max(1.0, max(height, width) / 128)
    size = (max(8, round(width / scale)), max(8, round(height / scale)))
    # Means of the known px only; the object's colour must not bleed into the small image.
    share = cv2.resize(known * 255, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    masked = cv2.bitwise_and(pixels, pixels, mask=known)
    small = cv2.resize(masked, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = np.clip(small / np.maximum(share, 1e-2)[..., None], 0, 255).astype(np.uint8)
    unknown = (share < 0.5).astype(np.uint8)
    filled = cv2.inpaint(small, unknown, 3, cv2.INPAINT_TELEA)
    smooth = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y, wide, tall = cv2.boundingRect(hole.astype(np.uint8))
    box = slice(y, y + tall), slice(x, x + wide)
    result = smooth[box] + _borrowed_texture(cv2.subtract(pixels, smooth, dtype=cv2.CV_16S), hole)
    inner = _frame_ramp(width, height)[box]
    soft = cv2.GaussianBlur(hole[box].astype(np.float32), (0, 0), 2.0) * inner
    weight = np.where(mask[box], np.float32(1), soft)[..., None]
    mixed = pixels[box] + (result - pixels[box]) * weight
    pixels[box] = round_to_uint8(mixed)
    return pixels


def _frame_ramp(width: int, height: int) -> Floats:
    """0 at the frame, rising to 1 inside: borders must continue the scene's true edge."""
    ramps = [
        np.minimum(np.arange(side), np.arange(side)[::-1]) / max(1.0, 0.03 * side)
        for side in (width, height)
    ]
    return np.minimum(1.0, np.minimum(ramps[0][None], ramps[1][:, None])).astype(np.float32)


def _borrowed_texture(detail: npt.NDArray[Any], hole: Bools) -> Floats:
    """Fine detail from next to the hole, copied into the hole's box; 0 where there is none."""
    height, width = hole.shape
    x, y, wide, tall = cv2.boundingRect(hole.astype(np.uint8))
    filled = np.zeros((tall, wide, 3), np.float32)
    empty = np.ones((tall, wide), np.bool_)
    for dx, dy in ((wide, 0), (-wide, 0), (0, tall), (0, -tall)):
        left, right = max(x + dx, 0), min(x + dx + wide, width)
        top, bottom = max(y + dy, 0), min(y + dy + tall, height)
        if left >= right or top >= bottom:
            continue
        target = slice(top - y - dy, bottom - y - dy), slice(left - x - dx, right - x - dx)
        new = empty[target] & ~hole[top:bottom, left:right]
        filled[target][new] = detail[top:bottom, left:right][new]
        empty[target] &= ~new
    return filled

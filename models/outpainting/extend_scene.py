"""The scene moved over its canvas, what comes into view filled in (a classical outpaint).

The scene is extended once, by as much as it may move, and every shift is a crop of that extension:
shifts of one scene agree on what lies outside, and the known region is copied, never resampled. The
extension grows from the object-free scene, so the object can't appear twice.

A border continues as a strip of the scene itself, its colours eased into the edge's; a mirror
image would show its axis. To the sides each row's strip is taken from where its neighbours look
most like the edge, by dynamic programming over the rows as in image quilting (Efros & Freeman,
SIGGRAPH 2001): the offset may drift from row to row, so boards and tiles in perspective keep their
course. Above and below, the strip is one piece that may slide sideways.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Pixels

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def grid_offsets(k: int, reach: float) -> list[tuple[float, float]]:
    """k x k shifts (dx, dy) as shares of the canvas, evenly over [-reach, reach], row by row.

    >>> grid_offsets(2, 0.1)
    [(-0.1, -0.1), (0.1, -0.1), (-0.1, 0.1), (0.1, 0.1)]

    Raises:
        ValueError: k is under 1, or the reach is not within 0..0.5.
    """
    if k < 1:
        raise ValueError(f"k is {k}; give 1 or more shifts per axis")
    if not 0 <= reach <= 0.5:
        raise ValueError(f"reach is {reach}; give a share of the canvas within 0..0.5")
    if k == 1:
        return [(0.0, 0.0)]
    steps = [round(reach * (2 * step / (k - 1) - 1), 12) + 0.0 for step in range(k)]
    return [(dx, dy) for dy in steps for dx in steps]


class ExtendedScene:
    """A scene with its surroundings, from which shifts are cut.

    Args:
        rgba: uint8 HxWx4, RGB + the object's matte.
        reach: the farthest shift, as a share of the canvas, 0..0.5.
        rng: draws how the borders vary.

    Raises:
        ValueError: the array is no RGB + matte image, or the reach is not within 0..0.5.
    """

    def __init__(self, rgba: Pixels, reach: float, rng: np.random.Generator) -> None:
        if rgba.ndim != 3 or rgba.shape[2] != 4 or min(rgba.shape[:2]) < 16:
            raise ValueError(f"a scene of shape {rgba.shape} can't move; give HxWx4, 16 px or more")
        if not 0 <= reach <= 0.5:
            raise ValueError(f"reach is {reach}; give a share of the canvas within 0..0.5")
        height, width = rgba.shape[:2]
        self._size = (width, height)
        self._pads = (int(np.ceil(reach * width)), int(np.ceil(reach * height)))
        self._limits = free_ways(rgba[..., 3], self._pads)
        self._canvas = _extend(rgba, self._pads, rng)

    def shift(self, dx: float, dy: float) -> Pixels:
        """The scene moved by (dx * width, dy * height), same size, uint8 HxWx4.

        Moves are rounded to whole px and shortened where they would cut off more of the object than
        was cut before, or bare an edge where it was cut.

        Raises:
            ValueError: the shift is farther than the reach.
        """
        x, y = self.offset(dx, dy)
        left, top = self._pads[0] - x, self._pads[1] - y
        width, height = self._size
        return self._canvas[top : top + height, left : left + width].copy()

    def offset(self, dx: float, dy: float) -> tuple[int, int]:
        """The px by which `shift` really moves the scene.

        Raises:
            ValueError: the shift is farther than the reach.
        """
        moved = []
        for axis, share in enumerate((dx, dy)):
            wanted = round(share * self._size[axis])
            if abs(wanted) > self._pads[axis]:
                name = ("dx", "dy")[axis]
                raise ValueError(f"{name} is {share}, farther than the reach this scene was given")
            low, high = self._limits[axis]
            moved.append(max(low, min(high, wanted)))
        return moved[0], moved[1]


def shift_scene(rgba: Pixels, dx: float, dy: float, rng: np.random.Generator) -> Pixels:
    """One shift of a scene; for several, make an `ExtendedScene` once.

    Raises:
        ValueError: as `ExtendedScene` does.
    """
    return ExtendedScene(rgba, max(abs(dx), abs(dy)), rng).shift(dx, dy)


def seam_contrast(pixels: Pixels, dx: int, dy: int) -> float:
    """How strongly the border of a moved scene shows: the mean step in grey across its seams, over
    the mean step between the px around them. About 1 where nothing shows, 0 without a seam.

    Args:
        pixels: uint8 HxWx3 or more, moved by whole px.
        dx, dy: the px it was moved by.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY).astype(
        np.float32
    )
    ratios = []
    for image, moved in ((grey, dx), (grey.T, dy)):
        seam = moved if moved > 0 else image.shape[1] + moved
        if moved == 0 or not 6 <= seam <= image.shape[1] - 6:
            continue
        steps = np.abs(np.diff(image[:, seam - 6 : seam + 6], axis=1)).mean(0)
        ratios.append(float(steps[5] / (np.delete(steps, 5).mean() + 0.25)))
    return max(ratios, default=0.0)


def free_ways(matte: npt.NDArray[np.uint8], pads: tuple[int, int]) -> list[tuple[int, int]]:
    """Per axis the least and the greatest move in px that leaves the object as whole as it is."""
    ways = []
    solid = matte > 12
    for axis, pad in enumerate(pads):
        taken = np.flatnonzero(solid.any(axis=axis))
        length = matte.shape[1 - axis]
        if taken.size == 0:
            ways.append((-pad, pad))
            continue
        first, last = int(taken[0]), int(taken[-1])
        if first == 0 or last == length - 1:
            ways.append((0, 0))
        else:
            ways.append((-min(pad, first), min(pad, length - 1 - last)))
    return ways


@dataclass(frozen=True)
class _Match:
    """A small copy of the scene in which what continues its right edge is looked for.

    ``small``: float32 hxwx3. ``hidden``: hxw, 0..1, where the object was. ``band``: the columns
    compared. ``strip``: the columns wanted. ``scale``: px of the scene per px of the copy.
    ``size`` and ``pad``: the scene's (width, height) and the columns wanted, in its own px.
    """

    small: Floats
    hidden: Floats
    band: int
    strip: int
    scale: int
    size: tuple[int, int]
    pad: int

    def jumps(self) -> Floats:
        """Per px how much more it differs from its left neighbour than px at the edge do: a strip
        that began with a contour would draw it along the whole seam."""
        steps = np.abs(np.diff(self.small, axis=1, prepend=self.small[:, :1])).mean(axis=2)
        usual = float(steps[:, -self.band :].mean())
        return np.asarray(np.maximum(steps - usual, 0), np.float32)

    def strip_at(self, starts: Floats, lift: float = 0.0) -> tuple[Floats, Floats]:
        """Where in the scene the strip's px come from, led by the column before the strip.

        ``starts``: per row of the copy the strip's first column; ``lift``: rows it is taken lower.
        """
        width, height = self.size
        full = cv2.resize(starts.reshape(-1, 1), (1, height), interpolation=cv2.INTER_LINEAR)
        first = np.minimum(full * self.scale, width - self.pad)
        columns = first + np.arange(-1, self.pad, dtype=np.float32)[None]
        rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(lift * self.scale)
        return columns, np.ascontiguousarray(np.broadcast_to(rows, columns.shape))


_Finder = Callable[[_Match, np.random.Generator], tuple[Floats, Floats]]


def _extend(rgba: Pixels, pads: tuple[int, int], rng: np.random.Generator) -> Pixels:
    height, width = rgba.shape[:2]
    wide, tall = pads
    taken = rgba[..., 3] > 0
    grown = _without_object(rgba, taken)
    avoid = _grow_mask(taken)
    if wide:
        grown = _extend_both(grown, avoid, wide, rng, _drifting_strip)
    if tall:
        avoid = np.pad(avoid, ((0, 0), (wide, wide))).T
        turned = np.asarray(cv2.transpose(grown), np.uint8)
        taller = _extend_both(turned, avoid, tall, rng, _sliding_strip)
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
        one = pixels if step == 1 else np.asarray(cv2.flip(pixels, 1), np.uint8)
        match = _match(one, np.ascontiguousarray(avoid[:, ::step]), pad)
        columns, rows = find(match, rng)
        strip = cv2.remap(one, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        sides.append(_ease(np.asarray(strip, np.uint8), one[:, -1])[:, ::step])
    return np.hstack([sides[1], pixels, sides[0]])


def _match(pixels: Pixels, avoid: Bools, pad: int) -> _Match:
    height, width = pixels.shape[:2]
    scale = max(1, min(height, width) // 160)
    size = (max(8, width // scale), max(8, height // scale))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    holes = cv2.resize(avoid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    band, strip = max(3, size[0] // 20), -(-pad // scale)
    return _Match(small, np.asarray(holes), band, strip, scale, (width, height), pad)


def _drifting_strip(match: _Match, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The strip whose start follows the best fit from row to row."""
    height, width = match.small.shape[:2]
    count = width - match.strip - match.band
    if count < 3:
        return _mirrored(match)
    edge = match.small[:, -match.band :]
    misfit = np.empty((height, count), np.float32)
    for column in range(count):
        left = match.small[:, column : column + match.band]
        misfit[:, column] = ((left - edge) ** 2).mean(axis=(1, 2))
    # Neighbouring rows vote together, else noise alone would choose.
    jumps = match.jumps()[:, match.band :][:, :count]
    vote = (1, max(3, height // 16 | 1))
    misfit = np.sqrt(cv2.blur(misfit, vote)) + cv2.blur(jumps, vote)
    misfit = misfit / (float(edge.std(axis=0).mean()) + 4.0)
    hidden = cv2.blur(match.hidden, (match.strip, 1), anchor=(0, 0))[:, match.band :][:, :count]
    variety = rng.uniform(0, 0.05, count).astype(np.float32)
    path = _least_path(misfit + hidden + variety, 0.1).astype(np.float32)
    smooth = cv2.GaussianBlur(path[:, None], (1, 0), sigmaX=0, sigmaY=2.5)
    return match.strip_at(np.asarray(smooth, np.float32) + match.band)


def _sliding_strip(match: _Match, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The strip that fits best in one piece, slid along the edge by an eighth of it at most.

    Only the nearer half of the scene is asked: a floor must not be continued by its sky.
    """
    height, width = match.small.shape[:2]
    slide = height // 8
    first = max(0, width // 2 - match.band)
    last = width - match.strip
    if last - first < match.band + 2 or slide < 1:
        return _mirrored(match)
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


def _mirrored(match: _Match) -> tuple[Floats, Floats]:
    """The mirror image, for a scene too small to be continued by a part of itself."""
    width, height = match.size
    columns = np.broadcast_to(
        np.arange(width - 1, width + match.pad, dtype=np.float32), (height, match.pad + 1)
    )
    rows = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], columns.shape)
    return np.ascontiguousarray(columns), np.ascontiguousarray(rows)


def _ease(strip: Pixels, edge: Pixels) -> Pixels:
    """All but the first column of the strip, whose first column is made to equal the edge.

    The difference fades out: fast where it is fine, or grain would be drawn out into streaks.
    """
    pad = strip.shape[1] - 1
    gap = (edge.astype(np.float32) - strip[:, 0])[:, None]
    out = np.arange(pad, dtype=np.float32)[None, :, None]
    result = strip[:, 1:].astype(np.float32)
    for sigma, reach in ((0.02, 0.35), (0.004, 0.08), (0.0, 0.03)):
        part = cv2.GaussianBlur(gap, (1, 0), sigmaX=0, sigmaY=sigma * len(gap)) if sigma else gap
        part = np.asarray(part, np.float32).reshape(gap.shape)
        result += part * np.exp(-out / max(reach * pad, 3.0))
        gap = gap - part
    return np.asarray(np.clip(np.rint(result), 0, 255), np.uint8)


def _least_path(cost: Floats, drift: float) -> npt.NDArray[np.intp]:
    """Per row the column of the cheapest path down; a step to the side costs `drift`."""
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
        ways = total[row, low : min(columns, last + 2)]
        toll = np.abs(np.arange(low, low + ways.size) - last) * drift
        path[row] = low + int(np.argmin(ways + toll))
    return path


def _grow_mask(taken: Bools) -> Bools:
    """The object with the surroundings in which its shadow is likeliest."""
    if not taken.any():
        return taken
    _, _, width, height = cv2.boundingRect(taken.astype(np.uint8))
    reach = 2 * int(0.06 * max(width, height)) + 3
    return np.asarray(cv2.dilate(taken.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0)


def _without_object(rgba: Pixels, taken: Bools) -> Pixels:
    """The scene with its object inpainted: colours from a small inpainting (Telea 2004), texture
    borrowed from beside it."""
    pixels = np.ascontiguousarray(rgba[..., :3])
    if not taken.any():
        return pixels
    height, width = taken.shape
    hole = _grow_mask(taken)
    known = (~hole).astype(np.uint8)
    scale = max(1.0, max(height, width) / 128)
    size = (max(8, round(width / scale)), max(8, round(height / scale)))
    # Means of the known px only, or the object's colour would bleed into the small image.
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
    soft = (
        cv2.GaussianBlur(hole[box].astype(np.float32), (0, 0), 2.0) * _inwards(width, height)[box]
    )
    weight = np.where(taken[box], np.float32(1), soft)[..., None]
    mixed = pixels[box] + (result - pixels[box]) * weight
    pixels[box] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return pixels


def _inwards(width: int, height: int) -> Floats:
    """0 at the frame rising to 1 inside: what borders are eased into must be the true edge."""
    ramps = [
        np.minimum(np.arange(side), np.arange(side)[::-1]) / max(1.0, 0.03 * side)
        for side in (width, height)
    ]
    return np.minimum(1.0, np.minimum(ramps[0][None], ramps[1][:, None])).astype(np.float32)


def _borrowed_texture(detail: npt.NDArray[Any], hole: Bools) -> Floats:
    """What is finer than the small inpainting, moved into the hole's box from beside it, else 0."""
    height, width = hole.shape
    x, y, wide, tall = cv2.boundingRect(hole.astype(np.uint8))
    filled = np.zeros((tall, wide, 3), np.float32)
    empty = np.ones((tall, wide), np.bool_)
    for dx, dy in ((wide, 0), (-wide, 0), (0, tall), (0, -tall)):
        left, right = max(x + dx, 0), min(x + dx + wide, width)
        top, bottom = max(y + dy, 0), min(y + dy + tall, height)
        if left >= right or top >= bottom:
            continue
        there = slice(top - y - dy, bottom - y - dy), slice(left - x - dx, right - x - dx)
        new = empty[there] & ~hole[top:bottom, left:right]
        filled[there][new] = detail[top:bottom, left:right][new]
        empty[there] &= ~new
    return filled

"""Strips of a scene that continue it beyond its border.

A border continues as a strip of the scene itself, with its colours adapted to the edge's; a mirror
image would show its axis. To the sides, each row's strip starts where its neighbours look most like
the edge, found by dynamic programming over the rows as in image quilting (Efros & Freeman, SIGGRAPH
2001). The start may drift from row to row, so boards and tiles in perspective keep their direction.
Above and below, the strip is one piece that may slide sideways.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Bools, Floats, Pixels


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

    def flipped(self) -> "_Match":
        """The same for the scene's left edge, as its mirror image."""
        small, hidden = (
            np.asarray(cv2.flip(part, 1), np.float32) for part in (self.small, self.hidden)
        )
        return replace(self, small=small, hidden=hidden)

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


def extend_both_sides(
    pixels: Pixels, avoid: Bools, pad: int, rng: np.random.Generator, find: _Finder
) -> Pixels:
    """The scene with `pad` columns more at its left and at its right."""
    sides = []
    right = _prepare_match(pixels, avoid, pad)
    for step in (1, -1):
        image = pixels if step == 1 else np.asarray(cv2.flip(pixels, 1), np.uint8)
        match = right if step == 1 else right.flipped()
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


def drifting_strip(match: _Match, rng: np.random.Generator) -> tuple[Floats, Floats]:
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


def sliding_strip(match: _Match, rng: np.random.Generator) -> tuple[Floats, Floats]:
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
    distance = np.arange(pad, dtype=np.float32)
    # Channel by channel, because NumPy is slow where the last axis is short.
    planes = [np.zeros((len(gap), pad), np.float32) for _ in range(3)]
    for sigma, length in ((0.02, 0.35), (0.004, 0.08), (0.0, 0.03)):
        part = cv2.GaussianBlur(gap, (1, 0), sigmaX=0, sigmaY=sigma * len(gap)) if sigma else gap
        part = np.asarray(part, np.float32).reshape(gap.shape)
        fade = np.exp(-distance / max(length * pad, 3.0))
        for channel, plane in enumerate(planes):
            plane += part[..., channel] * fade
        gap = gap - part
    return np.asarray(cv2.add(strip[:, 1:], cv2.merge(planes), dtype=cv2.CV_8U), np.uint8)


def _cheapest_path(cost: Floats, drift: float) -> npt.NDArray[np.intp]:
    """Per row the column of the cheapest path downwards; a step to the side costs `drift`."""
    rows, columns = cost.shape
    # A column of infinite cost at each side, so that no path leaves.
    total = np.full((rows, columns + 2), np.inf, np.float32)
    total[:, 1:-1] = cost
    for above, here in pairwise(total):
        aside = np.minimum(above[:-2], above[2:]) + drift
        here[1:-1] += np.minimum(above[1:-1], aside)
    total = total[:, 1:-1]
    path = np.empty(rows, np.intp)
    path[-1] = int(np.argmin(total[-1]))
    for row in range(rows - 2, -1, -1):
        last = int(path[row + 1])
        low = max(0, last - 1)
        options = total[row, low : min(columns, last + 2)]
        step_cost = np.abs(np.arange(low, low + options.size) - last) * drift
        path[row] = low + int(np.argmin(options + step_cost))
    return path

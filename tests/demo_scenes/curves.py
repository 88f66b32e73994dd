"""Distances to curves, tabulated over the plane, for the rendered demo scenes.

The exact distance to a curve is computed once on a fine grid; afterwards it is one bilinear lookup.
This makes a ray marcher in numpy fast enough for a demo. Lengths are decimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import cKDTree

from models.data.pixels import Floats

Curve = npt.NDArray[np.float64]

CELL = 0.0125
_MARGIN = 0.10
_LOOKUP_COLUMNS = 1024


@dataclass(frozen=True)
class Field:
    """A table of distances over a rectangle of the plane, read by bilinear interpolation."""

    values: Floats
    left: float
    bottom: float

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """The distance at each point (x, y), (N,); outside the table a lower bound of it."""
        return np.asarray(self.channels(x, y)[0], np.float32)

    def channels(self, x: Floats, y: Floats) -> Floats:
        """All channels of the table at each point, (channels, N); the first is the distance."""
        rows, columns = self.values.shape[:2]
        u = (x - np.float32(self.left)) * np.float32(1 / CELL)
        v = (y - np.float32(self.bottom)) * np.float32(1 / CELL)
        found = lookup(self.values, u, v, cv2.BORDER_REPLICATE)
        over_u = u - np.minimum(np.maximum(u, 0), np.float32(columns - 1))
        over_v = v - np.minimum(np.maximum(v, 0), np.float32(rows - 1))
        beyond = (over_u * over_u + over_v * over_v) * np.float32(CELL * CELL)
        # The table is convex and the solid lies inside it, so both legs meet at 90 degrees or more.
        bound = np.sqrt(np.maximum(beyond + found[0] * np.abs(found[0]), 0))
        found[0] = np.where(beyond > 0, bound, found[0])
        return found


def lookup(table: Floats, u: Floats, v: Floats, border: int) -> Floats:
    """Bilinear values (channels, N) of a table at columns `u` and rows `v`, each (N,).

    `border` is OpenCV's border mode for points outside the table.
    """
    count = u.size
    rows = max(-(-count // _LOOKUP_COLUMNS), 1)
    grids = np.zeros((2, rows * _LOOKUP_COLUMNS), np.float32)
    grids[0, :count] = u
    grids[1, :count] = v
    grid = grids.reshape(2, rows, _LOOKUP_COLUMNS)
    # OpenCV's remap takes at most 32767 rows or columns; this rectangle allows 33 million points.
    found = cv2.remap(table, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=border)
    flat = found.reshape(rows * _LOOKUP_COLUMNS, -1)[:count]
    return np.ascontiguousarray(flat.T, np.float32)


@dataclass(frozen=True)
class _Nearest:
    """Per point its distance to a curve, and the fractional vertex of the nearest point on it."""

    distance: Floats
    signed: Floats
    vertex: Floats


def _nearest(curve: Curve, closed: bool, points: Curve) -> _Nearest:
    """The nearest points of a polyline; signed distances are negative on its left."""
    _, vertex = cKDTree(curve).query(points)
    last = len(curve) - 1
    best = np.full(len(points), np.inf)
    side = np.zeros(len(points))
    position = np.zeros(len(points))
    for step in (-1, 0):
        start = vertex + step
        start = start % (last + 1) if closed else np.clip(start, 0, last - 1)
        origin, along = curve[start], curve[(start + 1) % (last + 1)] - curve[start]
        offset = points - origin
        share = np.clip((offset * along).sum(1) / np.maximum((along**2).sum(1), 1e-12), 0, 1)
        away = offset - share[:, None] * along
        squared = (away**2).sum(1)
        length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
        cross = (offset[:, 0] * along[:, 1] - offset[:, 1] * along[:, 0]) / length
        tie = np.abs(squared - best) < 1e-12
        nearer = (squared < best) & ~tie
        # At a vertex both segments are equally near; the sum of their normals decides the side.
        side = np.where(tie, side + cross, np.where(nearer, cross, side))
        position = np.where(nearer, start + share, position)
        best = np.minimum(best, squared)
    distance = np.sqrt(best)
    signed = np.where(side < 0, -distance, distance)
    return _Nearest(*(a.astype(np.float32) for a in (distance, signed, position)))


def _grid(curve: Curve, margin: float) -> tuple[Floats, Floats, float, float]:
    """Grid points u and v around a curve, and the grid's left and bottom coordinates."""
    low, high = curve.min(0) - margin, curve.max(0) + margin
    columns, rows = np.ceil((high - low) / CELL).astype(int) + 1
    x = low[0] + CELL * np.arange(columns)
    y = low[1] + CELL * np.arange(rows)
    u, v = np.meshgrid(x, y)
    return u.astype(np.float32), v.astype(np.float32), float(low[0]), float(low[1])


def _resample(curve: Curve, spacing: float = 0.01) -> Curve:
    """The polyline with extra vertices, so that the nearest vertex is on the nearest segment."""
    steps = np.hypot(*np.diff(curve, axis=0).T)
    curve = curve[np.r_[True, steps > 1e-6]]
    steps = steps[steps > 1e-6]
    counts = np.maximum(np.ceil(steps / spacing).astype(int), 1)
    pieces = [
        a + (b - a) * (np.arange(n) / n)[:, None]
        for a, b, n in zip(curve[:-1], curve[1:], counts, strict=True)
    ]
    return np.concatenate([*pieces, curve[-1:]])


def bend(points: Sequence[tuple[float, float]], count: int = 64) -> Curve:
    """A smooth curve of `count` points through `points`, shape (count, 2)."""
    knots = np.asarray(points, float)
    positions = np.r_[0, np.cumsum(np.sqrt(np.hypot(*np.diff(knots, axis=0).T)))]
    spline = CubicSpline(positions, knots, axis=0)
    return np.asarray(spline(np.linspace(0, positions[-1], count)), float)


def vessel_side(heights: Sequence[float], radii: Sequence[float]) -> Curve:
    """The outer side of a vessel from bottom to top: (radius, height) pairs, shape (96, 2)."""
    y = np.linspace(heights[0], heights[-1], 96)
    return np.stack([PchipInterpolator(heights, radii)(y), y], axis=1)


@dataclass(frozen=True)
class Vessel:
    """Distance tables of a turned vessel: its wall, its hollow, and a filling up to some level."""

    wall: Field
    hollow: Field
    filling: Field


def turn_vessel(
    side: Curve, thickness: float, level: float | None = None, floor: float = 0.0
) -> Vessel:
    """A hollow vessel, open at the top.

    The wall has the same thickness everywhere, because the inside is the outside offset by
    distance, not by radius. The inside ends at the height `floor` with a rounded corner.

    Args:
        side: (radius, height) pairs of the outer side.
        thickness: of the wall.
        level: height of a liquid in it; None fills it to the top.
        floor: height of the inside's bottom.
    """
    top, below = side[-1], side[-4]
    lean = (top - below) / np.hypot(*(top - below))
    beyond = top + lean * 0.4
    base = np.array([[0.0, side[0, 1]]])
    closed = _resample(np.concatenate([base, side, [[0.0, top[1]]]]))
    opened = _resample(np.concatenate([base, side, [beyond]]))
    u, v, left, bottom = _grid(closed, _MARGIN)
    points = np.stack([np.abs(u).ravel(), v.ravel()], 1).astype(float)
    outer = _nearest(closed, False, points).signed.reshape(u.shape)
    inner = _nearest(opened, False, points).signed.reshape(u.shape) + np.float32(thickness)
    inner = _rounded_intersection(inner, np.float32(max(floor, side[0, 1] + thickness)) - v, 0.12)
    wall = _soften(np.maximum(outer, -inner))
    surface = v - np.float32(top[1] if level is None else level)
    return Vessel(
        Field(wall, left, bottom),
        Field(inner, left, bottom),
        Field(np.maximum(inner - np.float32(thickness * 0.3), surface), left, bottom),
    )


def _soften(table: Floats) -> Floats:
    """The table with its sharpest edges rounded to the size of a cell."""
    return np.asarray(cv2.GaussianBlur(table, (0, 0), 0.8), np.float32)


def _rounded_intersection(first: Floats, second: Floats, radius: float) -> Floats:
    """Distance to the intersection of two bodies, with a rounded edge between them."""
    overlap = np.maximum(np.float32(radius) - np.abs(first - second), 0)
    return np.asarray(np.maximum(first, second) + overlap**2 * (0.25 / radius), np.float32)


def turn_solid(side: Curve) -> Field:
    """Distance table of a solid turned body with the given outer side, closed at the top."""
    base, top = [[0.0, side[0, 1]]], [[0.0, side[-1, 1]]]
    closed = _resample(np.concatenate([base, side, top]))
    u, v, left, bottom = _grid(closed, _MARGIN)
    points = np.stack([np.abs(u).ravel(), v.ravel()], 1).astype(float)
    signed = _nearest(closed, False, points).signed.reshape(u.shape)
    return Field(_soften(signed), left, bottom)


def outline(points: Curve) -> Field:
    """Distance table of a closed shape in the plane; its points run counter-clockwise."""
    curve = _resample(np.concatenate([points, points[:1]]))[:-1]
    u, v, left, bottom = _grid(curve, _MARGIN)
    grid = np.stack([u.ravel(), v.ravel()], 1).astype(float)
    signed = _nearest(curve, True, grid).signed.reshape(u.shape)
    return Field(_soften(signed), left, bottom)


def rod(curve: Curve, radii: npt.NDArray[np.float64]) -> Field:
    """Table of the unsigned distance to a curve, and of the radius at its nearest point."""
    dense = _resample(curve)
    along = np.interp(np.linspace(0, 1, len(dense)), np.linspace(0, 1, len(radii)), radii)
    u, v, left, bottom = _grid(dense, _MARGIN + float(radii.max()))
    nearest = _nearest(dense, False, np.stack([u.ravel(), v.ravel()], 1).astype(float))
    thick = np.interp(nearest.vertex, np.arange(len(along)), along).astype(np.float32)
    width = cv2.GaussianBlur(thick.reshape(u.shape), (0, 0), 1.0)
    return Field(np.dstack([nearest.distance.reshape(u.shape), width]), left, bottom)

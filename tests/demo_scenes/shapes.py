"""Solids as signed distance functions, for the rendered demo scenes.

A solid consists of a few primitives. Most of them come from one curve: a lathe (a curve turned
around the y axis), an extrusion (a closed curve with a width along z) and a sweep (a curve with a
radius). Points are float32 arrays of shape (3, N): x right, y up, z towards the viewer, in
decimetres. Distances are float32 of shape (N,), negative inside.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.data.pixels import Floats
from tests.demo_scenes.curves import Curve, Field, rod

Points = npt.NDArray[np.float32]
Distance = Callable[[Points], Floats]
Paint = Callable[[Points], Floats]


def rotate(matrix: npt.NDArray[np.float32], points: Points) -> Points:
    """The product of a matrix (rows, 3) with points (3, N), bit for bit equal on every machine.

    `matrix @ points` may split or fuse the sum differently, and may start threads.
    """
    m = np.asarray(matrix, np.float32)[:, :, None]
    return np.asarray(m[:, 0] * points[0] + m[:, 1] * points[1] + m[:, 2] * points[2], np.float32)


@dataclass(frozen=True)
class Material:
    """A part's two linear RGB colours, mixed by `paint`, and its reflection.

    `paint` maps local points to the weight 0..1 of `second`. `gloss` is the share of light that a
    facing surface reflects (0.04 glaze, above 0.5 metal). `roughness` 0..1 blurs the reflection,
    `metal` tints it with the colour. `clear` 0..1 is the transparency.
    """

    color: tuple[float, float, float]
    second: tuple[float, float, float] = (0.0, 0.0, 0.0)
    paint: Paint | None = None
    gloss: float = 0.04
    roughness: float = 0.2
    metal: float = 0.0
    clear: float = 0.0


@dataclass(frozen=True)
class Part:
    """A primitive with its material; `blend` is the radius of the fillet to earlier parts."""

    distance: Distance
    material: Material
    blend: float = 0.0


@dataclass(frozen=True)
class Solid:
    """Parts with one pose, bounded by the box `low`..`high` in their own frame.

    `rotation` (3 x 3) and `position` (3,) map own coordinates to the scene:
    `rotation @ own + position`.
    """

    parts: tuple[Part, ...]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    rotation: npt.NDArray[np.float32] = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    position: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(3, np.float32))

    def to_own(self, points: Points) -> Points:
        """Scene points in the solid's own frame."""
        return rotate(self.rotation.T, points - self.position[:, None])

    @cached_property
    def corners(self) -> Points:
        """The eight corners of the bounding box in the scene, shape (3, 8)."""
        ends = np.stack([self.low, self.high])
        picks = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)])
        own = np.stack([ends[picks[:, axis], axis] for axis in range(3)])
        return rotate(self.rotation, own) + self.position[:, None]

    @cached_property
    def shell(self) -> Points:
        """Scene points on and inside the solid, shape (3, N), which the camera must frame."""
        axes = [np.linspace(a, b, 26) for a, b in zip(self.low, self.high, strict=True)]
        grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")]).astype(np.float32)
        near = grid[:, self.distance(grid) < 0.015 * np.linalg.norm(self.high - self.low)]
        return rotate(self.rotation, near) + self.position[:, None]

    def distance(self, own: Points) -> Floats:
        """Signed distance (N,) to the solid from points in its own frame."""
        total = self.parts[0].distance(own)
        for part in self.parts[1:]:
            total = _union(total, part.distance(own), part.blend)
        return total

    def nearest_part(self, own: Points) -> npt.NDArray[np.intp]:
        """Index of the part that each point lies on, (N,)."""
        if len(self.parts) == 1:
            return np.zeros(own.shape[1], np.intp)
        distances = np.stack([part.distance(own) for part in self.parts])
        return np.asarray(distances.argmin(0), np.intp)


def _union(first: Floats, second: Floats, blend: float) -> Floats:
    """Distance to two bodies together, with a fillet of radius `blend` between them."""
    nearer = np.minimum(first, second)
    if blend > 0:
        overlap = np.maximum(np.float32(blend) - np.abs(first - second), 0)
        nearer -= overlap * overlap * np.float32(0.25 / blend)
    return nearer


def lathe(table: Field, square: float = 0.0, ribs: int = 0, depth: float = 0.0) -> Distance:
    """A table turned around y.

    It is nearly square below the height `square`, and has `ribs` vertical ribs of `depth`.
    """

    def distance(points: Points) -> Floats:
        x, y, z = points
        radius = np.sqrt(x * x + z * z)
        if square:
            boxy = (x**6 + z**6) ** np.float32(1 / 6)
            radius += (boxy - radius) * np.clip((square * 1.25 - y) / (square * 0.25), 0, 1)
        found = table(radius, y)
        if ribs:
            swell = np.cos(np.arctan2(z, x) * np.float32(ribs)) * np.float32(depth)
            found = found - swell * np.clip(radius * 4, 0, 1) * np.clip(y * 5 - 0.4, 0, 1)
        # A square section and ribs stretch the table, so shorter steps keep the ray outside.
        return found * np.float32(0.75) if square or ribs else found

    return distance


def extrude(table: Field, half_width: float, rounding: float) -> Distance:
    """A shape in the xy plane with a width along z and rounded edges."""

    def distance(points: Points) -> Floats:
        across = table(points[0], points[1]) + np.float32(rounding)
        along = np.abs(points[2]) - np.float32(half_width - rounding)
        outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(along, 0) ** 2)
        inside = np.minimum(np.maximum(across, along), 0)
        return np.asarray(outside + inside - np.float32(rounding), np.float32)

    return distance


def sweep(curve: Curve, radii: Curve, flat: float = 1.0) -> Distance:
    """A rod along a curve in the xy plane, with `radii` along it and `flat` times these in z."""
    table = rod(curve, radii)

    def distance(points: Points) -> Floats:
        off, width = table.channels(points[0], points[1])
        side = points[2] * np.float32(1 / flat)
        return np.asarray(np.sqrt(off * off + side * side) - width, np.float32)

    return distance


def ellipsoid(radii: tuple[float, float, float], center: tuple[float, float, float]) -> Distance:
    """An ellipsoid by its half axes."""
    r = np.asarray(radii, np.float32)[:, None]
    c = np.asarray(center, np.float32)[:, None]

    def distance(points: Points) -> Floats:
        scaled = (points - c) / r
        length = np.sqrt((scaled * scaled).sum(0))
        slope = np.sqrt(((scaled / r) ** 2).sum(0))
        return np.asarray(length * (length - 1) / np.maximum(slope, 1e-6), np.float32)

    return distance


def block(half: tuple[float, float, float], rounding: float, center_y: float) -> Distance:
    """A box with rounded edges, by its half sides and the height of its centre."""
    h = np.asarray(half, np.float32)[:, None] - np.float32(rounding)
    c = np.array([[0.0], [center_y], [0.0]], np.float32)

    def distance(points: Points) -> Floats:
        over = np.abs(points - c) - h
        outside = np.sqrt((np.maximum(over, 0) ** 2).sum(0))
        return np.asarray(outside + np.minimum(over.max(0), 0) - rounding, np.float32)

    return distance


def without(part: Distance, hollow: Distance) -> Distance:
    """A part without what lies in a hollow."""
    return lambda points: np.maximum(part(points), -hollow(points))


def ring(radius: float, y: float, thick: float) -> Curve:
    """The side of a ring or lid with a rounded edge, of half height `thick` at height `y`."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 16)
    return np.stack([radius - thick + thick * np.cos(turn), y + thick * np.sin(turn)], axis=1)


def bounded(parts: list[Part]) -> Solid:
    """The parts as one solid with its bounding box, found with two grids of probes."""
    low, high = np.array([-2.2, -0.2, -2.2]), np.array([2.2, 3.4, 2.2])
    for count in (34, 40):
        step = (high - low) / (count - 1)
        axes = [a + s * np.arange(count) for a, s in zip(low, step, strict=True)]
        grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")]).astype(np.float32)
        probe = Solid(tuple(parts), low, high)
        # No surface is farther from its nearest grid point than half a cell's diagonal.
        inside = grid[:, probe.distance(grid) < 0.51 * np.linalg.norm(step)]
        low, high = inside.min(1) - 0.5 * step, inside.max(1) + 0.5 * step
    return replace(probe, low=low.astype(np.float32), high=high.astype(np.float32))

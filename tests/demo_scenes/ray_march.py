"""Ray marching through solids: first hits, soft shadows and visible sky.

Each query handles one solid after another, and only the rays that meet its bounds. So the cost of a
scene depends on the area that its objects cover, not on the size of the picture.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.data.pixels import Floats
from tests.demo_scenes.curves import CELL
from tests.demo_scenes.shapes import Points, Solid, rotate

Indices = npt.NDArray[np.intp]

_HIT = 0.0015
_STEPS = 90
_SHADOW_STEPS = 48
_SHADOW_REACH = 0.5
_SKY_REACH = 0.9


def first_hit(
    solids: Sequence[Solid], origin: Points, directions: Points
) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Distance along each ray to the nearest solid (inf for none) and the solid's index (-1).

    `origin` is (3, 1) or (3, N), `directions` unit vectors (3, N).
    """
    nearest = np.full(directions.shape[1], np.inf, np.float32)
    which = np.full(directions.shape[1], -1, np.intp)
    for index, solid in enumerate(solids):
        start, heading = solid.to_own(origin), rotate(solid.rotation.T, directions)
        enter, leave = _box_span(solid, start, heading)
        rays = np.flatnonzero((leave > enter) & (enter < nearest))
        if start.shape[1] > 1:
            start = start[:, rays]
        found = _ray_march(solid, start, heading[:, rays], enter[rays], leave[rays])
        closer = found < nearest[rays]
        nearest[rays[closer]] = found[closer]
        which[rays[closer]] = index
    return nearest, which


def _box_span(solid: Solid, start: Points, heading: Points) -> tuple[Floats, Floats]:
    """Where rays enter and leave the solid's bounding box; leave <= enter for a miss."""
    safe = np.where(np.abs(heading) < 1e-7, np.float32(1e-7), heading)
    first = (solid.low[:, None] - start) / safe
    second = (solid.high[:, None] - start) / safe
    enter = np.minimum(first, second).max(0)
    leave = np.maximum(first, second).min(0)
    return np.maximum(enter, np.float32(1e-3)), leave


def _ray_march(
    solid: Solid, start: Points, heading: Points, enter: Floats, leave: Floats
) -> Floats:
    """The distance at which each ray meets the solid between `enter` and `leave`; inf for none."""
    found = np.full(enter.shape, np.inf, np.float32)
    rays = np.arange(enter.size)
    travelled = enter.copy()
    for _ in range(_STEPS):
        if rays.size == 0:
            break
        away = solid.distance(start + heading * travelled)
        hit = away < _HIT
        found[rays[hit]] = travelled[hit]
        travelled = travelled + away * np.float32(0.92)
        active = ~hit & (travelled < leave)
        rays, travelled, leave = rays[active], travelled[active], leave[active]
        heading = heading[:, active]
        if start.shape[1] > 1:
            start = start[:, active]
    # A ray that still follows a silhouette after the last step counts as a hit.
    found[rays] = travelled
    return found


def normals(solid: Solid, own: Points) -> Points:
    """Outward unit normals at surface points, all in the solid's own frame."""
    step = np.float32(CELL)
    slope = np.empty_like(own)
    for axis in range(3):
        offset = np.zeros((3, 1), np.float32)
        offset[axis] = step
        slope[axis] = solid.distance(own + offset) - solid.distance(own - offset)
    length = np.sqrt((slope * slope).sum(0))
    return np.asarray(slope / np.maximum(length, 1e-9), np.float32)


def light_shares(
    solids: Sequence[Solid], points: Points, toward: Points, softness: float
) -> list[Floats]:
    """Share 0..1 of the light that reaches each point past each solid, one array per solid.

    `toward` are unit vectors (3, N) to the light's centre. `softness` is its half width seen from
    the scene (tangent). The signed nearest approach of a ray gives the covered share of a round
    light on both sides of the silhouette, so penumbras are symmetric.
    """
    shares = []
    for solid in solids:
        middle = solid.corners.mean(1, keepdims=True)
        radius = float(np.sqrt(((solid.corners - middle) ** 2).sum(0)).max())
        offset = middle - points
        along = (offset * toward).sum(0)
        apart = np.sqrt(np.maximum((offset * offset).sum(0) - along * along, 0))
        extent = radius + softness * np.maximum(along, 0)
        rays = np.flatnonzero((apart < extent) & (along > -radius))
        share = np.ones(points.shape[1], np.float32)
        half = np.sqrt(np.maximum(extent[rays] ** 2 - apart[rays] ** 2, 0))
        enter = np.maximum(along[rays] - half, np.float32(0.03))
        own = solid.to_own(points[:, rays])
        heading = rotate(solid.rotation.T, toward[:, rays])
        share[rays] = _uncovered(solid, own, heading, (enter, along[rays] + half), softness)
        shares.append(share)
    return shares


def _uncovered(
    solid: Solid, start: Points, heading: Points, span: tuple[Floats, Floats], softness: float
) -> Floats:
    """Share 0..1 of a round light that passes the solid; `span` is where rays enter and leave."""
    travelled, leave = span
    nearest = np.ones(leave.shape, np.float32)
    rays = np.arange(leave.size)
    for _ in range(_SHADOW_STEPS):
        if rays.size == 0:
            break
        away = solid.distance(start + heading * travelled)
        nearest[rays] = np.minimum(nearest[rays], away / (softness * travelled))
        step = np.clip(np.abs(away) * 0.7, 0.012 + 0.02 * travelled, _SHADOW_REACH)
        travelled = np.asarray(travelled + step, np.float32)
        active = (nearest[rays] > -1) & (travelled < leave)
        rays, travelled, leave = rays[active], travelled[active], leave[active]
        start, heading = start[:, active], heading[:, active]
    nearest = np.maximum(nearest, -1)
    return np.asarray(0.25 * (1 + nearest) ** 2 * (2 - nearest), np.float32)


def sky_shares(
    solids: Sequence[Solid], points: Points, directions: Sequence[Points]
) -> list[Floats]:
    """Share 0..1 of a wide cone around each direction (3, N) that no solid covers."""
    shares = [np.ones(points.shape[1], np.float32) for _ in directions]
    for solid in solids:
        own = solid.to_own(points)
        low, high = solid.low[:, None] - _SKY_REACH, solid.high[:, None] + _SKY_REACH
        near = np.flatnonzero(((own > low) & (own < high)).all(0))
        if near.size == 0:
            continue
        own = own[:, near]
        for share, direction in zip(shares, directions, strict=True):
            heading = rotate(solid.rotation.T, direction[:, near])
            free = np.ones(near.size, np.float32)
            for length in (0.08, 0.27, _SKY_REACH):
                away = solid.distance(own + heading * np.float32(length))
                # Farther along the cone a solid matters less, so that the effect has no edge.
                weight = 1 - 0.5 * length / _SKY_REACH
                free = np.minimum(free, 1 - weight * (1 - np.clip(away / (0.55 * length), 0, 1)))
            share[near] *= free
    return shares

"""What a camera's rays see in a demo scene: solids, glass, floor, walls and their reflections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.demo_scenes.curves import Floats
from models.demo_scenes.light import Scene, albedo_of, around, fill_light, key_light, mirror, unit
from models.demo_scenes.ray_march import first_hit, normals
from models.demo_scenes.shapes import Material, Points, Solid, rotate
from models.demo_scenes.textures import Color, Surface, mix

Flags = npt.NDArray[np.bool_]

# Blocks whose arrays stay in the cache, and below the size from which malloc maps fresh pages.
_BLOCK = 32768


@dataclass(frozen=True)
class Seen:
    """What rays found: linear colour (3, N), distance (N,), solid index (N,), -1 for the room."""

    color: Color
    distance: Floats
    solid: npt.NDArray[np.intp]


def look(scene: Scene, origin: Points, directions: Points, spread: float) -> Seen:
    """Colour and geometry along rays from `origin` (3, 1); `spread` is the angle of a pixel."""
    blocks = np.array_split(directions, -(-directions.shape[1] // _BLOCK), axis=1)
    seen = [_look(scene, origin, np.ascontiguousarray(block), spread) for block in blocks]
    return Seen(
        np.concatenate([s.color for s in seen], axis=1),
        np.concatenate([s.distance for s in seen]),
        np.concatenate([s.solid for s in seen]),
    )


def _look(scene: Scene, origin: Points, directions: Points, spread: float) -> Seen:
    distance, which = first_hit(scene.solids, origin, directions)
    color = np.zeros(directions.shape, np.float32)
    room = np.flatnonzero(which < 0)
    color[:, room], distance[room] = _room(scene, origin, directions[:, room], spread)
    for index, solid in enumerate(scene.solids):
        rays = np.flatnonzero(which == index)
        if rays.size:
            points = origin + directions[:, rays] * distance[rays]
            color[:, rays] = _solid(scene, solid, points, directions[:, rays])
    return Seen(color, distance, which)


def _solid(scene: Scene, solid: Solid, points: Points, directions: Points) -> Color:
    own = solid.to_own(points)
    own_normal = normals(solid, own)
    normal = rotate(solid.turn, own_normal)
    away = -(normal * directions).sum(0)
    normal = normal + directions * np.maximum(-away, 0)
    owner = solid.nearest_part(own)
    color = np.zeros(points.shape, np.float32)
    lifted = points + normal * np.float32(0.012)
    for index, part in enumerate(solid.parts):
        at = np.flatnonzero(owner == index)
        if at.size == 0:
            continue
        albedo, plain = albedo_of(part.material, own[:, at])
        lamp = key_light(scene, lifted[:, at], normal[:, at])
        fill = fill_light(scene, lifted[:, at], normal[:, at], albedo)
        matter = albedo * (1 - part.material.metal) * (lamp + fill)
        if part.material.clear:
            through = _through(scene, points[:, at], directions[:, at], normal[:, at], albedo)
            matter = mix(matter, through, part.material.clear * plain)
        shine = _shine(scene, part.material, albedo, (fill, directions[:, at], normal[:, at]))
        color[:, at] = matter + shine
    return color


def _shine(
    scene: Scene, material: Material, albedo: Color, at: tuple[Color, Points, Points]
) -> Color:
    """Mirrored surroundings, stronger at grazing angles (Schlick), dimmed where sky is hidden."""
    fill, directions, normal = at
    facing = np.clip(-(directions * normal).sum(0), 0, 1)
    edge = (1 - facing) ** 5 * (1 - 0.8 * material.roughness)
    shown = around(scene, mirror(directions, normal), material.roughness)
    open_sky = np.maximum(scene.light.sky.mean(), 1e-3)
    dim = np.clip(fill.mean(0) / open_sky * 1.3, 0, 1)
    if material.metal:
        return np.asarray(shown * dim * (albedo + (1 - albedo) * edge) * 0.95, np.float32)
    share = material.gloss + (0.6 if material.gloss > 0.03 else 0.15) * edge
    return np.asarray(shown * dim * share, np.float32)


def _through(
    scene: Scene, points: Points, directions: Points, normal: Points, tint: Color
) -> Color:
    """The room behind glass, bent by the near face and coloured by the way through it."""
    facing = np.clip(-(directions * normal).sum(0), 0.05, 1)
    bent = unit(directions - normal * (0.30 * (1 - facing)) + 1e-6)
    bent[1] = np.minimum(bent[1], directions[1] + 0.2)
    color, _ = _room(scene, points, bent, 0.01)
    way = 0.55 + 1.5 * (1 - facing) ** 1.5
    return np.asarray(color * np.maximum(tint, 1e-3) ** way, np.float32)


def _room(scene: Scene, origin: Points, directions: Points, spread: float) -> tuple[Color, Floats]:
    """Colour of floor and walls along rays, and the distance to them."""
    turn = _turn(scene.turn)
    start, heading = rotate(turn, origin), rotate(turn, directions)
    safe = np.where(np.abs(heading) < 1e-6, np.float32(1e-6), heading)
    # Rays leave the room through its far side, so a camera outside sees through the near wall.
    walls = (np.sign(safe) * np.float32(scene.room) - start) / safe
    to_wall = np.minimum(walls[0], walls[2])
    to_floor = np.where(heading[1] < -1e-6, -start[1] / safe[1], np.inf)
    travelled = np.minimum(to_wall, to_floor).astype(np.float32)
    inside = start + heading * travelled
    level = to_floor <= to_wall
    color = np.zeros(directions.shape, np.float32)
    for surface, at in ((scene.floor, level), (scene.wall, ~level)):
        rays = np.flatnonzero(at)
        if rays.size:
            on_x = walls[0, rays] <= walls[2, rays]
            spot = _Spot(inside[:, rays], heading[:, rays], level[rays], on_x)
            color[:, rays] = _shade_room(scene, surface, spot, travelled[rays] * spread)
    return color, travelled


def _turn(angle: float) -> Points:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]], np.float32)


@dataclass(frozen=True)
class _Spot:
    """Points on floor (`level`) or walls (`on_x`: those at the ends of x), in the room's frame."""

    inside: Points
    heading: Points
    level: Flags
    on_x: Flags

    @property
    def frame(self) -> tuple[Points, Points, Points]:
        """The surface's own u, v and normal directions, each (3, N)."""
        zero = np.zeros(self.on_x.size, np.float32)
        one = zero + 1
        ends, floor = self.on_x & ~self.level, self.level
        u = np.stack([np.where(ends, 0, one), zero, np.where(ends, one, 0)])
        v = np.stack([zero, np.where(floor, 0, one), np.where(floor, one, 0)])
        wall = np.where(self.level, 0, -np.sign(self.inside))
        out = np.stack([
            np.where(ends, wall[0], 0), np.where(floor, one, 0), np.where(ends, 0, wall[2]),
        ])  # fmt: skip
        return u, v, out.astype(np.float32)


def _shade_room(scene: Scene, surface: Surface, spot: _Spot, footprint: Floats) -> Color:
    """Light leaving floor or wall points towards the camera; `footprint` is a pixel's width."""
    albedo, relief = _relief(surface, spot, footprint)
    gap = scene.room - np.maximum(np.abs(spot.inside[0]), np.abs(spot.inside[2]))
    gap = np.where(spot.level, gap, spot.inside[1])
    if surface.cove:
        relief = _cove(surface, spot, relief, gap)
    back = _turn(-scene.turn)
    points, normal = rotate(back, spot.inside), unit(rotate(back, relief))
    lamp = key_light(scene, points, normal)
    fill = fill_light(scene, points, normal, albedo)
    if not surface.cove:
        fill *= 1 - 0.35 * np.exp(-np.maximum(gap, 0) / 0.45)
    color = albedo * (lamp + fill)
    if surface.gloss:
        directions = rotate(back, spot.heading)
        facing = np.clip(-(directions * normal).sum(0), 0, 1)
        share = surface.gloss + 0.5 * (1 - surface.roughness) * (1 - facing) ** 5
        color = color + share * _mirrored(scene, surface, (points, directions, normal))
    return np.asarray(color, np.float32)


def _relief(surface: Surface, spot: _Spot, footprint: Floats) -> tuple[Color, Points]:
    """Colour of the surface, and its normal bent by the slope of its height."""
    along_u, along_v, flat = spot.frame
    u, v = (spot.inside * along_u).sum(0), (spot.inside * along_v).sum(0)
    wide = footprint / np.clip(-(spot.heading * flat).sum(0), 0.08, 1)
    albedo, height = surface.texture(u, v, wide)
    step = np.maximum(wide, np.float32(0.012))
    slope_u = (surface.texture(u + step, v, wide)[1] - height) / step
    slope_v = (surface.texture(u, v + step, wide)[1] - height) / step
    return albedo, np.asarray(flat - along_u * slope_u - along_v * slope_v, np.float32)


def _cove(surface: Surface, spot: _Spot, relief: Points, gap: Floats) -> Points:
    """Normals of floor and wall turned towards each other near their seam, as in bent paper."""
    lift = 0.5 * np.clip(1 - gap / surface.cove, 0, 1) ** 1.5
    first = np.abs(spot.inside[0]) > np.abs(spot.inside[2])
    inwards = -np.sign(spot.inside) * np.stack([first, np.zeros_like(first), ~first])
    up = np.array([[0], [1], [0]], np.float32)
    other = np.where(spot.level, inwards, up)
    return np.asarray(relief * (1 - lift) + other * lift, np.float32)


def _mirrored(scene: Scene, surface: Surface, at: tuple[Points, Points, Points]) -> Color:
    """What a polished floor or wall shows: the surroundings, and the solids standing near."""
    points, directions, normal = at
    heading = unit(mirror(directions, normal))
    color = around(scene, heading, surface.roughness)
    away, which = first_hit(scene.solids, points + normal * np.float32(0.01), heading)
    for index, solid in enumerate(scene.solids):
        rays = np.flatnonzero(which == index)
        if rays.size:
            own = solid.to_own(points[:, rays] + heading[:, rays] * away[rays])
            owner = solid.nearest_part(own)
            for number, part in enumerate(solid.parts):
                some = np.flatnonzero(owner == number)
                albedo, _ = albedo_of(part.material, own[:, some])
                lit = scene.light.sky * 0.8 + scene.light.key * 0.25
                color[:, rays[some]] = albedo * lit[:, None]
    return color

"""The colours along a camera's rays: solids, glass, floor, walls and their reflections."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.data.pixels import Bools, Floats
from tests.demo_scenes.light import (
    Scene,
    albedo_of,
    environment,
    fill_light,
    key_light,
    normalize,
    reflect,
)
from tests.demo_scenes.ray_march import first_hit, normals
from tests.demo_scenes.shapes import Material, Points, Solid, rotate
from tests.demo_scenes.textures import Color, Surface, mix

# Rays per block: arrays fit into the CPU cache, and malloc does not map new pages for them.
_BLOCK = 32768


@dataclass(frozen=True)
class Shaded:
    """Per ray its linear colour (3, N), distance (N,) and solid index (N,), -1 for the room."""

    color: Color
    distance: Floats
    solid: npt.NDArray[np.intp]


def shade(scene: Scene, origin: Points, directions: Points, spread: float) -> Shaded:
    """Colour and geometry along rays from `origin` (3, 1).

    `directions` are unit vectors (3, N). `spread` is the angle of a pixel in radians.
    """
    blocks = np.array_split(directions, -(-directions.shape[1] // _BLOCK), axis=1)
    shaded = [_shade_block(scene, origin, np.ascontiguousarray(block), spread) for block in blocks]
    return Shaded(
        np.concatenate([block.color for block in shaded], axis=1),
        np.concatenate([block.distance for block in shaded]),
        np.concatenate([block.solid for block in shaded]),
    )


def _shade_block(scene: Scene, origin: Points, directions: Points, spread: float) -> Shaded:
    distance, which = first_hit(scene.solids, origin, directions)
    color = np.zeros(directions.shape, np.float32)
    room = np.flatnonzero(which < 0)
    color[:, room], distance[room] = _trace_room(scene, origin, directions[:, room], spread)
    for index, solid in enumerate(scene.solids):
        rays = np.flatnonzero(which == index)
        if rays.size:
            points = origin + directions[:, rays] * distance[rays]
            color[:, rays] = _shade_solid(scene, solid, points, directions[:, rays])
    return Shaded(color, distance, which)


def _shade_solid(scene: Scene, solid: Solid, points: Points, directions: Points) -> Color:
    """Colour of a solid at points (3, N) that rays with these directions hit."""
    own = solid.to_own(points)
    own_normal = normals(solid, own)
    normal = rotate(solid.rotation, own_normal)
    away = -(normal * directions).sum(0)
    normal = normal + directions * np.maximum(-away, 0)
    owner = solid.nearest_part(own)
    color = np.zeros(points.shape, np.float32)
    lifted = points + normal * np.float32(0.012)
    for index, part in enumerate(solid.parts):
        hits = np.flatnonzero(owner == index)
        if hits.size == 0:
            continue
        albedo, plain = albedo_of(part.material, own[:, hits])
        lamp = key_light(scene, lifted[:, hits], normal[:, hits])
        fill = fill_light(scene, lifted[:, hits], normal[:, hits], albedo)
        diffuse = albedo * (1 - part.material.metal) * (lamp + fill)
        if part.material.clear:
            through = _refract(scene, points[:, hits], directions[:, hits], normal[:, hits], albedo)
            diffuse = mix(diffuse, through, part.material.clear * plain)
        gloss = _reflection(
            scene, part.material, albedo, (fill, directions[:, hits], normal[:, hits])
        )
        color[:, hits] = diffuse + gloss
    return color


def _reflection(
    scene: Scene, material: Material, albedo: Color, geometry: tuple[Color, Points, Points]
) -> Color:
    """Reflected surroundings, stronger at grazing angles (Schlick), darker where sky is hidden.

    `geometry` holds the fill light, the directions and the normals, each (3, N).
    """
    fill, directions, normal = geometry
    facing = np.clip(-(directions * normal).sum(0), 0, 1)
    edge = (1 - facing) ** 5 * (1 - 0.8 * material.roughness)
    reflected = environment(scene, reflect(directions, normal), material.roughness)
    open_sky = np.maximum(scene.light.sky.mean(), 1e-3)
    dim = np.clip(fill.mean(0) / open_sky * 1.3, 0, 1)
    if material.metal:
        return np.asarray(reflected * dim * (albedo + (1 - albedo) * edge) * 0.95, np.float32)
    share = material.gloss + (0.6 if material.gloss > 0.03 else 0.15) * edge
    return np.asarray(reflected * dim * share, np.float32)


def _refract(
    scene: Scene, points: Points, directions: Points, normal: Points, tint: Color
) -> Color:
    """The room behind glass, refracted by the near face and tinted by the path through it."""
    facing = np.clip(-(directions * normal).sum(0), 0.05, 1)
    bent = normalize(directions - normal * (0.30 * (1 - facing)) + 1e-6)
    bent[1] = np.minimum(bent[1], directions[1] + 0.2)
    color, _ = _trace_room(scene, points, bent, 0.01)
    path = 0.55 + 1.5 * (1 - facing) ** 1.5
    return np.asarray(color * np.maximum(tint, 1e-3) ** path, np.float32)


def _trace_room(
    scene: Scene, origin: Points, directions: Points, spread: float
) -> tuple[Color, Floats]:
    """Colour of floor and walls along rays (3, N), and the distance to them (N,)."""
    turn = _rotation_about_y(scene.rotation)
    start, heading = rotate(turn, origin), rotate(turn, directions)
    safe = np.where(np.abs(heading) < 1e-6, np.float32(1e-6), heading)
    # Only the far side of the room stops rays, so a camera outside sees through the near wall.
    walls = (np.sign(safe) * np.float32(scene.room) - start) / safe
    to_wall = np.minimum(walls[0], walls[2])
    to_floor = np.where(heading[1] < -1e-6, -start[1] / safe[1], np.inf)
    travelled = np.minimum(to_wall, to_floor).astype(np.float32)
    inside = start + heading * travelled
    level = to_floor <= to_wall
    color = np.zeros(directions.shape, np.float32)
    for surface, hit in ((scene.floor, level), (scene.wall, ~level)):
        rays = np.flatnonzero(hit)
        if rays.size:
            on_x = walls[0, rays] <= walls[2, rays]
            spot = _RoomPoints(inside[:, rays], heading[:, rays], level[rays], on_x)
            color[:, rays] = _shade_room(scene, surface, spot, travelled[rays] * spread)
    return color, travelled


def _rotation_about_y(angle: float) -> Points:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]], np.float32)


@dataclass(frozen=True)
class _RoomPoints:
    """Points on floor (`level`) or walls (`on_x`: at the ends of x), in the room's frame."""

    inside: Points
    heading: Points
    level: Bools
    on_x: Bools

    @property
    def frame(self) -> tuple[Points, Points, Points]:
        """The surface's own u, v and normal directions, each (3, N)."""
        zero = np.zeros(self.on_x.size, np.float32)
        ones = zero + 1
        ends, floor = self.on_x & ~self.level, self.level
        u = np.stack([np.where(ends, 0, ones), zero, np.where(ends, ones, 0)])
        v = np.stack([zero, np.where(floor, 0, ones), np.where(floor, ones, 0)])
        wall = np.where(self.level, 0, -np.sign(self.inside))
        out = np.stack([
            np.where(ends, wall[0], 0), np.where(floor, ones, 0), np.where(ends, 0, wall[2]),
        ])  # fmt: skip
        return u, v, out.astype(np.float32)


def _shade_room(scene: Scene, surface: Surface, spot: _RoomPoints, footprint: Floats) -> Color:
    """Light from floor or wall points to the camera; `footprint` is a pixel's width there."""
    albedo, relief = _bumped_normals(surface, spot, footprint)
    gap = scene.room - np.maximum(np.abs(spot.inside[0]), np.abs(spot.inside[2]))
    gap = np.where(spot.level, gap, spot.inside[1])
    if surface.cove:
        relief = _cove_normals(surface, spot, relief, gap)
    back = _rotation_about_y(-scene.rotation)
    points, normal = rotate(back, spot.inside), normalize(rotate(back, relief))
    lamp = key_light(scene, points, normal)
    fill = fill_light(scene, points, normal, albedo)
    if not surface.cove:
        fill *= 1 - 0.35 * np.exp(-np.maximum(gap, 0) / 0.45)
    color = albedo * (lamp + fill)
    if surface.gloss:
        directions = rotate(back, spot.heading)
        facing = np.clip(-(directions * normal).sum(0), 0, 1)
        share = surface.gloss + 0.5 * (1 - surface.roughness) * (1 - facing) ** 5
        color = color + share * _polished_reflection(scene, surface, (points, directions, normal))
    return np.asarray(color, np.float32)


def _bumped_normals(surface: Surface, spot: _RoomPoints, footprint: Floats) -> tuple[Color, Points]:
    """Colour of the surface, and its normals tilted by the slope of its height."""
    along_u, along_v, flat = spot.frame
    u, v = (spot.inside * along_u).sum(0), (spot.inside * along_v).sum(0)
    wide = footprint / np.clip(-(spot.heading * flat).sum(0), 0.08, 1)
    albedo, height = surface.texture(u, v, wide)
    step = np.maximum(wide, np.float32(0.012))
    slope_u = (surface.texture(u + step, v, wide)[1] - height) / step
    slope_v = (surface.texture(u, v + step, wide)[1] - height) / step
    return albedo, np.asarray(flat - along_u * slope_u - along_v * slope_v, np.float32)


def _cove_normals(surface: Surface, spot: _RoomPoints, relief: Points, gap: Floats) -> Points:
    """Normals of floor and wall, tilted towards each other near their seam, as in bent paper."""
    lift = 0.5 * np.clip(1 - gap / surface.cove, 0, 1) ** 1.5
    first = np.abs(spot.inside[0]) > np.abs(spot.inside[2])
    inwards = -np.sign(spot.inside) * np.stack([first, np.zeros_like(first), ~first])
    up = np.array([[0], [1], [0]], np.float32)
    other = np.where(spot.level, inwards, up)
    return np.asarray(relief * (1 - lift) + other * lift, np.float32)


def _polished_reflection(
    scene: Scene, surface: Surface, geometry: tuple[Points, Points, Points]
) -> Color:
    """The reflection in a polished floor or wall: the surroundings, and solids near it.

    `geometry` holds the points, the directions and the normals, each (3, N).
    """
    points, directions, normal = geometry
    heading = normalize(reflect(directions, normal))
    color = environment(scene, heading, surface.roughness)
    away, which = first_hit(scene.solids, points + normal * np.float32(0.01), heading)
    for index, solid in enumerate(scene.solids):
        rays = np.flatnonzero(which == index)
        if rays.size:
            own = solid.to_own(points[:, rays] + heading[:, rays] * away[rays])
            owner = solid.nearest_part(own)
            for number, part in enumerate(solid.parts):
                hits = np.flatnonzero(owner == number)
                albedo, _ = albedo_of(part.material, own[:, hits])
                lit = scene.light.sky * 0.8 + scene.light.key * 0.25
                color[:, rays[hits]] = albedo * lit[:, None]
    return color

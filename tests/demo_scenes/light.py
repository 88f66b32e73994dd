"""Light in the demo scenes: key light, light from sky and room, reflections.

Colours are linear RGB, float32 of shape (3, N). Lengths are decimetres.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.data.pixels import Floats
from tests.demo_scenes.ray_march import light_shares, sky_shares
from tests.demo_scenes.shapes import Material, Points, Solid, rotate
from tests.demo_scenes.textures import Color, Surface, cloud, mix, smoothstep

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Light:
    """A key light at distance `distance` in direction `toward`, and light from the sky.

    `key`, `sky` and `horizon` are colours times strength (3,). `softness` is the key light's half
    width (tangent). `gobo` names what partly blocks it: "" (nothing), "window" or "leaves".
    """

    key: Vector
    toward: Vector
    distance: float
    softness: float
    sky: Vector
    horizon: Vector
    gobo: str = ""


@dataclass(frozen=True)
class Scene:
    """Solids (the first is the labelled one) in a square room around the origin.

    `room` is the distance to the walls, `rotation` the room's angle about y in radians.
    """

    solids: tuple[Solid, ...]
    floor: Surface
    wall: Surface
    room: float
    rotation: float
    light: Light


def normalize(vectors: Points) -> Points:
    """The vectors (3, N) at length 1."""
    length = np.sqrt((vectors * vectors).sum(0))
    return np.asarray(vectors / np.maximum(length, 1e-9), np.float32)


def reflect(directions: Points, normal: Points) -> Points:
    """Directions (3, N) reflected at surfaces with unit normals (3, N)."""
    return np.asarray(directions - 2 * (directions * normal).sum(0) * normal, np.float32)


def key_light(scene: Scene, points: Points, normal: Points) -> Color:
    """Light of the key that reaches points, with distance, shadow, tint of glass and gobo."""
    light = scene.light
    offset = (light.toward * np.float32(light.distance))[:, None] - points
    toward = normalize(offset)
    facing = np.maximum((normal * toward).sum(0), 0)
    lit = np.flatnonzero(facing > 0)
    lamp = np.zeros(points.shape, np.float32)
    strength = facing[lit] * np.float32(light.distance**2) / (offset[:, lit] ** 2).sum(0)
    lamp[:, lit] = light.key[:, None] * strength * _gobo(light, points[:, lit])
    shadows = light_shares(scene.solids, points[:, lit], toward[:, lit], light.softness)
    for solid, share in zip(scene.solids, shadows, strict=True):
        material = solid.parts[0].material
        tint = 0.7 * material.clear * np.asarray(material.color, np.float32) ** 0.6
        lamp[:, lit] *= share + (1 - share) * tint[:, None]
    return lamp


def _gobo(light: Light, points: Points) -> Floats:
    """Share 0..1 of the key light that passes the window frame or leaves."""
    if not light.gobo:
        return np.ones(points.shape[1], np.float32)
    side = np.array([light.toward[2], 0, -light.toward[0]], np.float32)
    side /= np.sqrt((side * side).sum())
    up = np.cross(light.toward, side)
    u, v = rotate(np.stack([side, up]), points)
    if light.gobo == "leaves":
        shade = cloud(u * 0.55 + 3, v * 0.55) + 0.5 * cloud(u * 1.2, v * 1.2 + 9)
        return 0.22 + 0.78 * smoothstep(-0.5, 0.75, shade)
    blur = 0.10 + light.softness * 0.6
    pane_u, pane_v = (
        np.abs((u / 1.9 + 0.5) % 1 - 0.5) * 1.9,
        np.abs((v / 2.3 + 0.4) % 1 - 0.5) * 2.3,
    )
    open_u, open_v = smoothstep(0.04, 0.04 + blur, pane_u), smoothstep(0.04, 0.04 + blur, pane_v)
    outer = smoothstep(2.2 + blur, 2.2, np.abs(u + 0.3)) * smoothstep(2.6 + blur, 2.6, np.abs(v))
    return np.asarray(0.10 + 0.90 * open_u * open_v * outer, np.float32)


def environment(scene: Scene, directions: Points, roughness: float) -> Color:
    """Light from directions (3, N): sky, floor and the bright shape of the key light.

    `roughness` 0..1 blurs it.
    """
    light = scene.light
    up = directions[1]
    ground = scene.floor.mean_color() * (light.key * light.toward[1] * 0.7 + light.sky)
    color = mix(light.horizon, light.sky * 1.15, smoothstep(-0.1, 0.9, up))
    color = mix(ground, color, smoothstep(-0.15 - roughness, 0.05 + roughness, up))
    side = np.array([light.toward[2], 0, -light.toward[0]], np.float32)
    side /= np.sqrt((side * side).sum())
    axes = np.stack([light.toward, side, np.cross(light.toward, side)])
    ahead, u, v = rotate(axes, directions)
    ahead = np.maximum(ahead, 1e-3)
    u, v = np.abs(u) / ahead, np.abs(v) / ahead
    half, blur = 0.12 + 1.1 * light.softness, 0.03 + 0.9 * roughness
    pane = smoothstep(half + blur, half, u) * smoothstep(1.3 * half + blur, 1.3 * half, v)
    if light.gobo == "window" and roughness < 0.25:
        pane *= smoothstep(0.015, 0.05, u) * smoothstep(0.015, 0.05, v)
    pane = np.where(ahead > 1e-3, pane, 0)
    glow = 5.0 / (1 + 8 * roughness) / (0.5 + 4 * light.softness)
    return np.asarray(color + (light.key * np.float32(glow))[:, None] * pane, np.float32)


def fill_light(scene: Scene, points: Points, normal: Points, albedo: Color) -> Color:
    """Light from sky, room and floor that reaches points, without what the solids hide."""
    light = scene.light
    helper = np.where(np.abs(normal[1]) < 0.9, 1.0, 0.0).astype(np.float32)
    across = normalize(
        np.stack([normal[2] * helper + (1 - helper), 0 * helper, -normal[0] * helper])
    )
    across = normalize(across - (across * normal).sum(0) * normal)
    along = np.cross(normal, across, axis=0)
    cones = [normal]
    for angle in np.arange(5) * (2 * np.pi / 5) + 0.3:
        tilt = across * np.float32(np.cos(angle)) + along * np.float32(np.sin(angle))
        cones.append(normalize(np.asarray(normal * 0.55 + tilt * 0.835, np.float32)))
    shares = sky_shares(scene.solids, points, cones)
    ground = scene.floor.mean_color() * (light.key * light.toward[1] * 0.75 + light.sky) * 0.8
    near = np.clip(0.45 + points[1] * 0.8, 0, 1)
    total = np.zeros(points.shape, np.float32)
    for cone, share, weight in zip(cones, shares, (0.3, *[0.14] * 5), strict=True):
        above = mix(light.horizon, light.sky, smoothstep(0, 1, cone[1]))
        color = mix(ground[:, None] * near, above, smoothstep(-0.3, 0.15, cone[1]))
        # Bright solids reflect light where they hide the sky, as the inside of a white bowl does.
        share = share / (1 - (1 - share) * np.clip(albedo, 0, 0.9) * 0.6)
        total += np.float32(weight) * color * share
    return total


def albedo_of(material: Material, own: Points) -> tuple[Color, Floats]:
    """The material's colour at own points (3, N), and the weight of its first colour (N,)."""
    first = np.asarray(material.color, np.float32)
    if material.paint is None:
        return np.repeat(first[:, None], own.shape[1], 1), np.ones(own.shape[1], np.float32)
    weight = np.clip(material.paint(own), 0, 1)
    return mix(first, np.asarray(material.second, np.float32), weight), 1 - weight

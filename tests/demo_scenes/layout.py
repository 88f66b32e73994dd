"""Objects, light and camera of a demo scene, all drawn from a seed."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tests.demo_scenes.clutter import CLUTTER
from tests.demo_scenes.finishes import NARROW, WIDE
from tests.demo_scenes.light import Light, Scene
from tests.demo_scenes.shapes import Solid
from tests.demo_scenes.textures import (
    Surface,
    cloth,
    linear,
    paper,
    plaster,
    stone,
    terrazzo,
    tile,
    wood,
)  # fmt: skip
from tests.demo_scenes.vessels import BUILDERS

Domain = Literal["train", "test"]
Rng = np.random.Generator


@dataclass(frozen=True)
class CameraSetup:
    """The camera's pose and settings.

    `azimuth` and `elevation` are degrees. `fill` is the share of the frame that the object fills,
    `shift` its offset from the centre, `view` the tangent of half the longer side's angle.
    `exposure` is a factor, `balance` the white balance gains (3,), `noise` the deviation at mid
    grey, `vignette` the loss of light in the corners.
    """

    azimuth: float
    elevation: float
    fill: float
    shift: tuple[float, float]
    view: float
    exposure: float
    balance: npt.NDArray[np.float32]
    noise: float
    vignette: float


@dataclass(frozen=True)
class Layout:
    """A scene and the camera that photographs it."""

    scene: Scene
    camera: CameraSetup


_WEAVES = ("#ece5d6|#8f2f2b", "#eef0ee|#3f5f86", "#efe6d2|#59784f", "#e8e2d8|#4a4a4f")
_TILES = (
    "#dfe3e0|#7fa3a8|#b9b5ab", "#ece7dc|#d9cdb8|#9b958a", "#3f5d66|#c9d2cf|#8f908c",
    "#c9785a|#b5623f|#cdbfae",
)  # fmt: skip
_DYES = ("#6f7f62", "#a35a4a", "#34495e", "#c2a15c", "#8b7a8f", "#2f3b36")
_PAPERS = ("#e8b7a0", "#a9c2c9", "#d9c77a", "#b7c4a0", "#5f6f86", "#c46a52", "#3a3d42")
_PAINTS = ("#8fa39b", "#c9b79a", "#4f6472", "#b98d78", "#6b7358", "#d8c3b8", "#38424a")

_FLOORS: dict[str, Callable[[Rng], Surface]] = {
    "oak": lambda rng: wood(rng, ("#c9a275", "#94673c"), float(rng.choice([0.0, 1.3, 1.8]))),
    "linen": lambda rng: cloth(rng, ("#dcd3c2", "#b9ab95")),
    "white paper": lambda rng: paper(rng, ("#e6e3dd",)),
    "walnut": lambda rng: wood(rng, ("#7a5236", "#3f2616"), float(rng.choice([0.0, 1.5]))),
    "grey wood": lambda rng: wood(rng, ("#b3aca0", "#7c756b"), 1.1),
    "gingham": lambda rng: cloth(rng, _pair(rng, _WEAVES), "gingham"),
    "striped cloth": lambda rng: cloth(rng, _pair(rng, _WEAVES), "stripes"),
    "dyed cloth": lambda rng: cloth(rng, (str(rng.choice(_DYES)), "#808080")),
    "marble": lambda rng: stone(rng, ("#e4e1dc", "#8b8781")),
    "slate": lambda rng: stone(rng, ("#4b5054", "#6d7276"), 0.35),
    "terrazzo": lambda rng: terrazzo(rng, ("#d9d4ca", "#a86f52", "#70797a", "#c7a76c", "#45504c")),
    "tile": lambda rng: tile(rng, _pair(rng, _TILES), float(rng.uniform(0.7, 1.3))),
    "concrete": lambda rng: plaster(rng, ("#a9a7a2", "#85837f"), 1.2),
    "sand": lambda rng: plaster(rng, ("#d8bf95", "#b99a6c"), 2.2),
    "colored paper": lambda rng: paper(rng, (str(rng.choice(_PAPERS)),)),
}
_NARROW_FLOORS = ("oak", "linen", "white paper")

_WALLS: dict[str, Callable[[Rng], Surface]] = {
    "white plaster": lambda rng: plaster(rng, ("#dedad2", "#cfc9bf"), 0.5),
    "painted plaster": lambda rng: plaster(rng, (str(rng.choice(_PAINTS)),) * 2, 0.5),
    "rough plaster": lambda rng: plaster(rng, ("#b7aa98", "#8f8271"), 0.9),
    "tiled wall": lambda rng: tile(rng, _pair(rng, _TILES), float(rng.uniform(0.8, 1.4))),
    "panels": lambda rng: wood(rng, ("#a98560", "#6e4d31"), 0.9),
    "concrete wall": lambda rng: plaster(rng, ("#98979a", "#7d7c7e"), 1.0),
}
_NARROW_WALLS = ("white plaster",)

# Key colour and strength, sky strength, softness, height in degrees, distance, gobos.
_LIGHTS: dict[str, tuple[str, float, float, float, tuple[int, int], float, tuple[str, ...]]] = {
    "window": ("#fff1dd", 1.95, 0.45, 0.20, (32, 52), 12, ("",)),
    "overcast": ("#eef3ff", 0.95, 0.85, 0.42, (48, 70), 20, ("",)),
    "lamp": ("#ffd9a6", 2.00, 0.33, 0.11, (38, 58), 8, ("",)),
    "sun": ("#ffe6c2", 2.50, 0.45, 0.025, (28, 48), 400, ("window", "leaves", "")),
    "low sun": ("#ffc98f", 2.40, 0.42, 0.035, (17, 27), 400, ("window", "leaves")),
    "softbox": ("#ffffff", 1.80, 0.60, 0.28, (40, 65), 10, ("",)),
}
_NARROW_LIGHTS = ("window", "overcast")


def _pair(rng: Rng, choices: tuple[str, ...]) -> tuple[str, ...]:
    """The colours of one of the choices, which are joined by "|"."""
    return tuple(str(rng.choice(choices)).split("|"))


def layout(label: str, seed: int, domain: Domain) -> Layout:
    """The scene and camera of photo number `seed` of a class in a domain; the same every time.

    `train` draws from few surfaces, lights, colours and camera heights, `test` from all.
    """
    rng = np.random.default_rng([seed, zlib.crc32(f"{domain}/{label}".encode())])
    narrow = domain == "train"
    camera = _draw_camera(rng, narrow)
    main = BUILDERS[label](rng, NARROW if narrow else WIDE)
    main = pose(main, camera.azimuth + _heading(rng, label, narrow), 0.0, 0.0)
    span = main.corners.max(1) - main.corners.min(1)
    if span[1] > 1.5 * span[0]:
        # A slender object covers little of a wide picture unless the camera is close.
        camera = replace(camera, fill=0.90 + 0.15 * (camera.fill - 0.7))
    camera = replace(camera, shift=_limited_shift(camera))
    middle = (main.corners.min(1) + main.corners.max(1)) / 2
    main = replace(main, position=main.position - middle * np.array([1, 0, 1], np.float32))
    clutter = _draw_clutter(rng, main, narrow)
    floor = _FLOORS[str(rng.choice(_NARROW_FLOORS if narrow else tuple(_FLOORS)))](rng)
    wall = _WALLS[str(rng.choice(_NARROW_WALLS if narrow else tuple(_WALLS)))](rng)
    room = float(rng.uniform(3.4, 6.5))
    scene = Scene(
        (main, *clutter),
        floor,
        floor if floor.cove else wall,
        room + 1.5 if floor.cove else room,
        float(np.radians(camera.azimuth + rng.uniform(-1, 1) * (8 if narrow else 28))),
        _draw_light(rng, narrow, camera.azimuth),
    )
    return Layout(scene, camera)


def _draw_camera(rng: Rng, narrow: bool) -> CameraSetup:
    warmth = float(rng.normal(0, 0.02 if narrow else 0.05))
    stops = float(rng.normal(0, 0.08 if narrow else 0.22))
    return CameraSetup(
        azimuth=float(rng.uniform(0, 360)),
        elevation=float(rng.uniform(16, 28) if narrow else rng.uniform(9, 46)),
        fill=float(rng.uniform(0.80, 0.94) if narrow else rng.uniform(0.74, 0.94)),
        shift=(float(rng.normal(0, 0.035)), float(rng.normal(0, 0.025))),
        view=float(rng.uniform(0.34, 0.42) if narrow else rng.uniform(0.28, 0.5)),
        exposure=float(2**stops),
        balance=np.array([1 + warmth, 1, 1 - warmth], np.float32),
        noise=float(rng.uniform(0.004, 0.009) if narrow else rng.uniform(0.004, 0.013)),
        vignette=float(rng.uniform(0.05, 0.2)),
    )


def _limited_shift(camera: CameraSetup) -> tuple[float, float]:
    """The camera's shift, limited so that the object stays in the frame."""
    slack = max(0.97 - camera.fill, 0.0)
    x, y = (float(np.clip(shift, -slack, slack)) for shift in camera.shift)
    return x, y


def _heading(rng: Rng, label: str, narrow: bool) -> float:
    """Angle in degrees between the object's right and the camera's; positive is away from it.

    Handles and spouts point to the side, and more often to the viewer than away.
    """
    if label == "bottle":
        return float(rng.uniform(-35, 35))
    if label == "car":
        return float(rng.uniform(-65, 65) + rng.choice([0, 180]))
    side = float(rng.uniform(-45, 25) if narrow else rng.uniform(-62, 38))
    return side if rng.random() < 0.5 else 180 - side


def pose(solid: Solid, degrees: float, x: float, z: float) -> Solid:
    """The solid rotated about the vertical and moved to (x, z) on the floor."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    position = rotation @ solid.position + np.array([x, 0, z], np.float32)
    return replace(solid, rotation=rotation @ solid.rotation, position=position.astype(np.float32))


def _draw_clutter(rng: Rng, main: Solid, narrow: bool) -> list[Solid]:
    """Up to three small objects around the main one; none of them touch."""
    kinds = ("pebble", "coin", "cube") if narrow else tuple(CLUTTER)
    count = int(rng.choice([0, 0, 1, 2] if narrow else [0, 1, 1, 2, 3]))
    circles = [(0.0, 0.0, float(np.hypot(main.corners[0], main.corners[2]).max()) * 0.8)]
    clutter = []
    for _ in range(count):
        small = CLUTTER[str(rng.choice(kinds))](rng)
        radius = float(np.hypot(small.corners[0], small.corners[2]).max())
        for _ in range(12):
            away = circles[0][2] + radius + rng.uniform(0.05, 0.8)
            around = rng.uniform(0, 2 * np.pi)
            x, z = float(away * np.cos(around)), float(away * np.sin(around))
            if all(np.hypot(x - a, z - b) > radius + r for a, b, r in circles):
                clutter.append(pose(small, float(rng.uniform(0, 360)), x, z))
                circles.append((x, z, radius))
                break
    return clutter


def _draw_light(rng: Rng, narrow: bool, azimuth: float) -> Light:
    name = str(rng.choice(_NARROW_LIGHTS if narrow else tuple(_LIGHTS)))
    color, strength, sky, softness, heights, distance, gobos = _LIGHTS[name]
    height = np.radians(rng.uniform(*heights))
    # From the left or right, at most a little behind the object: photographers avoid flat light.
    side = float(rng.choice([-1.0, 1.0])) * rng.uniform(35, 80 if narrow else 115)
    around = np.radians(azimuth + side)
    toward = np.array([
        np.sin(around) * np.cos(height), np.sin(height), np.cos(around) * np.cos(height),
    ], np.float32)  # fmt: skip
    cool = linear("#dfe8f5") if rng.random() < 0.7 else linear("#f4ece2")
    fill = np.float32(sky * rng.uniform(0.85, 1.15))
    return Light(
        key=linear(color) * np.float32(strength * rng.uniform(0.9, 1.1)),
        toward=toward,
        distance=float(distance),
        softness=softness,
        sky=cool * fill,
        horizon=cool * fill * np.float32(0.75) * linear("#fff6ea"),
        gobo=str(rng.choice(gobos)),
    )

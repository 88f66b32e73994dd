"""Small unlabelled objects that lie around in the demo scenes."""

from collections.abc import Callable

import numpy as np

from models.data.pixels import Floats
from tests.demo_scenes.curves import bend, outline, turn_solid, vessel_side
from tests.demo_scenes.finishes import rgb
from tests.demo_scenes.shapes import (
    Material,
    Part,
    Points,
    Solid,
    block,
    bounded,
    ellipsoid,
    extrude,
    lathe,
    sweep,
)  # fmt: skip
from tests.demo_scenes.textures import cloud, grain, smoothstep


def _pick(rng: np.random.Generator, *colors: str) -> tuple[float, float, float]:
    return rgb(str(rng.choice(colors)), rng)


def _pebble(rng: np.random.Generator) -> Solid:
    x, y, z = rng.uniform(0.12, 0.24), rng.uniform(0.07, 0.12), rng.uniform(0.11, 0.18)
    phase = float(rng.uniform(0, 50))

    def veins(p: Points) -> Floats:
        return smoothstep(0.3, 1.5, cloud(p[0] * 2 + phase, p[1] * 3 + p[2] * 2))

    material = Material(
        _pick(rng, "#8d8a84", "#b9ada0", "#5e5f63", "#a58f7c"), (0.5, 0.48, 0.45), veins
    )
    return bounded([Part(ellipsoid((x, y, z), (0.0, y * 0.93, 0.0)), material)])


def _coin(rng: np.random.Generator) -> Solid:
    radius = float(rng.uniform(0.1, 0.13))
    side = vessel_side([0, 0.004, 0.018, 0.022], [radius * 0.97, radius, radius, radius * 0.97])
    color = _pick(rng, "#c9a24d", "#b0703f", "#c4c4c4")
    return bounded(
        [Part(lathe(turn_solid(side)), Material(color, gloss=0.6, roughness=0.35, metal=1.0))]
    )


def _pencil(rng: np.random.Generator) -> Solid:
    half, thick = float(rng.uniform(0.55, 0.85)), 0.038
    color = _pick(rng, "#d9a032", "#2f5d8a", "#a5332b", "#2f6b45", "#1f1f22")

    def bare(p: Points) -> Floats:
        return smoothstep(
            half - 0.205, half - 0.195, p[0] + 0.012 * np.sin(np.arctan2(p[1] - thick, p[2]) * 6)
        )

    rod = sweep(
        bend([(-half, thick), (0.0, thick), (half, thick)]), np.r_[[thick] * 9, thick * 0.2]
    )
    return bounded([Part(rod, Material(color, (0.55, 0.36, 0.18), bare, roughness=0.3))])


def _leaf(rng: np.random.Generator) -> Solid:
    size, wide, curl = (float(rng.uniform(*r)) for r in ((0.22, 0.4), (0.3, 0.5), (0.2, 0.7)))
    color = _pick(rng, "#6f8a3c", "#4d7040", "#b0762c", "#8f3d22", "#9aa65b")
    turn = np.linspace(-1, 1, 24)
    edge = wide * size * (1 - turn**2) ** 0.8 * (1 - 0.25 * turn)
    lens = np.stack([size * np.r_[turn, turn[-2:0:-1]], np.r_[-edge, edge[-2:0:-1]]], axis=1)
    blade = extrude(outline(lens), 0.008, 0.004)

    def curled(p: Points) -> Floats:
        lift = curl * (p[0] ** 2 + 0.6 * p[2] ** 2) + np.float32(0.008)
        return blade(np.stack([p[0], p[2], p[1] - lift])) * np.float32(0.8)

    def ribs(p: Points) -> Floats:
        side = smoothstep(0.2, 0.05, np.abs(np.sin((np.abs(p[2]) * 0.8 - p[0]) * 36)))
        spine = smoothstep(0.012, 0.006, np.abs(p[2]))
        return np.asarray(np.maximum(spine, 0.35 * side), np.float32)

    pale = (min(color[0] * 1.7, 1), min(color[1] * 1.6, 1), color[2] * 1.5)
    return bounded([Part(curled, Material(color, pale, ribs, 0.02, 0.5))])


def _fruit(rng: np.random.Generator) -> Solid:
    radius = float(rng.uniform(0.2, 0.3))
    stretch = float(rng.choice([1.0, 1.0, 1.3]))

    def dimples(p: Points) -> Floats:
        return smoothstep(-0.5, 2.2, grain(p[0] * 5, p[1] * 5 + p[2] * 4))

    color = _pick(rng, "#e0892b", "#e8c437", "#9db13d", "#b5342b")
    darker = (color[0] * 0.75, color[1] * 0.7, color[2] * 0.6)
    skin = Material(color, darker, dimples, gloss=0.035, roughness=0.35)
    return bounded([Part(ellipsoid((radius * stretch, radius, radius), (0.0, radius, 0.0)), skin)])


def _cube(rng: np.random.Generator) -> Solid:
    half = float(rng.uniform(0.1, 0.16))
    color = _pick(rng, "#d8b98a", "#b5573c", "#3c5a78", "#e9e2d3", "#6b8f5a")

    def fibers(p: Points) -> Floats:
        return smoothstep(-1, 2, grain(p[0] * 1.5, (p[1] + p[2]) * 9)) * np.float32(0.5)

    darker = (color[0] * 0.6, color[1] * 0.55, color[2] * 0.5)
    material = Material(color, darker, fibers, gloss=0.02, roughness=0.6)
    return bounded([Part(block((half, half, half), 0.02, half), material)])


def _book(rng: np.random.Generator) -> Solid:
    wide, thick, deep = rng.uniform(0.5, 0.7), rng.uniform(0.05, 0.11), rng.uniform(0.38, 0.5)
    color = _pick(rng, "#7a2e2e", "#27503f", "#1d2b45", "#b99a5b", "#59606b", "#c9b8a0")

    def pages(p: Points) -> Floats:
        inner = np.abs(p[1] - thick) < thick - 0.022
        return np.asarray(inner & (p[0] > -wide + 0.03), np.float32)

    material = Material(color, (0.8, 0.76, 0.66), pages, gloss=0.02, roughness=0.6)
    return bounded([Part(block((wide, thick, deep), 0.012, thick), material)])


CLUTTER: dict[str, Callable[[np.random.Generator], Solid]] = {
    "pebble": _pebble,
    "coin": _coin,
    "pencil": _pencil,
    "leaf": _leaf,
    "fruit": _fruit,
    "cube": _cube,
    "book": _book,
}

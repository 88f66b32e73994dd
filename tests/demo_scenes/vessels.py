"""The vessels of the demo scenes: bottle, bowl, mug, teapot and vase.

A builder draws proportion, colour, material and pose from `rng`. Its solid rests on y = 0, with the
front towards +z and the handle along x.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models.data.pixels import Floats
from tests.demo_scenes.car import build_car
from tests.demo_scenes.curves import Curve, bend, turn_solid, turn_vessel, vessel_side
from tests.demo_scenes.finishes import Palette, finish, rgb
from tests.demo_scenes.shapes import (
    Distance,
    Material,
    Part,
    Points,
    Solid,
    bounded,
    ellipsoid,
    lathe,
    ring,
    sweep,
    without,
)
from tests.demo_scenes.textures import grain, smoothstep

_GLASS = ("#2e5b3a", "#6b3d16", "#9fc3b4", "#2c4f7c", "#b8c9c4")


def _handle(rng: np.random.Generator, low: float, high: float, root: tuple[float, float]) -> Curve:
    """The curve of a handle on the +x side from height `low` to `high`.

    `root` holds the vessel's radii at both heights.
    """
    span = high - low
    out = float(rng.uniform(0.55, 0.85)) * span
    square = float(rng.uniform(0.75, 1.05))
    start, end = root
    knots = [
        (end - 0.03, high),
        (end + out * 0.55, high + span * rng.uniform(-0.02, 0.12)),
        (max(start, end) + out * 0.92, low + span * 0.62),
        (start + out * 0.6 * square, low + span * 0.12),
        (start - 0.03, low),
    ]
    return bend(knots)


def _bottle(rng: np.random.Generator, palette: Palette) -> Solid:
    height, radius = float(rng.uniform(1.7, 2.5)), float(rng.uniform(0.38, 0.56))
    neck = radius * float(rng.uniform(0.26, 0.42))
    shoulder = float(rng.uniform(0.42, 0.62))
    slope = float(rng.uniform(0.1, 0.24))
    belly = radius * float(rng.choice([1.0, 1.0, rng.uniform(0.85, 1.25)]))
    rungs = [0, 0.015, 0.05, shoulder * 0.55, shoulder, shoulder + slope * 0.55, shoulder + slope]
    radii = [radius * 0.86, radius * 0.97, radius, belly, radius, (radius + neck * 1.3) / 2.3, neck]
    rungs += [0.93, 0.945, 0.985, 1.0]
    radii += [neck * 0.97, neck * 1.25, neck * 1.25, neck * 1.15]
    side = vessel_side([r * height for r in rungs], radii)
    vessel = turn_vessel(side, min(0.05, neck * 0.4))
    glass = rng.random() < 0.55
    body = finish(rng, palette, height)
    if glass:
        names = _GLASS if palette.allows_unusual else _GLASS[:2]
        body = Material(rgb(str(rng.choice(names)), rng), gloss=0.06, roughness=0.04, clear=0.85)
    if rng.random() < 0.6:
        body = _labelled(rng, body, height * shoulder)
    square = height * shoulder if rng.random() < 0.25 else 0.0
    parts = [Part(lathe(vessel.wall, square), body)]
    if rng.random() < 0.65:
        parts.append(_stopper(rng, palette, neck, height))
    if palette.allows_unusual and not square and belly <= radius and rng.random() < 0.12:
        flat = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
        lying = np.array([height / 2, radius, 0], np.float32)
        return replace(bounded(parts), rotation=flat, position=lying)
    return bounded(parts)


def _labelled(rng: np.random.Generator, body: Material, shoulder: float) -> Material:
    """The bottle's material with a paper label around part of it."""
    low = shoulder * float(rng.uniform(0.15, 0.35))
    high = shoulder * float(rng.uniform(0.75, 0.93))
    half = float(rng.uniform(0.9, 1.5))

    def label(p: Points) -> Floats:
        off = np.abs(np.arctan2(p[0], p[2]))
        inside = smoothstep(half + 0.01, half - 0.01, off)
        inside *= smoothstep(low - 0.006, low + 0.006, p[1])
        inside *= smoothstep(high + 0.006, high - 0.006, p[1])
        row = (p[1] - low) / (high - low)
        rule = smoothstep(0.02, 0.012, np.abs(np.abs(row - 0.5) - 0.4))
        title = smoothstep(0.09, 0.08, np.abs(row - 0.62)) * smoothstep(0.55, 0.53, off / half)
        lines = smoothstep(0.2, 0.4, np.sin(row * 70)) * smoothstep(0.45, 0.43, off / half)
        lines *= smoothstep(0.14, 0.13, np.abs(row - 0.32))
        ink = np.clip(rule + title + 0.6 * lines, 0, 1)
        return np.asarray(inside * (1 - 0.75 * ink), np.float32)

    paper = ("#efe6d0", "#f5f3ee", "#d9b36c", "#233a52", "#8c2f2b")
    return replace(body, second=rgb(str(rng.choice(paper)), rng), paint=label)


def _stopper(rng: np.random.Generator, palette: Palette, neck: float, height: float) -> Part:
    """A cork or a screw cap."""
    if rng.random() < 0.5:
        cork = Material((0.42, 0.26, 0.13), (0.24, 0.13, 0.06), _cork_paint, 0.0, 0.9)
        side = vessel_side(
            [height - 0.1, height + 0.12, height + 0.14], [neck * 0.7, neck, neck * 0.9]
        )
        return Part(lathe(turn_solid(side)), cork)
    tall = float(rng.uniform(0.2, 0.4))
    side = vessel_side(
        [height - tall, height - tall + 0.02, height + 0.01, height + 0.03],
        [neck * 1.25, neck * 1.34, neck * 1.34, neck * 1.22],
    )
    color = rgb(str(rng.choice(palette.colors)), rng)
    cap = Material(color, gloss=0.05, roughness=0.3)
    return Part(lathe(turn_solid(side), ribs=36, depth=0.004), cap)


def _cork_paint(p: Points) -> Floats:
    return smoothstep(0.2, 1.6, grain(p[0] * 4 + p[2] * 3, p[1] * 4))


def _bowl(rng: np.random.Generator, palette: Palette) -> Solid:
    radius = float(rng.uniform(0.7, 1.1))
    height = radius * float(rng.uniform(0.5, 0.85))
    foot = radius * float(rng.uniform(0.3, 0.5))
    curve = float(rng.uniform(0.35, 0.75))
    flare = float(rng.uniform(-0.03, 0.08))
    steps = np.linspace(0, 1, 9)
    radii = foot + (radius - foot) * steps**curve + flare * np.maximum(steps - 0.8, 0) * 5
    rise = float(rng.choice([0.0, 0.06, 0.12]))
    heights = [0.0, rise + 0.03, *(rise + 0.05 + steps[1:] * (height - rise - 0.05))]
    side = vessel_side(heights, [foot, foot * 0.97, *radii[1:]])
    filled = rng.random() < (0.3 if palette.allows_unusual else 0.12)
    vessel = turn_vessel(side, 0.055, height * float(rng.uniform(0.55, 0.8)), rise + 0.09)
    ribs = int(rng.choice([0, 0, 0, 18, 28]))
    parts = [Part(lathe(vessel.wall, ribs=ribs, depth=0.007), finish(rng, palette, height))]
    if filled:
        soup = rgb(str(rng.choice(("#d98a3d", "#a33b22", "#e8dcc0", "#6f7f3a", "#3d2416"))), rng)
        parts.append(Part(lathe(vessel.filling), Material(soup, gloss=0.03, roughness=0.15)))
    elif palette.allows_unusual and rng.random() < 0.25:
        parts += _fruits(rng, radius, height)
    return bounded(parts)


def _fruits(rng: np.random.Generator, radius: float, height: float) -> list[Part]:
    """Four fruits in a bowl."""
    color = str(rng.choice(("#e0892b", "#8fa53a", "#b33a2c", "#e3c143")))
    size = radius * 0.36
    turn = float(rng.uniform(0, 6))
    parts = []
    for i in range(4):
        around = turn + i * 2.094
        away = 0.0 if i == 3 else radius * 0.44
        center = (
            away * np.cos(around), height * (1.0 if i < 3 else 1.35), away * np.sin(around),
        )  # fmt: skip
        r = size * float(rng.uniform(0.92, 1.05))
        skin = Material(rgb(color, rng), gloss=0.03, roughness=0.35)
        parts.append(Part(ellipsoid((r, r * 0.95, r), center), skin))
    return parts


def _mug(rng: np.random.Generator, palette: Palette) -> Solid:
    height, radius = float(rng.uniform(0.78, 1.2)), float(rng.uniform(0.38, 0.5))
    taper, belly = float(rng.uniform(0.72, 1.02)), float(rng.uniform(0.94, 1.12))
    low = radius * taper
    rungs = np.array([0, 0.02, 0.08, 0.4, 0.7, 1.0]) * height
    radii = [low * 0.86, low * 0.95, low, (low + radius) / 2 * belly, radius * belly**0.5, radius]
    side = vessel_side(rungs.tolist(), radii)
    full = rng.random() < 0.5
    vessel = turn_vessel(
        side, float(rng.uniform(0.04, 0.06)), height * float(rng.uniform(0.7, 0.9))
    )
    body = finish(rng, palette, height)
    bottom, top = height * float(rng.uniform(0.16, 0.3)), height * float(rng.uniform(0.74, 0.88))
    root = (float(np.interp(bottom, rungs, radii)), float(np.interp(top, rungs, radii)))
    curve = _handle(rng, bottom, top, root)
    thick = float(rng.uniform(0.042, 0.065))
    rod = sweep(curve, np.array([1.15, 1, 1, 1, 1.15]) * thick, float(rng.uniform(1.0, 1.7)))
    handle = without(rod, lathe(vessel.hollow))
    parts = [Part(lathe(vessel.wall), body), Part(handle, body, blend=0.04)]
    if full:
        drink = rgb(str(rng.choice(("#3a2013", "#6b3f22", "#b0662c", "#c9a27e"))), rng)
        parts.append(Part(lathe(vessel.filling), Material(drink, gloss=0.03, roughness=0.08)))
    return bounded(parts)


def _teapot(rng: np.random.Generator, palette: Palette) -> Solid:
    radius, height = float(rng.uniform(0.55, 0.78)), float(rng.uniform(0.75, 1.1))
    mouth = radius * float(rng.uniform(0.45, 0.62))
    widest = float(rng.uniform(0.3, 0.58))
    rungs = np.array([0, 0.03, 0.12, widest, 0.82, 0.95, 1.0]) * height
    swell = [0.62, 0.68, 0.8, 1.0, 0.78]
    radii = [*(radius * np.array(swell)), mouth * 1.08, mouth]
    body = finish(rng, palette, height)
    parts = [Part(lathe(turn_solid(vessel_side(rungs.tolist(), radii))), body)]
    parts.append(Part(_spout(rng, radius, height), body, blend=0.09))
    parts += _lid(rng, mouth, height, body)
    if rng.random() < 0.65:
        low, high = height * 0.28, height * 0.8
        curve = _handle(rng, low, high, (radius * 0.93, radius * 0.8))
        curve[:, 0] *= -1
        thick = float(rng.uniform(0.055, 0.075))
        parts.append(Part(sweep(curve, np.full(4, thick), 1.1), body, blend=0.06))
        return bounded(parts)
    top = height + float(rng.uniform(0.55, 0.8))
    knots = [(-radius * 0.78, height * 0.78), (-radius * 0.85, (height + top) / 2), (0.0, top)]
    knots += [(-x, y) for x, y in reversed(knots[:2])]
    bail = Material((0.30, 0.19, 0.10), gloss=0.02, roughness=0.5)
    bail = body if rng.random() < 0.4 else bail
    parts.append(Part(sweep(bend(knots), np.full(4, 0.05), 1.3), bail, blend=0.03))
    return bounded(parts)


def _spout(rng: np.random.Generator, radius: float, height: float) -> Distance:
    """A spout on the +x side."""
    end = radius + float(rng.uniform(0.42, 0.62))
    tip = height * float(rng.uniform(0.92, 1.08))
    curl = float(rng.uniform(0.0, 0.12))
    knots = [
        (radius * 0.55, height * 0.3),
        (radius * 0.98, height * 0.42),
        (radius + (end - radius) * (0.45 + curl), height * 0.68),
        (end, tip),
    ]
    wide = float(rng.uniform(0.14, 0.19))
    return sweep(bend(knots), np.array([wide * 1.2, wide, wide * 0.62, 0.065]))


def _lid(rng: np.random.Generator, mouth: float, height: float, body: Material) -> list[Part]:
    """A domed lid with a knob."""
    rise = float(rng.uniform(0.08, 0.2))
    dome = np.linspace(0, np.pi / 2, 24)
    cap = np.stack([mouth * np.cos(dome), height + 0.03 + rise * np.sin(dome)], axis=1)
    side = np.concatenate([ring(mouth * 1.1, height + 0.02, 0.025), cap[1:-1]])
    knob = float(rng.uniform(0.075, 0.12))
    squash = float(rng.uniform(0.75, 1.2))
    center = (0.0, height + rise + knob * squash * 0.9, 0.0)
    plain = replace(body, paint=None)
    return [
        Part(lathe(turn_solid(side)), plain),
        Part(ellipsoid((knob, knob * squash, knob), center), plain, blend=0.05),
    ]


def _vase(rng: np.random.Generator, palette: Palette) -> Solid:
    height, radius = float(rng.uniform(1.4, 2.3)), float(rng.uniform(0.42, 0.66))
    foot, neck, lip = (
        radius * float(rng.uniform(*r)) for r in ((0.45, 0.75), (0.42, 0.62), (0, 0))
    )
    lip = neck * float(rng.uniform(1.15, 1.7))
    forms = {
        "amphora": ([0, 0.03, 0.62, 0.86, 0.96, 1], [foot, foot, radius, neck, lip * 0.93, lip]),
        "bulb": ([0, 0.04, 0.32, 0.68, 0.94, 1], [foot, foot * 1.15, radius, neck, lip * 0.9, lip]),
        "trumpet": ([0, 0.05, 0.4, 0.75, 1], [foot, foot * 0.9, neck * 0.9, neck * 1.2, radius]),
        "barrel": (
            [0, 0.04, 0.5, 0.92, 1],
            [foot * 1.1, foot * 1.2, radius, neck * 1.3, neck * 1.35],
        ),
        "gourd": (
            [0, 0.04, 0.27, 0.52, 0.72, 0.92, 1],
            [foot, foot * 1.2, radius, neck, radius * 0.72, neck, lip],
        ),
    }
    names = list(forms) if palette.allows_unusual else ["amphora", "bulb", "barrel"]
    rungs, radii = forms[str(rng.choice(names))]
    vessel = turn_vessel(vessel_side([r * height for r in rungs], radii), 0.05)
    ribs = int(rng.choice([0, 0, 0, 14, 22, 34]))
    wall = lathe(vessel.wall, ribs=ribs, depth=0.010)
    return bounded([Part(wall, finish(rng, palette, height))])


BUILDERS: dict[str, Callable[[np.random.Generator, Palette], Solid]] = {
    "bottle": _bottle,
    "bowl": _bowl,
    "car": build_car,
    "mug": _mug,
    "teapot": _teapot,
    "vase": _vase,
}

"""The toy car of the demo scenes: a hull and a cabin, extruded from side views, on four wheels."""

from dataclasses import replace

import numpy as np

from models.data.pixels import Floats
from tests.demo_scenes.curves import Curve, Field, outline, turn_solid
from tests.demo_scenes.finishes import Palette, rgb
from tests.demo_scenes.shapes import Material, Paint, Part, Points, Solid, bounded, extrude, ring
from tests.demo_scenes.textures import smoothstep


def build_car(rng: np.random.Generator, palette: Palette) -> Solid:
    """A toy car that rests on y = 0, with its front towards +x."""
    length, width = float(rng.uniform(1.7, 2.2)), float(rng.uniform(0.36, 0.46))
    wheel = float(rng.uniform(0.17, 0.24))
    kinds = (
        ("sedan", "van", "hatch", "pickup", "beetle")
        if palette.allows_unusual
        else ("sedan", "hatch")
    )
    form = _CAR_FORMS[str(rng.choice(kinds))]
    scale = np.array([length / 2, 1.0])
    floor, belt = wheel * 0.7, wheel * 0.7 + float(rng.uniform(0.3, 0.36))
    hull = np.array(form[0]) * scale * [1, belt - floor] + [0, floor]
    roof = float(rng.uniform(0.3, 0.38)) * form[2]
    house = np.array(form[1]) * scale * [1, roof] + [0, belt - 0.02]
    kind = str(rng.choice([f for f in palette.finishes if f in ("glaze", "matte", "speckled")]))
    first, second = rng.choice(palette.colors, 2, replace=False)
    shiny = kind == "glaze"
    body = Material(
        rgb(str(first), rng), gloss=0.05 if shiny else 0.015, roughness=0.1 if shiny else 0.5
    )
    upper = body if rng.random() < 0.6 else replace(body, color=rgb(str(second), rng))
    cabin = outline(_rounded(house))
    glass = _glazing(cabin, width * 0.88, (belt + 0.03, belt - 0.02 + roof - 0.06))
    hull_paint = _headlights(length, belt, floor)
    parts = [
        Part(
            extrude(outline(_rounded(hull)), width, 0.06),
            replace(body, second=(0.85, 0.8, 0.65), paint=hull_paint),
        ),
        Part(
            extrude(cabin, width * 0.88, 0.06),
            replace(upper, second=(0.03, 0.04, 0.05), paint=glass),
            blend=0.03,
        ),
        *_wheels(rng, length, width, wheel),
    ]
    return bounded(parts)


_CAR_FORMS: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]], float]] = {
    "sedan": (
        [(-1, 0.1), (-0.9, 0), (0.92, 0), (1, 0.12), (0.98, 0.72), (0.45, 0.95), (-0.95, 1.0)],
        [(-0.72, 0), (0.48, 0), (0.2, 1), (-0.45, 1)],
        1.0,
    ),
    "hatch": (
        [(-1, 0.1), (-0.9, 0), (0.92, 0), (1, 0.12), (0.96, 0.7), (0.5, 0.97), (-0.98, 1.0)],
        [(-0.96, 0), (0.52, 0), (0.16, 1), (-0.78, 1)],
        1.05,
    ),
    "van": (
        [(-1, 0.08), (-0.95, 0), (0.95, 0), (1, 0.1), (0.98, 0.9), (0.9, 1.0), (-1, 1.0)],
        [(-0.98, 0), (0.9, 0), (0.66, 1), (-0.96, 1)],
        1.35,
    ),
    "pickup": (
        [(-1, 0.1), (-0.95, 0), (0.92, 0), (1, 0.12), (0.97, 0.75), (0.6, 1.0), (-1, 1.0)],
        [(-0.12, 0), (0.58, 0), (0.36, 1), (-0.08, 1)],
        1.1,
    ),
    "beetle": (
        [
            (-1, 0.2),
            (-0.8, 0),
            (0.8, 0),
            (1, 0.2),
            (0.85, 0.75),
            (0.5, 1.0),
            (-0.6, 1.1),
            (-0.92, 0.7),
        ],
        [(-0.7, 0), (0.5, 0), (0.3, 0.75), (0.0, 1), (-0.3, 0.95), (-0.55, 0.6)],
        1.0,
    ),
}


def _rounded(corners: Curve, cuts: int = 3) -> Curve:
    """The polygon with its corners cut `cuts` times (Chaikin's algorithm)."""
    for _ in range(cuts):
        after = np.roll(corners, -1, axis=0)
        corners = np.stack([0.82 * corners + 0.18 * after, 0.18 * corners + 0.82 * after], 1)
        corners = corners.reshape(-1, 2)
    return corners


def _glazing(cabin: Field, width: float, rows: tuple[float, float]) -> Paint:
    """Windows: side panes inside the cabin's outline, split by a pillar, and the end panes."""

    def paint(p: Points) -> Floats:
        x, y, z = p
        edge = cabin(x, y)
        row = smoothstep(rows[0] - 0.01, rows[0] + 0.01, y) * smoothstep(
            rows[1] + 0.01, rows[1] - 0.01, y
        )
        side = smoothstep(-0.05, -0.065, edge) * smoothstep(0.02, 0.032, np.abs(x + 0.08))
        ends = smoothstep(width - 0.06, width - 0.075, np.abs(z))
        sides = (np.abs(z) > width - 0.035).astype(np.float32)
        return row * np.where(sides > 0, side, ends)

    return paint


def _headlights(length: float, belt: float, floor: float) -> Paint:
    """Two round headlights at the front of the hull."""
    high = floor + (belt - floor) * 0.55

    def paint(p: Points) -> Floats:
        off = np.hypot(p[1] - high, np.abs(p[2]) - 0.24)
        return smoothstep(0.075, 0.065, off) * smoothstep(length * 0.42, length * 0.44, p[0])

    return paint


def _wheels(rng: np.random.Generator, length: float, width: float, wheel: float) -> list[Part]:
    """Four wheels as one part, by folding x and z; the hubs are painted."""
    base = length * float(rng.uniform(0.29, 0.32))
    half = 0.075
    side = np.concatenate([
        ring(wheel, -half + 0.03, 0.03), ring(wheel, half - 0.03, 0.03),
    ])  # fmt: skip
    tire = turn_solid(side)
    hub = wheel * float(rng.uniform(0.45, 0.62))

    def fold(p: Points) -> tuple[Floats, Floats]:
        radius = np.hypot(np.abs(p[0]) - np.float32(base), p[1] - np.float32(wheel))
        return radius, np.abs(p[2]) - np.float32(width - 0.02)

    def distance(p: Points) -> Floats:
        return tire(*fold(p))

    def paint(p: Points) -> Floats:
        return smoothstep(hub + 0.008, hub - 0.008, fold(p)[0])

    rim = rgb(str(rng.choice(("#c9ccd0", "#e9e2d3", "#b9a06a"))), rng)
    return [Part(distance, Material((0.02, 0.02, 0.022), rim, paint, gloss=0.02, roughness=0.5))]

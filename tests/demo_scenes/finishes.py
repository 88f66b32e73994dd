"""Colours, glazes and painted patterns of the objects in the demo scenes.

The narrow `Palette` (few colours, few finishes) resembles a few training photos from one location.
The wide one covers all colours and finishes.
"""

from dataclasses import dataclass

import numpy as np

from models.data.pixels import Floats
from tests.demo_scenes.shapes import Material, Paint, Points
from tests.demo_scenes.textures import cloud, grain, linear, smoothstep

_NARROW = ("#e9e2d3", "#3c5a78", "#8f9f7f", "#b5573c", "#2f3236")
_WIDE = (
    *_NARROW,
    "#f4f1ea",
    "#d9a441",
    "#7d9fb5",
    "#c98b8b",
    "#27503f",
    "#5b3a5e",
    "#d8c3a5",
    "#1d2b45",
    "#e07a3f",
    "#a8b8a0",
    "#7a2e2e",
    "#f0c9c0",
    "#4f8a8b",
    "#6b5a4a",
    "#bfc4c9",
)
_METAL = ("#c9c6c0", "#c98a5e", "#d6b36a", "#8f949a")


@dataclass(frozen=True)
class Palette:
    """A builder's choices: sRGB colours, finishes, and whether forms and poses may be unusual."""

    colors: tuple[str, ...]
    finishes: tuple[str, ...]
    allows_unusual: bool


NARROW = Palette(_NARROW, ("glaze", "matte", "banded", "dipped"), False)
WIDE = Palette(
    _WIDE,
    ("glaze", "matte", "banded", "dipped", "speckled", "striped", "dotted", "metal", "fade"),
    True,
)


def rgb(hex_color: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Linear RGB of an sRGB colour '#rrggbb', slightly varied in brightness and hue."""
    color = linear(hex_color) * np.float32(rng.uniform(0.85, 1.15))
    color = np.clip(color * rng.uniform(0.93, 1.07, 3), 0, 0.92)
    return (float(color[0]), float(color[1]), float(color[2]))


def _angle(points: Points) -> Floats:
    return np.asarray(np.arctan2(points[2], points[0]), np.float32)


def _paint(kind: str, rng: np.random.Generator, height: float) -> Paint | None:
    """The pattern `kind` for an object of this height; None for a single colour."""
    level, count = float(rng.uniform(0.3, 0.75)) * height, int(rng.integers(7, 15))
    width, phase = float(rng.uniform(0.04, 0.11)) * height, float(rng.uniform(0, 6))
    lines = np.sort(rng.uniform(0.15, 0.92, int(rng.integers(1, 4)))) * height

    def banded(p: Points) -> Floats:
        off = np.min([np.abs(p[1] - y) for y in lines], axis=0)
        return smoothstep(width * 0.5 + 0.006, width * 0.5 - 0.006, off)

    def dipped(p: Points) -> Floats:
        wave = np.sin(_angle(p) * 3 + phase) * 0.035 * height + 0.02 * cloud(p[0] * 2, p[2] * 2)
        return smoothstep(-0.012, 0.012, p[1] - level - wave)

    def speckled(p: Points) -> Floats:
        x, y, z = p * np.float32(6.5)
        spots = grain(x + phase, y) + grain(z + phase, y + 7)
        return smoothstep(1.7, 2.3, spots)

    def striped(p: Points) -> Floats:
        return smoothstep(-0.12, 0.12, np.sin(_angle(p) * count + phase))

    def dotted(p: Points) -> Floats:
        a, b = _angle(p) * np.float32(count / 6.2832), p[1] / np.float32(0.24)
        a = a + 0.5 * (np.floor(b) % 2)
        off = np.hypot((a - np.floor(a) - 0.5) * 1.2, b - np.floor(b) - 0.5)
        return smoothstep(0.27, 0.22, off)

    def fade(p: Points) -> Floats:
        return smoothstep(level - 0.4 * height, level + 0.4 * height, p[1])

    patterns: dict[str, Paint] = {
        "banded": banded, "dipped": dipped, "speckled": speckled,
        "striped": striped, "dotted": dotted, "fade": fade,
    }  # fmt: skip
    return patterns.get(kind)


def finish(rng: np.random.Generator, palette: Palette, height: float) -> Material:
    """A ceramic, enamel or metal material for an object of this height."""
    kind = str(rng.choice(palette.finishes))
    first, second = rng.choice(palette.colors, 2, replace=False)
    if kind == "metal":
        color = rgb(str(rng.choice(_METAL)), rng)
        return Material(color, gloss=0.75, roughness=float(rng.uniform(0.15, 0.4)), metal=1.0)
    if kind == "speckled":
        second = "#3a2f28"
    shiny = kind != "matte" and rng.random() < 0.75
    return Material(
        rgb(str(first), rng), rgb(str(second), rng), _paint(kind, rng, height),
        gloss=0.045 if shiny else 0.012,
        roughness=float(rng.uniform(0.05, 0.2) if shiny else rng.uniform(0.5, 0.8)),
    )  # fmt: skip

"""Procedural textures of floors and walls of the demo scenes.

A surface gives colour and height at plane coordinates (u, v), in decimetres. Each pattern fades out
before it gets finer than a pixel (`footprint`), so that distant cloth and tile show no moire.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Floats
from tests.demo_scenes.curves import lookup

Color = npt.NDArray[np.float32]
Texture = Callable[[Floats, Floats, Floats], tuple[Color, Floats]]

_TILE = 512
_TILE_PER_DM = 8.0


@dataclass(frozen=True)
class Surface:
    """A texture `(u, v, footprint) -> (linear colour (3, N), height (N,))` and its reflection.

    `cove` is the radius of the bend between floor and wall, 0 for a hard corner.
    """

    texture: Texture
    gloss: float = 0.0
    roughness: float = 0.6
    cove: float = 0.0

    def mean_color(self) -> Color:
        """The mean colour of the surface, shape (3,)."""
        side = np.linspace(-6, 6, 24, dtype=np.float32)
        u, v = (a.ravel() for a in np.meshgrid(side, side))
        color, _ = self.texture(u, v, np.full_like(u, 0.1))
        return np.asarray(color.mean(1), np.float32)


def linear(hex_color: str) -> Color:
    """Linear RGB of an sRGB colour written '#rrggbb', shape (3,)."""
    coded = np.array([int(hex_color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    low, high = coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4
    return np.where(coded <= 0.04045, low, high).astype(np.float32)


@lru_cache(maxsize=2)
def _tile(slope: float) -> Floats:
    """A periodic noise tile of unit deviation whose spectrum falls as 1 / frequency**slope."""
    rng = np.random.default_rng(20240607)
    y, x = np.meshgrid(np.fft.fftfreq(_TILE), np.fft.rfftfreq(_TILE), indexing="ij")
    frequency = np.hypot(x, y)
    frequency[0, 0] = 1.0
    # Remove octaves wider than the pattern's own scale; damp those finer than a texel.
    shape = frequency**-slope / (1 + (0.004 / frequency) ** 4) * np.exp(-((frequency / 0.3) ** 2))
    shape[0, 0] = 0.0
    tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((_TILE, _TILE))) * shape, (_TILE, _TILE))
    return np.asarray(tile / tile.std(), np.float32)


def cloud(u: Floats, v: Floats) -> Floats:
    """Soft fractal noise, mean 0 and deviation 1, with details from 6 down to 0.3 units."""
    return _noise(_tile(1.7), u, v)


def grain(u: Floats, v: Floats) -> Floats:
    """Noise without large shapes, mean 0 and deviation 1, with details of about 0.3 units."""
    return _noise(_tile(0.0), u, v)


def _noise(tile: Floats, u: Floats, v: Floats) -> Floats:
    scale = np.float32(_TILE_PER_DM)
    return np.asarray(lookup(tile, u * scale, v * scale, cv2.BORDER_WRAP)[0], np.float32)


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; `low` may be the larger one."""
    share = np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def mix(first: Color, second: Color, weight: Floats) -> Color:
    """Colours (3,) or (3, N) blended by `weight` (N,)."""
    a = first[:, None] if first.ndim == 1 else first
    b = second[:, None] if second.ndim == 1 else second
    return np.asarray(a + (b - a) * weight, np.float32)


def _fade(footprint: Floats, period: float) -> Floats:
    """1 where a pattern of this period is coarser than a pixel, falling to 0 where it is finer."""
    return np.asarray(np.clip(1.6 - footprint * np.float32(3.2 / period), 0, 1), np.float32)


def _hash(i: Floats, j: Floats, table: Floats) -> Floats:
    """A pseudo-random entry of the table per grid cell (i, j)."""
    index = (i.astype(np.int64) * 37 + j.astype(np.int64) * 101) % table.size
    return np.asarray(table[index], np.float32)


def wood(rng: np.random.Generator, tones: Sequence[str], plank: float = 1.6) -> Surface:
    """Planks in a light and a dark tone, `plank` wide; 0 for a single board."""
    light, dark = linear(tones[0]), linear(tones[1])
    table = rng.random(64).astype(np.float32)
    shift = rng.uniform(0, 50, 2).astype(np.float32)

    def texture(u: Floats, v: Floats, footprint: Floats) -> tuple[Color, Floats]:
        row = np.floor(v / np.float32(plank or 1e3))
        own = _hash(row, row * 0, table)
        x, y = u + shift[0] + own * 40, v + shift[1] + own * 23
        warp = cloud(x * 0.12, y * 0.5)
        rings = np.sin((y * 1.1 + warp * 0.55) * np.float32(9.0)) * _fade(footprint, 0.5)
        fiber = grain(x * 0.7, y * 9.0) * _fade(footprint, 0.12)
        pores = np.maximum(grain(x * 1.1 + 9, y * 14.0) - 1.2, 0) * _fade(footprint, 0.1)
        weight = 0.38 + 0.16 * warp + 0.14 * rings + 0.09 * fiber + 0.3 * pores + 0.35 * (own - 0.5)
        color = mix(light, dark, np.clip(weight, 0, 1.15))
        height = fiber * 0.0016 - pores * 0.003
        if plank:
            gap = np.abs(v / np.float32(plank) - row - 0.5) * np.float32(plank)
            seam = smoothstep(plank / 2 - 0.035, plank / 2 - 0.008, gap) * _fade(footprint, 0.12)
            color *= 1 - 0.7 * seam
            height = height - 0.02 * seam
        return color, np.asarray(height, np.float32)

    return Surface(texture, gloss=0.025, roughness=0.45)


def cloth(rng: np.random.Generator, tones: Sequence[str], pattern: str = "plain") -> Surface:
    """Woven cloth with soft wrinkles; `pattern` is plain, stripes or gingham."""
    base, accent = linear(tones[0]), linear(tones[1])
    shift = rng.uniform(0, 50, 2).astype(np.float32)
    period, thread = float(rng.uniform(0.5, 0.95)), 0.065

    def texture(u: Floats, v: Floats, footprint: Floats) -> tuple[Color, Floats]:
        x, y = u + shift[0], v + shift[1]
        x = x + 0.03 * cloud(x * 0.5, y * 0.5)
        y = y + 0.03 * cloud(y * 0.5 + 7, x * 0.5)
        a, b = x / np.float32(thread), y / np.float32(thread)
        over = (np.floor(a) + np.floor(b)) % 2
        bump = np.where(over > 0, np.abs(np.sin(np.pi * a)), np.abs(np.sin(np.pi * b)))
        bump *= _fade(footprint, thread * 2)
        slub = grain(a * 0.02, b * 0.45) + grain(a * 0.45 + 5, b * 0.02)
        weight = _woven_weight(pattern, x / np.float32(period), y / np.float32(period))
        color = mix(base, accent, weight)
        color = color * (0.86 + 0.16 * bump + 0.035 * slub * _fade(footprint, thread * 3))
        fold = cloud(x * 0.22 + 3, y * 0.22) * 0.05
        return np.asarray(color, np.float32), np.asarray(bump * 0.006 + fold, np.float32)

    return Surface(texture, gloss=0.0, roughness=0.9)


def _woven_weight(pattern: str, a: Floats, b: Floats) -> Floats:
    """Weight 0..1 of the accent colour."""

    def bars(x: Floats, share: float) -> Floats:
        off = np.abs(x - np.floor(x) - 0.5)
        return smoothstep(share / 2 + 0.02, share / 2 - 0.02, off)

    if pattern == "gingham":
        return (bars(a, 0.5) + bars(b, 0.5)) * np.float32(0.5)
    if pattern == "stripes":
        return np.maximum(bars(a * 0.5, 0.22), bars(a * 0.5 + 0.28, 0.06)) * np.float32(0.9)
    return np.zeros_like(a)


def stone(rng: np.random.Generator, tones: Sequence[str], veins: float = 1.0) -> Surface:
    """Polished stone: marble for strong `veins`, slate or granite for weak ones."""
    base, vein = linear(tones[0]), linear(tones[1])
    shift = rng.uniform(0, 50, 2).astype(np.float32)

    def texture(u: Floats, v: Floats, footprint: Floats) -> tuple[Color, Floats]:
        x, y = u + shift[0], v + shift[1]
        bend = cloud(x * 0.3, y * 0.3)
        lines = np.abs(cloud(x * 0.16 + 0.12 * bend, y * 0.16 + 0.3 * bend))
        thin = np.abs(cloud(x * 0.4 + 21, y * 0.4 + 0.2 * bend))
        weight = smoothstep(0.16, 0.0, lines) * 0.75 + smoothstep(0.1, 0.0, thin) * 0.25
        weight = weight * veins * np.clip(0.6 + 0.4 * bend, 0, 1)
        speckle = grain(x * 4, y * 4) * _fade(footprint, 0.08)
        color = mix(base, vein, np.clip(weight + 0.10 * np.maximum(bend, 0), 0, 1))
        color = color * (1 + (0.05 + 0.10 * (1 - veins)) * speckle + 0.05 * bend)
        return np.maximum(color, 0), np.zeros_like(u)

    return Surface(texture, gloss=0.045, roughness=0.12)


def terrazzo(rng: np.random.Generator, tones: Sequence[str]) -> Surface:
    """Chips of all tones but the first, in a ground of the first, around jittered seeds."""
    colors = np.stack([linear(tone) for tone in tones], axis=1)
    jitter = rng.random((3, 256)).astype(np.float32)
    size = float(rng.uniform(0.28, 0.45))

    def texture(u: Floats, v: Floats, footprint: Floats) -> tuple[Color, Floats]:
        a, b = u / np.float32(size), v / np.float32(size)
        warp = 0.12 * grain(a * 0.6, b * 0.6)
        a, b = a + warp, b - warp
        near = np.full(u.shape, 9.0, np.float32)
        tone = np.zeros(u.shape, np.float32)
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                p, q = np.floor(a) + i, np.floor(b) + j
                dx, dy = p + _hash(p, q, jitter[0]) - a, q + _hash(p, q, jitter[1]) - b
                kind = _hash(p, q, jitter[2])
                away = np.sqrt(dx * dx + dy * dy) / (0.35 + 0.5 * kind)
                tone, near = np.where(away < near, kind, tone), np.minimum(near, away)
        chip = smoothstep(0.62, 0.55, near) * _fade(footprint, size)
        which = 1 + (tone * 97).astype(np.int64) % (colors.shape[1] - 1)
        color = mix(colors[:, 0], colors[:, which], chip)
        return color * (1 + 0.03 * cloud(u, v)), np.zeros_like(u)

    return Surface(texture, gloss=0.04, roughness=0.15)


def tile(rng: np.random.Generator, tones: Sequence[str], size: float = 1.1) -> Surface:
    """Square glazed tiles in slightly varied tones; the last tone is the grout."""
    first, second, grout = (linear(tones[i]) for i in (0, 1, -1))
    table = rng.random(128).astype(np.float32)
    checker = bool(rng.random() < 0.5)

    def texture(u: Floats, v: Floats, footprint: Floats) -> tuple[Color, Floats]:
        a, b = u / np.float32(size), v / np.float32(size)
        i, j = np.floor(a), np.floor(b)
        own = _hash(i, j, table)
        weight = (i + j) % 2 if checker else (own > 0.72).astype(np.float32)
        color = mix(first, second, weight) * (0.9 + 0.2 * _hash(j, i, table))
        color = color * (1 + 0.05 * cloud(u * 1.5 + own * 30, v * 1.5))
        edge = np.maximum(np.abs(a - i - 0.5), np.abs(b - j - 0.5)) * np.float32(size)
        gap = smoothstep(size / 2 - 0.05, size / 2 - 0.025, edge) * _fade(footprint, 0.1)
        rough = grain(u * 5, v * 5) * _fade(footprint, 0.07)
        color = mix(color, grout, gap) * (1 + 0.06 * gap * rough)
        return np.asarray(color, np.float32), np.asarray(-0.025 * gap, np.float32)

    return Surface(texture, gloss=0.045, roughness=0.15)


def plaster(rng: np.random.Generator, tones: Sequence[str], rough: float = 1.0) -> Surface:
    """Painted wall, concrete or sand: a tone with patches of a second one and a grainy relief."""
    base, stain = linear(tones[0]), linear(tones[1])
    shift = rng.uniform(0, 50, 2).astype(np.float32)

    def texture(u: Floats, v: Floats, footprint: Floats) -> tuple[Color, Floats]:
        x, y = u + shift[0], v + shift[1]
        patches = cloud(x * 0.35, y * 0.35)
        grit = grain(x * 3.2, y * 3.2) * _fade(footprint, 0.1)
        color = mix(base, stain, np.clip(0.35 + 0.28 * patches, 0, 1))
        color = color * (1 + 0.05 * rough * grit)
        height = 0.0022 * grit * rough + 0.004 * cloud(x * 0.7, y * 0.7)
        return np.asarray(color, np.float32), np.asarray(height, np.float32)

    return Surface(texture, gloss=0.0, roughness=0.9)


def paper(rng: np.random.Generator, tones: Sequence[str]) -> Surface:
    """A sheet of seamless studio paper that bends up into the backdrop."""
    base = linear(tones[0])
    shift = rng.uniform(0, 50, 2).astype(np.float32)

    def texture(u: Floats, v: Floats, footprint: Floats) -> tuple[Color, Floats]:
        fiber = grain((u + shift[0]) * 4, (v + shift[1]) * 4) * _fade(footprint, 0.08)
        soft = cloud(u * 0.3 + shift[1], v * 0.3)
        return np.asarray(base[:, None] * (1 + 0.012 * fiber + 0.012 * soft), np.float32), 0 * u

    return Surface(texture, gloss=0.0, roughness=0.9, cove=1.6)

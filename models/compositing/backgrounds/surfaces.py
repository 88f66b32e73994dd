"""Surfaces seen straight from above: wood, brick, tiles, stone, sand, grass, cloth and others.

Each function of `SURFACES` makes one square texture that tiles in both directions, from the noise
maps of `noise.py` and the given random generator. `scene.py` shows it in perspective, lights it and
puts a backdrop behind it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from models.compositing.backgrounds.noise import (
    SIDE,
    Bond,
    cells,
    grain,
    laid_units,
    octave_noise,
    smoothstep,
    warp,
)
from models.data.pixels import Floats

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Surface:
    """A square texture that tiles in both directions.

    ``albedo``: (SIDE, SIDE, 3) float32 RGB in 0..1 before lighting. ``relief``: (SIDE, SIDE)
    float32 height in texels, which the light shades. ``span``: how many widths of the frame one
    texture covers at the front edge of the picture. ``gloss``: 0..1, how much of the backdrop it
    mirrors.
    """

    albedo: Floats
    relief: Floats
    span: float
    gloss: float = 0.0


def _base(rng: np.random.Generator, palette: Sequence[Colour]) -> Floats:
    """A random colour of the palette, slightly varied in brightness and warmth, (3,) in 0..1."""
    colour = np.asarray(palette[int(rng.integers(len(palette)))], np.float32) / 255.0
    warm = rng.uniform(-0.035, 0.035)
    tint = (1.0 + rng.uniform(-0.1, 0.08)) * np.array([1 + warm, 1.0, 1 - warm])
    return np.asarray(np.clip(colour * tint, 0.02, 0.97), np.float32)


def _shade(colour: Floats, tone: Floats) -> Floats:
    """The colour times a tone map, clipped to 0..1."""
    return np.asarray(cv2.merge([np.clip(tone * part, 0.0, 1.0) for part in colour]), np.float32)


def _mix(first: Floats, second: Floats, weight: Floats) -> Floats:
    """From `first` to `second` by a weight map in 0..1."""
    return first + (second - first) * cv2.merge([weight] * 3)


WOODS: tuple[Colour, ...] = (
    (172, 128, 84), (140, 98, 62), (200, 162, 118), (98, 68, 46), (216, 188, 150), (160, 144, 124),
    (170, 108, 70), (222, 206, 182), (122, 108, 94),
)  # fmt: skip


def _planks(rng: np.random.Generator, count: int, joints: bool) -> Surface:
    """`count` boards along x, each with its own grain and tone; with `joints` also butt joints."""
    colour = _base(rng, WOODS)
    drift = octave_noise(rng, 4, 4, 0.4, stretch=4)
    fibre = octave_noise(rng, 96, 4, 0.85, stretch=48)
    streak = octave_noise(rng, 24, 5, 0.7, stretch=12)
    rows = np.arange(SIDE, dtype=np.float32)[:, None] / SIDE
    rings = rows * int(rng.integers(16, 34)) + drift * rng.uniform(0.5, 2.2) + 0.12 * streak
    # A sawtooth with a soft return: late wood ends abruptly at the ring.
    phase = rings - np.floor(rings)
    ring = smoothstep(0.0, 0.8, phase) * (1 - smoothstep(0.85, 1.0, phase))
    depth = rng.uniform(0.03, 0.11)
    cut = -depth * ring * (1 + 0.3 * drift) + rng.uniform(0.03, 0.06) * streak + 0.03 * fibre
    tone = np.empty((SIDE, SIDE), np.float32)
    relief = rng.uniform(0.1, 0.25) * fibre
    edges = np.linspace(0, SIDE, count + 1).astype(int)
    groove = rng.uniform(1.0, 2.4)
    for top, bottom in pairwise(edges):
        shift = int(rng.integers(SIDE))
        board = np.roll(cut, (shift * 7 % SIDE, shift), (0, 1))[top:bottom]
        height = np.arange(bottom - top, dtype=np.float32)
        gap = np.exp(-((np.minimum(height, bottom - top - 1 - height) / groove) ** 2))[:, None]
        if joints:
            along = np.abs(np.arange(SIDE, dtype=np.float32) - rng.integers(SIDE))
            gap = np.maximum(gap, np.exp(-((along / groove) ** 2))[None])
        tone[top:bottom] = (1.0 + rng.normal(0, 0.06) + board) * (1 - 0.6 * gap)
        relief[top:bottom] -= 2.0 * gap
    albedo = _shade(colour, tone)
    # Late wood is redder, besides darker.
    albedo[..., 2] *= 1 - 1.2 * depth * ring
    return Surface(albedo, relief, rng.uniform(1.0, 1.6), rng.uniform(0.03, 0.2))


def wooden_table(rng: np.random.Generator) -> Surface:
    """Broad boards."""
    return _planks(rng, int(rng.integers(2, 6)), joints=False)


def wooden_floor(rng: np.random.Generator) -> Surface:
    """Narrow floor boards with staggered joints."""
    return _planks(rng, int(rng.integers(6, 11)), joints=True)


def brick(rng: np.random.Generator) -> Surface:
    """Bricks in running bond with recessed mortar."""
    palette = (
        (150, 82, 64), (166, 100, 76), (128, 68, 56), (186, 150, 124), (204, 198, 190),
        (116, 98, 90),
    )  # fmt: skip
    colour = _base(rng, palette)
    mortar = _base(rng, ((186, 180, 170), (150, 144, 136), (206, 200, 190), (122, 116, 108)))
    rows = int(rng.integers(5, 8)) * 2
    inside, tone = laid_units(rng, Bond(rows, rows // 3 + 1, 0.5, rng.uniform(7, 12)))
    rough, coarse = octave_noise(rng, 48, 5, 0.8), octave_noise(rng, 8, 4)
    face = 1 + rng.uniform(0.06, 0.15) * tone + 0.07 * rough + 0.05 * coarse
    clay = _shade(colour, face)
    clay[..., 0] *= 1 + 0.05 * np.clip(coarse, -1, 1)
    albedo = np.clip(_mix(_shade(mortar, 1 + 0.08 * rough), clay, inside), 0, 1)
    return Surface(albedo, 3.0 * inside + 0.45 * rough, rng.uniform(0.9, 1.3))


def tiles(rng: np.random.Generator) -> Surface:
    """Square or brick-laid ceramic tiles with grout."""
    palette = (
        (222, 216, 206), (186, 178, 168), (120, 122, 126), (190, 152, 122), (230, 230, 228),
        (158, 170, 172), (98, 90, 84), (204, 192, 174),
    )  # fmt: skip
    colour = _base(rng, palette)
    count = int(rng.integers(2, 5)) * 2
    offset = float(rng.choice([0.0, 0.0, 0.5]))
    columns = count if offset == 0 else count // 2
    inside, tone = laid_units(rng, Bond(count, columns, offset, rng.uniform(5, 8)), 0.05)
    cloud, fine = octave_noise(rng, 6, 6, 0.6), octave_noise(rng, 64, 4, 0.8)
    face = 1 + rng.uniform(0.01, 0.05) * tone + rng.uniform(0.01, 0.05) * cloud + 0.015 * fine
    if rng.random() < 0.2 and offset == 0:
        # Chequerboard: every other tile dark.
        index = np.arange(SIDE) * count // SIDE
        face = face * np.where((index[:, None] + index) % 2, 1.0, rng.uniform(0.25, 0.6))
    grout = _base(rng, ((170, 164, 156), (110, 106, 102), (206, 202, 196)))
    albedo = _mix(_shade(grout, 1 + 0.08 * fine), _shade(colour, face), inside)
    return Surface(albedo, 1.6 * inside, rng.uniform(1.0, 1.5), rng.uniform(0.08, 0.3))


def marble(rng: np.random.Generator) -> Surface:
    """Veined stone, sometimes in slabs; veins are ridges of warped noise."""
    palette = ((232, 230, 226), (222, 215, 204), (208, 211, 213), (66, 68, 70), (196, 176, 158))
    colour = _base(rng, palette)
    pale = ((226, 220, 210), (190, 166, 126))
    vein = _base(rng, pale if colour.mean() < 0.4 else ((120, 120, 125), (150, 132, 110)))
    a, b = octave_noise(rng, 2, 5, 0.5), octave_noise(rng, 2, 5, 0.5)
    strength = rng.uniform(20, 55)
    field: Floats = np.abs(warp(octave_noise(rng, 2, 4, 0.4), a * strength, b * strength))
    second = warp(octave_noise(rng, 4, 4, 0.4), b * strength, a * strength)
    ridge = np.exp(-field / np.float32(rng.uniform(0.03, 0.09))) * smoothstep(-0.6, 1.2, b)
    ridge = ridge + 0.5 * np.exp(-np.abs(second) / 0.03) * smoothstep(0.0, 1.5, a)
    tone = 1 + 0.03 * octave_noise(rng, 3, 6, 0.55) - 0.06 * np.exp(-field / 0.4)
    weight = np.asarray(np.clip(ridge * rng.uniform(0.4, 0.85), 0, 1), np.float32)
    albedo = _mix(_shade(colour, np.asarray(tone, np.float32)), vein, weight)
    relief = np.zeros((SIDE, SIDE), np.float32)
    if rng.random() < 0.5:
        count = int(rng.integers(1, 3)) * 2
        inside, slab = laid_units(rng, Bond(count, count, 0.0, 3.5), 0.05)
        albedo = albedo * (0.62 + 0.38 * inside + 0.02 * slab * inside)[..., None]
        relief = inside
    return Surface(np.clip(albedo, 0, 1), relief, rng.uniform(1.0, 1.6), rng.uniform(0.1, 0.35))


def concrete(rng: np.random.Generator) -> Surface:
    """Cast concrete: stains, pores and sometimes an expansion joint."""
    colour = _base(rng, ((158, 156, 152), (184, 181, 175), (128, 128, 127), (170, 162, 151)))
    cloud, fine = octave_noise(rng, 3, 7, 0.68), grain(rng, 0.8)
    stain = smoothstep(0.4, 2.4, octave_noise(rng, 4, 6, 0.65))
    pores = smoothstep(2.6, 3.4, grain(rng, 1.8))
    tone = 1 + 0.05 * cloud + 0.035 * fine - 0.1 * stain - 0.3 * pores
    relief = 0.35 * fine + 0.4 * cloud - 1.5 * pores
    if rng.random() < 0.4:
        away = np.abs(np.arange(SIDE, dtype=np.float32) - SIDE * rng.uniform(0.3, 0.7))
        joint = np.exp(-((away / rng.uniform(2.0, 4.0)) ** 2))[:, None]
        tone, relief = tone * (1 - 0.55 * joint), relief - 2 * joint
    return Surface(_shade(colour, tone), relief, rng.uniform(0.9, 1.6))


def asphalt(rng: np.random.Generator) -> Surface:
    """Road surface: bright and dark grit in tar."""
    colour = _base(rng, ((96, 96, 97), (76, 77, 79), (118, 116, 114)))
    grit, fine, cloud = grain(rng, 1.5), grain(rng, 0.7), octave_noise(rng, 3, 5, 0.5)
    tone = 1 + 0.13 * grit + 0.1 * fine + 0.06 * cloud + 0.4 * smoothstep(1.8, 3.0, grit)
    return Surface(_shade(colour, tone), 0.7 * grit + 0.3 * fine, rng.uniform(0.9, 1.4))


def granite(rng: np.random.Generator) -> Surface:
    """Polished counter top of grains in four or five colours."""
    palette = ((196, 190, 182), (96, 94, 93), (180, 162, 148), (214, 212, 208), (64, 65, 67))
    albedo = np.broadcast_to(_base(rng, palette), (SIDE, SIDE, 3)).astype(np.float32)
    for blur in (5.0, 3.2, 2.0, 1.0):
        speck = _base(rng, ((52, 50, 50), (230, 226, 219), (150, 130, 114), (128, 128, 129)))
        weight = smoothstep(0.5, 1.6, grain(rng, blur)) * np.float32(rng.uniform(0.2, 0.6))
        albedo = _mix(albedo, speck, weight)
    relief = np.zeros((SIDE, SIDE), np.float32)
    return Surface(albedo, relief, rng.uniform(0.8, 1.2), rng.uniform(0.1, 0.3))


def _stones(rng: np.random.Generator, spacing: float, palette: Sequence[Colour]) -> Surface:
    """Rounded stones, each with its own colour, over a dark bed."""
    rim, label, count = cells(rng, spacing)
    first, second = _base(rng, palette), _base(rng, palette)
    share = rng.random((count, 1)).astype(np.float32)
    table = (first + (second - first) * share) * rng.normal(1, 0.11, (count, 1)).astype(np.float32)
    fine, rough = grain(rng, 0.8), octave_noise(rng, 24, 5, 0.7)
    rim = rim + rough * spacing * 0.03
    dome = np.sqrt(np.clip(1 - (1 - np.clip(rim / (spacing * 0.42), 0, 1)) ** 2, 0, 1))
    tone = (0.35 + 0.65 * smoothstep(0.1, 0.65, dome)) * (1 + 0.04 * fine + 0.06 * rough)
    albedo = np.clip(table[label] * tone[..., None], 0, 1).astype(np.float32)
    return Surface(albedo, dome * spacing * 0.24 + 0.25 * rough, rng.uniform(0.8, 1.2))


def gravel(rng: np.random.Generator) -> Surface:
    """Loose pebbles."""
    palette = ((150, 146, 140), (180, 172, 160), (122, 115, 109), (166, 152, 138), (192, 188, 182))
    return _stones(rng, rng.uniform(12, 26), palette)


def cobbles(rng: np.random.Generator) -> Surface:
    """Paving stones as large as a hand."""
    palette = ((132, 130, 128), (114, 110, 109), (154, 147, 139), (128, 118, 109))
    return _stones(rng, rng.uniform(60, 110), palette)


def sand(rng: np.random.Generator) -> Surface:
    """Fine grains with wind ripples and shallow dents."""
    colour = _base(rng, ((212, 188, 150), (222, 205, 174), (196, 170, 132), (204, 194, 178)))
    fine, grit = grain(rng), grain(rng, 1.2)
    dents, bend = octave_noise(rng, 6, 5, 0.5), octave_noise(rng, 3, 5, 0.5)
    rows = np.arange(SIDE, dtype=np.float32)[:, None] / SIDE
    ripples = np.sin(2 * np.pi * (rows * int(rng.integers(9, 20)) + bend * 0.8))
    fade = smoothstep(-1.0, 1.0, octave_noise(rng, 3, 3, 0.5))
    height = rng.uniform(0.3, 2.4) * ripples * fade + rng.uniform(2.0, 5.0) * dents
    height = height + 0.4 * grit + 0.3 * fine
    tone = 1 + 0.06 * fine + 0.05 * grit + 0.03 * bend - 0.3 * smoothstep(3.0, 3.8, grit)
    return Surface(_shade(colour, tone), height.astype(np.float32), rng.uniform(0.9, 1.4))


def grass(rng: np.random.Generator) -> Surface:
    """Blades of many greens drawn from the dark bottom to the light tips."""
    colour = _base(rng, ((98, 124, 60), (86, 112, 56), (122, 136, 74), (108, 120, 80)))
    soil = octave_noise(rng, 4, 6, 0.6)
    bed = (_shade(colour * 0.4, 1 + 0.15 * soil) * 255).astype(np.uint8)
    # OpenCV doesn't smooth a line at the image's border, so the canvas is larger than the tile.
    pad = 8
    canvas = cv2.copyMakeBorder(bed, pad, pad, pad, pad, cv2.BORDER_WRAP)
    lean, count, layers = rng.uniform(0, 2 * np.pi), 300, 24
    length, wildness = rng.uniform(45, 90), rng.uniform(0.3, 0.8)
    for layer in range(layers):
        tint = colour * (0.45 + 0.7 * layer / (layers - 1)) * rng.normal(1, 0.06, 3)
        if rng.random() < 0.15:
            tint = tint * np.array([1.3, 1.1, 0.95])  # dry stalks
        root = rng.uniform(0, SIDE, (count, 2))
        angle = lean + rng.normal(0, wildness, count)
        lengths = length * rng.uniform(0.5, 1.2, count)
        blade = np.stack([np.cos(angle), np.sin(angle)], -1) * lengths[:, None]
        bend = np.stack([-blade[:, 1], blade[:, 0]], -1) * rng.normal(0, 0.1, (count, 1))
        line = np.stack([root, root + blade * 0.55 + bend, root + blade], 1)
        # Copies shifted by a texture let blades that cross the border tile.
        copies = np.concatenate([line + (np.array(by) - 1) * SIDE for by in np.ndindex(3, 3)])
        visible = copies[np.any(np.all((copies > -pad) & (copies < SIDE + pad), axis=2), axis=1)]
        points = [
            curve.reshape(-1, 1, 2) for curve in np.round((visible + pad) * 8).astype(np.int32)
        ]
        paint = [float(c) for c in np.clip(tint, 0, 1) * 255]
        cv2.polylines(canvas, points, False, paint, 3 if layer % 4 else 2, cv2.LINE_AA, 3)
    patch = 1 + 0.1 * octave_noise(rng, 2, 4, 0.5)
    blades = canvas[pad:-pad, pad:-pad].astype(np.float32) / 255
    albedo = np.clip(blades * patch[..., None], 0, 1)
    return Surface(albedo, albedo[..., 1] * 3, rng.uniform(0.9, 1.4))


FABRICS: tuple[Colour, ...] = (
    (228, 226, 222), (206, 210, 218), (218, 204, 198), (190, 196, 188), (156, 164, 178),
    (230, 220, 202), (172, 156, 164),
)  # fmt: skip


def bed_sheet(rng: np.random.Generator) -> Surface:
    """Cloth with soft folds, plain or striped."""
    colour = _base(rng, FABRICS)
    bend, height = octave_noise(rng, 2, 4, 0.4), octave_noise(rng, 2, 4, 0.4)
    ys: Floats = np.linspace(0, 1, SIDE, endpoint=False, dtype=np.float32)[:, None]
    xs: Floats = ys.T
    height = height * rng.uniform(10, 22)
    # Folds run along a few directions. With whole wave numbers they tile.
    for _ in range(4):
        kx, ky = int(rng.integers(-3, 4)), int(rng.integers(-3, 4))
        waves = 2 * np.pi * (kx * xs + ky * ys + rng.random()) + bend * rng.uniform(1.0, 3.0)
        ridge = np.asarray((1 - np.abs(np.sin(waves))) ** 2, np.float32)
        weight = smoothstep(-0.4, 1.4, octave_noise(rng, 3, 2, 0.5))
        height = height + rng.uniform(6, 16) * ridge * weight
    smooth = cv2.GaussianBlur(height, (0, 0), 4.0, borderType=cv2.BORDER_REFLECT)
    tone = 1 + 0.012 * grain(rng) + 0.02 * bend
    albedo = _shade(colour, tone)
    if rng.random() < 0.35:
        across = np.asarray(xs * int(rng.integers(6, 22)) + 0.04 * bend, np.float32)
        stripe = smoothstep(0.6, 0.7, np.abs(np.mod(across, np.float32(1.0)) * 2 - 1))
        albedo = _mix(albedo, _shade(_base(rng, FABRICS) * np.float32(0.8), tone), stripe)
    return Surface(albedo, np.asarray(smooth, np.float32), rng.uniform(1.0, 1.5))


def carpet(rng: np.random.Generator) -> Surface:
    """Pile with worn patches, plain or in broad bands."""
    palette = (
        (150, 140, 128), (122, 125, 131), (174, 164, 149), (122, 74, 68), (80, 91, 109),
        (102, 109, 93), (194, 187, 177), (84, 81, 81),
    )  # fmt: skip
    tuft, fine = grain(rng, rng.uniform(1.2, 2.6)), grain(rng, 0.6)
    tone = 1 + rng.uniform(0.05, 0.1) * tuft + 0.05 * fine + 0.04 * octave_noise(rng, 4, 5, 0.5)
    albedo = _shade(_base(rng, palette), tone)
    if rng.random() < 0.35:
        count = int(rng.integers(2, 6))
        rows = np.arange(SIDE, dtype=np.float32)[:, None] / SIDE
        along = np.asarray(np.mod(rows * count + 0.01 * tuft, 1.0), np.float32)
        band = smoothstep(0.55, 0.58, along) * (1 - smoothstep(0.85, 0.88, along))
        albedo = _mix(albedo, _shade(_base(rng, palette), tone), band)
    return Surface(albedo, rng.uniform(0.5, 1.1) * tuft + 0.3 * fine, rng.uniform(0.8, 1.2))


def paper(rng: np.random.Generator) -> Surface:
    """A studio's background paper: one colour with a trace of fibre."""
    palette = (
        (234, 234, 232), (220, 220, 220), (196, 198, 201), (212, 204, 193), (182, 196, 204),
        (204, 192, 198), (130, 132, 135), (190, 201, 187), (222, 208, 170),
    )  # fmt: skip
    tone = 1 + 0.006 * octave_noise(rng, 3, 6, 0.6) + 0.006 * grain(rng, 0.7)
    relief = np.zeros((SIDE, SIDE), np.float32)
    return Surface(_shade(_base(rng, palette), tone), relief, 1.2, rng.uniform(0.0, 0.1))


SURFACES: dict[str, Callable[[np.random.Generator], Surface]] = {
    draw.__name__: draw
    for draw in (
        wooden_table, wooden_floor, brick, tiles, marble, concrete, asphalt, granite, gravel,
        cobbles, sand, grass, bed_sheet, carpet, paper,
    )
}  # fmt: skip

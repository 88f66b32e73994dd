"""Backdrops of procedural backgrounds: walls, rooms, streets, gardens, out of focus.

Backdrops are small and have no detail, because they lie behind the plane of focus; `scene.py` blurs
and enlarges them. Each function takes (rng, width, height) and returns (height, width, 3) float32
RGB in 0..1. The last row meets the ground.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from models.data.pixels import Floats

Backdrop = Callable[[np.random.Generator, int, int], Floats]
Colour = tuple[int, int, int]

WALLS: tuple[Colour, ...] = (
    (226, 222, 214), (208, 204, 196), (196, 202, 206), (214, 202, 184), (176, 184, 178),
    (168, 174, 186), (206, 190, 180), (146, 148, 150), (120, 130, 134), (232, 228, 224),
)  # fmt: skip
FURNITURE: tuple[Colour, ...] = (
    (120, 84, 56), (86, 64, 50), (172, 140, 104), (212, 206, 198), (70, 76, 86), (126, 132, 128),
    (150, 92, 78), (92, 104, 88), (46, 46, 50),
)  # fmt: skip
FACADES: tuple[Colour, ...] = (
    (176, 160, 142), (140, 132, 126), (164, 118, 98), (198, 190, 178), (120, 122, 128),
    (150, 140, 120),
)  # fmt: skip
SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((112, 154, 204), (206, 220, 232)), ((176, 186, 196), (216, 220, 224)),
    ((140, 160, 190), (240, 222, 196)), ((196, 204, 212), (226, 228, 228)),
)  # fmt: skip


def _pick(rng: np.random.Generator, palette: Sequence[Colour], spread: float = 0.08) -> Floats:
    """A random colour of the palette, up to `spread` lighter or darker, (3,) in 0..1."""
    colour = np.asarray(palette[int(rng.integers(len(palette)))], np.float32) / 255.0
    return np.asarray(np.clip(colour * (1 + rng.uniform(-spread, spread)), 0, 1), np.float32)


def _clouds(rng: np.random.Generator, height: int, width: int, cells: int) -> Floats:
    """Smooth noise in about -1..1 with square lattice cells."""
    noise = np.zeros((height, width), np.float32)
    for octave in range(4):
        count = cells * 2**octave
        rows = max(2, round(count * height / width))
        lattice = rng.uniform(-1, 1, (rows, max(2, count))).astype(np.float32)
        noise += cv2.resize(lattice, (width, height), interpolation=cv2.INTER_CUBIC) * 0.55**octave
    return noise


def _fill(rng: np.random.Generator, width: int, height: int, colour: Floats) -> Floats:
    """A colour with faint variation in brightness."""
    tone = 1 + 0.025 * _clouds(rng, height, width, 2)
    return np.asarray(np.clip(tone[..., None] * colour, 0, 1), np.float32)


def _block(image: Floats, box: tuple[float, float, float, float], colour: Floats) -> None:
    """Paint a rectangle given as (left, top, right, bottom) shares of the image."""
    height, width = image.shape[:2]
    left, right = sorted((round(box[0] * width), round(box[2] * width)))
    top, bottom = sorted((round(box[1] * height), round(box[3] * height)))
    image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = colour


def plain_wall(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A painted wall, often with a skirting board."""
    colour = _pick(rng, WALLS)
    wall = _fill(rng, width, height, colour)
    if rng.random() < 0.6:
        board = _pick(rng, ((236, 234, 230), (150, 116, 84), (92, 86, 82)))
        deep = rng.uniform(0.06, 0.14)
        _block(wall, (0, 1 - deep, 1, 1), board)
        _block(wall, (0, 1 - deep, 1, 1 - deep * 0.88), board * np.float32(0.75))
    return wall


def room(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A wall with a window or pictures above and furniture below."""
    wall = _fill(rng, width, height, _pick(rng, WALLS))
    if rng.random() < 0.5:
        left, wide = rng.uniform(-0.1, 0.7), rng.uniform(0.25, 0.5)
        _block(wall, (left - 0.02, 0.0, left + wide + 0.02, 0.62), _pick(rng, WALLS))
        for pane in (0, 1):
            edge = left + pane * wide / 2
            _block(
                wall, (edge + 0.01, 0.0, edge + wide / 2 - 0.01, 0.58), _pick(rng, SKIES[3], 0.05)
            )
        _block(wall, (left - 0.12, 0.0, left, 0.9), _pick(rng, WALLS))
    else:
        for _ in range(int(rng.integers(1, 4))):
            x, y, w = rng.uniform(0, 0.85), rng.uniform(0.0, 0.3), rng.uniform(0.1, 0.25)
            _block(wall, (x, y, x + w, y + w * 1.1), _pick(rng, FURNITURE))
            _block(wall, (x + 0.02, y + 0.03, x + w - 0.02, y + w), _pick(rng, WALLS))
    for _ in range(int(rng.integers(2, 5))):
        x, w, top = rng.uniform(-0.15, 0.9), rng.uniform(0.15, 0.45), rng.uniform(0.4, 0.85)
        colour = _pick(rng, FURNITURE, 0.2)
        _block(wall, (x, top, x + w, 1.0), colour)
        _block(wall, (x, top, x + w, top + 0.04), np.minimum(colour * 1.25, 1.0))
        for _ in range(int(rng.integers(0, 4))):
            left, wide, tall = (
                x + rng.uniform(0, w),
                rng.uniform(0.02, 0.07),
                rng.uniform(0.05, 0.2),
            )
            _block(wall, (left, top - tall, left + wide, top), _pick(rng, FURNITURE + WALLS, 0.2))
    return wall


def _sky(rng: np.random.Generator, width: int, height: int) -> Floats:
    """A sky that fades towards the horizon, with clouds."""
    high, low = (np.asarray(colour, np.float32) / 255 for colour in SKIES[rng.integers(len(SKIES))])
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    haze = np.clip(fade + 0.25 * np.maximum(_clouds(rng, height, width, 3), 0), 0, 1)
    return np.asarray(high + (low - high) * haze[..., None], np.float32)


def _foliage(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Leaves out of focus: green patches, with bright discs where light shines through."""
    dark, light = (
        _pick(rng, ((46, 62, 34), (58, 70, 44), (70, 76, 50))),
        _pick(rng, ((124, 146, 78), (142, 152, 92), (108, 130, 74), (166, 158, 98))),
    )
    depth = np.clip(0.5 + 0.55 * _clouds(rng, height, width, 5), 0, 1)[..., None]
    leaves = np.ascontiguousarray(dark + (light - dark) * depth, np.float32)
    for _ in range(int(rng.integers(10, 50))):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        glow = leaves[centre[1], centre[0]] * rng.uniform(1.1, 1.8)
        paint = [float(c) for c in np.minimum(glow + 0.04, 1.0)]
        cv2.circle(leaves, centre, int(rng.integers(2, 7)), paint, -1, cv2.LINE_AA)
    return leaves


def garden(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Bushes and trees, in half of the cases with sky above."""
    leaves = _foliage(rng, width, height)
    if rng.random() < 0.5:
        return leaves
    return _layer(rng, _sky(rng, width, height), leaves, rng.uniform(0.1, 0.5))


def _layer(rng: np.random.Generator, far: Floats, near: Floats, top: float) -> Floats:
    """`near` in front of `far`, below an uneven line at the share `top` of the height."""
    height, width = far.shape[:2]
    ridge = top + 0.12 * _clouds(rng, 2, width, 6)[0]
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    weight = np.clip((rows - ridge) * height / 3 + 0.5, 0, 1)[..., None]
    return np.asarray(far + (near - far) * weight, np.float32)


def field(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Sky over hazy hills and a line of trees."""
    view = _sky(rng, width, height)
    haze = view[-1, 0]
    for share, top in ((0.75, 0.6), (0.5, 0.72)):
        hill = _pick(rng, ((96, 112, 84), (110, 116, 96), (92, 104, 112)))
        tone = _fill(rng, width, height, haze * share + hill * (1 - share))
        view = _layer(rng, view, tone, top + rng.uniform(-0.1, 0.1))
    return _layer(rng, view, _foliage(rng, width, height), rng.uniform(0.8, 0.95))


def beach(rng: np.random.Generator, width: int, height: int) -> Floats:
    """Sky over the sea."""
    view = _sky(rng, width, height)
    line = round(height * rng.uniform(0.55, 0.8))
    sea = _pick(rng, ((74, 122, 140), (96, 138, 150), (110, 132, 146)))
    waves = cv2.resize(_clouds(rng, height, 16, 2), (width, height), interpolation=cv2.INTER_CUBIC)
    view[line:] = np.clip(sea * (1 + 0.08 * waves[line:, :, None]), 0, 1)
    view[-max(1, height // 30) :] = np.minimum(view[-1] * 0.3 + 0.6, 1.0)
    return view


def street(rng: np.random.Generator, width: int, height: int) -> Floats:
    """House fronts with windows, and a few coloured blocks that stand for cars."""
    view = _sky(rng, width, height)
    x = rng.uniform(-0.2, 0.0)
    while x < 1.0:
        wide, top = rng.uniform(0.25, 0.55), rng.uniform(-0.4, 0.25)
        front = _pick(rng, FACADES, 0.15)
        _block(view, (x, max(top, 0), x + wide, 1.0), front)
        columns, storey = int(rng.integers(2, 5)), rng.uniform(0.22, 0.4)
        glass = _pick(rng, ((70, 80, 92), (96, 108, 120), (54, 56, 60)))
        for row in np.arange(top + 0.06, 0.85, storey):
            for column in range(columns):
                left = x + (column + 0.25) * wide / columns
                box = (
                    left,
                    max(row, 0.0),
                    left + 0.5 * wide / columns,
                    max(row + storey * 0.6, 0.0),
                )
                _block(view, box, glass * np.float32(rng.uniform(0.8, 1.3)))
        x += wide
    for _ in range(int(rng.integers(0, 4))):
        left = rng.uniform(-0.1, 0.9)
        box = (left, rng.uniform(0.7, 0.85), left + rng.uniform(0.1, 0.3), 1.0)
        _block(view, box, _pick(rng, FURNITURE, 0.3))
    return np.asarray(np.clip(view, 0, 1), np.float32)


BACKDROPS: dict[str, Backdrop] = {
    draw.__name__: draw for draw in (plain_wall, room, garden, field, beach, street)
}

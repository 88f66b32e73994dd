"""Background images: an empty scene with ground to stand on, rendered from a scene's name.

A procedural background is a surface (`surfaces.py`) seen by a pinhole camera, a backdrop behind it
(`backdrops.py`), one light and a plane of focus near the front. It needs no files, so a run without
a folder of backgrounds still has varied scenes.
"""

import re
from dataclasses import dataclass

import cv2
import numpy as np

from models.compositing.backgrounds.backdrops import BACKDROPS
from models.compositing.backgrounds.noise import SIDE
from models.compositing.backgrounds.surfaces import SURFACES, Surface
from models.data.pixels import Floats, Pixels

Size = tuple[int, int]


@dataclass(frozen=True)
class Background:
    """An empty scene.

    ``pixels``: uint8 HxWx3 RGB. ``horizon``: where the ground meets the backdrop, 0..1 of the
    height; 0.0 is a flat surface seen from above. ``light``: direction that the light comes from,
    (x, up): x from -1 (left) to 1 (right), up from 0 (at the horizon) to 1 (overhead).
    """

    pixels: Pixels
    horizon: float
    light: tuple[float, float] = (-0.4, 0.7)


@dataclass(frozen=True)
class _SceneKind:
    """What a named scene may contain.

    ``surfaces`` and ``backdrops``: one of each is drawn. ``words``: words of a prompt that name the
    scene. ``top_view_probability``: 0..1, chance of a flat surface seen from above.
    """

    surfaces: tuple[str, ...]
    backdrops: tuple[str, ...]
    words: tuple[str, ...]
    top_view_probability: float = 0.3
    outdoors: bool = False


_SCENES: dict[str, _SceneKind] = {
    "on a wooden table": _SceneKind(
        ("wooden_table",), ("room", "plain_wall"), ("wood", "wooden", "table", "desk")
    ),
    "on a wooden floor": _SceneKind(
        ("wooden_floor",), ("plain_wall", "room"), ("parquet", "floorboards", "planks"), 0.4
    ),
    "on a tiled floor": _SceneKind(
        ("tiles",), ("plain_wall", "room"), ("tiled", "tiles", "tile"), 0.4
    ),
    "on a marble floor": _SceneKind(("marble",), ("plain_wall", "room"), ("marble",), 0.4),
    "on a kitchen counter": _SceneKind(
        ("granite",), ("room", "plain_wall"), ("kitchen", "counter", "countertop", "granite")
    ),
    "on carpet": _SceneKind(("carpet",), ("plain_wall", "room"), ("carpet", "rug", "mat"), 0.5),
    "on a bed sheet": _SceneKind(
        ("bed_sheet",), ("plain_wall", "room"), ("bed", "sheet", "blanket", "cloth", "linen"), 0.7
    ),
    "in a room": _SceneKind(
        ("wooden_floor", "carpet", "tiles"), ("room",), ("room", "indoors", "inside", "home"), 0.0
    ),
    "in a studio": _SceneKind(("paper",), ("sweep",), ("studio", "paper", "backdrop"), 0.2),
    "against a brick wall": _SceneKind(
        ("concrete", "asphalt", "wooden_floor", "cobbles"), ("brick",), ("brick", "wall"), 0.0
    ),
    "on grass": _SceneKind(
        ("grass",), ("garden", "field"), ("grass", "lawn", "meadow", "garden", "park"), 0.4, True
    ),
    "on sand": _SceneKind(("sand",), ("beach", "field"), ("sand", "beach", "desert"), 0.4, True),
    "on gravel": _SceneKind(
        ("gravel",), ("garden", "field"), ("gravel", "pebbles", "path"), 0.4, True
    ),
    "on cobblestones": _SceneKind(
        ("cobbles",), ("street", "garden"), ("cobblestones", "cobbles", "paving"), 0.3, True
    ),
    "on concrete": _SceneKind(
        ("concrete",), ("street", "plain_wall"), ("concrete", "cement", "pavement"), 0.3, True
    ),
    "on asphalt": _SceneKind(
        ("asphalt",), ("street", "field"), ("asphalt", "road", "street", "tarmac"), 0.3, True
    ),
}  # fmt: skip
SCENES: tuple[str, ...] = tuple(_SCENES)


@dataclass(frozen=True)
class _View:
    """The camera over the ground. Lengths are in frame widths, y points down from the top edge.

    ``edge``: y of the ground's far edge, 0 for a top view. ``vanish``: y of its vanishing line.
    ``bottom``: y of the lower edge of the frame. ``rotation``: of the texture on the ground,
    radians.
    """

    edge: float
    vanish: float
    bottom: float
    rotation: float


def scene_from_prompt(prompt: str, rng: np.random.Generator) -> str:
    """The scene of `SCENES` that a prompt names, or else one drawn at random.

    A whole name such as "on grass" wins over a single word such as "lawn". Among equals the last
    one in the prompt wins, because prompts usually name the object before the scene.
    """
    text = prompt.lower()
    whole_names = [(name, (name,)) for name in SCENES]
    single_words = [(name, kind.words) for name, kind in _SCENES.items()]
    for candidates in (whole_names, single_words):
        found = [
            (match.start(), name)
            for name, words in candidates
            for word in words
            for match in re.finditer(rf"\b{re.escape(word)}\b", text)
        ]
        if found:
            return max(found)[1]
    return SCENES[int(rng.integers(len(SCENES)))]


def procedural_background(
    scene: str, size: Size, rng: np.random.Generator, *, top_view_probability: float | None = None
) -> Background:
    """Render a background of the named scene.

    Args:
        scene: one of `SCENES`.
        size: (width, height) in px.
        rng: draws surface, backdrop, view, light and camera.
        top_view_probability: chance, 0..1, of a flat surface seen from straight above; None uses
            the scene's own.

    Raises:
        ValueError: the scene is none of `SCENES`.
    """
    kind = _SCENES.get(scene)
    if kind is None:
        raise ValueError(f"scene {scene!r} is unknown; choose one of: {', '.join(SCENES)}")
    width, height = size
    if top_view_probability is None:
        top_view_probability = kind.top_view_probability
    view = _draw_view(kind, height / width, top_view_probability, rng)
    light = (float(rng.uniform(-1, 1)), float(rng.uniform(0.35, 0.95)))
    surface = SURFACES[kind.surfaces[int(rng.integers(len(kind.surfaces)))]](rng)
    texture = _lit_texture(surface, light, view.rotation)
    top = round(view.edge * width)
    ground = _project_ground(texture, surface.span, view, (width, height))
    if top == 0:
        pixels = ground
    else:
        name = kind.backdrops[int(rng.integers(len(kind.backdrops)))]
        wall = _draw_backdrop(name, ground[0].mean(0), (width, top), rng)
        ground = _mirror_backdrop(ground, wall, surface.gloss)
        pixels = _defocus(np.vstack([wall, ground]), top, name != "brick", rng)
    lit = _illuminate(pixels, view, light, rng)
    return Background(_expose(lit, rng), top / height, light)


def _draw_view(
    kind: _SceneKind, aspect: float, top_view_probability: float, rng: np.random.Generator
) -> _View:
    rotation = float(rng.uniform(0, 2 * np.pi))
    if rng.random() < top_view_probability:
        return _View(0.0, -aspect * rng.uniform(1.2, 5.0), aspect, rotation)
    if kind.backdrops == ("brick",):
        edge, above = rng.uniform(0.5, 0.66), rng.uniform(0.3, 0.7)
    elif kind.outdoors:
        edge, above = rng.uniform(0.2, 0.45), rng.uniform(0.06, 0.3)
    else:
        edge, above = rng.uniform(0.2, 0.5), rng.uniform(0.25, 0.8)
    # Rooms and tables are mostly seen square on; a lawn has no direction.
    if not kind.outdoors:
        rotation = float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.2))
    return _View(edge * aspect, (edge - above) * aspect, aspect, rotation)


def _lit_texture(surface: Surface, light: tuple[float, float], rotation: float) -> Pixels:
    """The surface, uint8 RGB, with its relief shaded by the light."""
    from_x, from_y = light[0], -0.6 * (1 - abs(light[0]))
    # The texture is rotated on the ground, the light is not.
    x = from_x * np.cos(rotation) + from_y * np.sin(rotation)
    y = -from_x * np.sin(rotation) + from_y * np.cos(rotation)
    strength = 0.32 * (1.25 - light[1])
    relief = cv2.copyMakeBorder(surface.relief, 1, 0, 1, 0, cv2.BORDER_WRAP)
    along_x = relief[1:, 1:] - relief[1:, :-1]
    along_y = relief[1:, 1:] - relief[:-1, 1:]
    # A slope that rises away from the light faces it.
    shade = np.clip(1.0 - strength * (x * along_x + y * along_y), 0.45, 1.5).astype(np.float32)
    lit = cv2.multiply(surface.albedo, cv2.merge([shade * 255.0] * 3))
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def _project_ground(texture: Pixels, span: float, view: _View, size: Size) -> Pixels:
    """The rows of the frame from the ground's far edge down: the texture in perspective."""
    width, height = size
    camera = view.bottom - view.vanish
    # Frame (in widths) to ground: x' = x * camera / depth, y' = focal * camera / depth.
    focal = camera if view.edge == 0 else 1.1
    cast = np.array([[camera, 0, -0.5 * camera], [0, 0, focal * camera], [0, 1, -view.vanish]])
    cos, sin = np.cos(view.rotation), np.sin(view.rotation)
    rotate = np.array([[cos, sin, 0.37], [-sin, cos, 0.71], [0, 0, 1]])
    top = round(view.edge * width)
    frame = np.array([[1 / width, 0, 0], [0, 1 / width, top / width], [0, 0, 1]])
    shape = (width, height - top)
    ground = np.empty((shape[1], width, 3), np.uint8)
    rows = top / width + np.arange(shape[1]) / width
    texels = SIDE / span * camera / (rows - view.vanish) / width
    level, first, last = texture, 0, shape[1]
    while last > first:
        # One level of detail serves all rows that shrink it less than twice; they are the lowest.
        side = level.shape[0]
        coarse = texels[:last] * side / SIDE > 1.6
        start = int(np.count_nonzero(coarse)) if side > 48 else 0
        scale = np.diag([side / span, side / span, 1.0])
        move = np.array([[1, 0, 0], [0, 1, start], [0, 0, 1]])
        matrix = scale @ rotate @ cast @ frame @ move
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        part = (width, last - start)
        if part[1] > 0:
            ground[start:last] = cv2.warpPerspective(
                level, matrix, part, flags=flags, borderMode=cv2.BORDER_WRAP
            )
        last = start
        half = (side // 2, side // 2)
        level = np.asarray(cv2.resize(level, half, interpolation=cv2.INTER_AREA), np.uint8)
    return ground


def _draw_backdrop(name: str, edge_colour: Floats, size: Size, rng: np.random.Generator) -> Pixels:
    """The backdrop of a name, uint8 (height, width, 3).

    ``edge_colour``: (3,) in 0..255, mean of the ground's farthest row. A sweep continues it.
    """
    width, height = size
    if name == "brick":
        surface = SURFACES["brick"](rng)
        view = _View(0.0, -6.0, height / width, float(rng.normal(0, 0.01)))
        texture = _lit_texture(surface, (float(rng.uniform(-1, 1)), 0.5), 0.0)
        return _project_ground(texture, surface.span * rng.uniform(0.8, 1.2), view, size)
    small = (max(24, width // 4), max(16, height // 4))
    if name == "sweep":
        fade = np.linspace(rng.uniform(0.75, 1.1), 1.0, small[1])[:, None, None] ** 2
        drawn = np.clip(np.tile(edge_colour / 255.0 * fade, (1, small[0], 1)), 0, 1).astype(
            np.float32
        )
    else:
        drawn = BACKDROPS[name](rng, *small)
        blur = small[0] * rng.uniform(0.006, 0.035)
        drawn = np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur), np.float32)
    large = cv2.resize(drawn, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large * 255, 0, 255), np.uint8)


def _mirror_backdrop(ground: Pixels, backdrop: Pixels, gloss: float) -> Pixels:
    """The ground with a soft reflection of the backdrop, stronger at the far edge (Fresnel)."""
    rows, width = ground.shape[:2]
    if gloss < 0.02:
        return ground
    small = cv2.resize(backdrop[::-1], (max(8, width // 16), max(8, rows // 16)))
    soft = cv2.GaussianBlur(small, (0, 0), 2.5)
    image = cv2.resize(soft, (width, rows), interpolation=cv2.INTER_LINEAR)
    far = np.linspace(1, 0, rows, dtype=np.float32)[:, None, None]
    weight = np.asarray(gloss * (0.35 + 1.3 * far**2), np.float32)
    return np.asarray(ground * (1 - weight) + image * weight, np.uint8)


def _defocus(pixels: Pixels, top: int, deep: bool, rng: np.random.Generator) -> Pixels:
    """The scene with its far part out of focus: most at the horizon, not at all in front."""
    height, width = pixels.shape[:2]
    blur = width * (rng.uniform(0.002, 0.009) if deep else rng.uniform(0.0005, 0.0015))
    rows = np.arange(height, dtype=np.float32)
    sharp_from = top + (height - top) * rng.uniform(0.35, 0.6)
    weight = np.clip((sharp_from - rows) / max(1.0, sharp_from - top), 0, 1)[:, None, None]
    last = min(height, int(sharp_from) + 1)
    soft = cv2.GaussianBlur(pixels[:last], (0, 0), blur)
    blend = pixels[:last] + (soft.astype(np.float32) - pixels[:last]) * np.sqrt(weight[:last])
    result = pixels.copy()
    result[:last] = np.rint(blend).astype(np.uint8)
    return result


def _illuminate(
    pixels: Pixels, view: _View, light: tuple[float, float], rng: np.random.Generator
) -> Floats:
    """The scene under its light: falloff, soft cast shadows, vignette; float32 in 0..255."""
    height, width = pixels.shape[:2]
    ys = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    xs = np.linspace(-1, 1, 64, dtype=np.float32)[None]
    side = 1 + rng.uniform(0.03, 0.16) * light[0] * xs - rng.uniform(0.0, 0.08) * ys
    pool = np.exp(-((xs - 0.6 * light[0]) ** 2 + (ys - 0.2) ** 2) / rng.uniform(0.8, 3.0))
    gain = side * (1 + rng.uniform(0.0, 0.18) * pool)
    if rng.random() < 0.4:
        gain = gain * (1 - rng.uniform(0.06, 0.2) * _cast_shadows(view, light, rng))
    gain = gain * (1 - rng.uniform(0.02, 0.12) * (xs**2 + ys**2))
    full = cv2.resize(gain.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.multiply(pixels, cv2.merge([full] * 3), dtype=cv2.CV_32F), np.float32)


def _cast_shadows(view: _View, light: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Broad soft shadows of things out of frame, (64, 64) in 0..1, on the ground only."""
    rows = np.linspace(0, view.bottom, 64, dtype=np.float32)[:, None]
    depth = np.maximum(rows - view.vanish, 0.05)
    across = (np.linspace(-0.5, 0.5, 64, dtype=np.float32)[None] * view.bottom) / depth
    away = 0.5 * view.bottom / depth
    slant = rng.uniform(3.0, 9.0) * (across + light[0] * away) + rng.uniform(0, 6)
    waves = np.sin(slant) + 0.7 * np.sin(rng.uniform(2, 6) * (away - across) + rng.uniform(0, 6))
    shadow = np.clip(waves / rng.uniform(0.7, 1.8) + rng.uniform(-0.3, 0.5), 0, 1)
    # They fade over a fifth of the frame, because a studio's paper has no edge to end at.
    on_ground = np.clip((rows - view.edge) / (0.2 * view.bottom), 0, 1) if view.edge else 1.0
    return np.asarray(
        cv2.GaussianBlur(shadow * on_ground, (0, 0), rng.uniform(1.0, 2.5)), np.float32
    )


def _expose(lit: Floats, rng: np.random.Generator) -> Pixels:
    """The picture (uint8) with exposure, white balance and sensor noise of one camera."""
    warm = rng.uniform(-0.05, 0.05)
    balance = np.array([1 + warm, 1.0, 1 - warm]) * rng.uniform(0.88, 1.1)
    width = lit.shape[1]
    # Rows of width x 3 values, because NumPy is slow where the last axis is short.
    values = lit.reshape(len(lit), -1) * np.tile(balance.astype(np.float32), width)
    # A soft shoulder instead of clipped highlights.
    bright = np.flatnonzero(values > 225)
    values.reshape(-1)[bright] = 225 + 30 * np.tanh((values.reshape(-1)[bright] - 225) / 30)
    draws = np.frombuffer(rng.bytes(len(lit) * width), np.uint8).reshape(len(lit), width)
    noise = (draws.astype(np.float32) - 127.5) / 73.6
    values += np.repeat(noise * np.float32(rng.uniform(0.8, 3.0)), 3, axis=1)
    return np.asarray(np.clip(values, 0, 255), np.uint8).reshape(lit.shape)

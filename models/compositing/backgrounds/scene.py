"""Background plates: an empty scene with a floor to stand on, drawn or taken from a photo.

A procedural plate is a surface (`models.compositing.backgrounds.surfaces`) laid out under a
pinhole camera, a
backdrop behind it (`models.compositing.backgrounds.backdrops`), one light and a plane of focus
near the front. It
needs no files, so that a run without a folder of plates still has varied grounds.
"""

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from models.compositing.backgrounds.backdrops import BACKDROPS
from models.compositing.backgrounds.noise import SIDE, Floats
from models.compositing.backgrounds.surfaces import SURFACES, Surface
from models.data.pixels import Pixels

Size = tuple[int, int]


@dataclass(frozen=True)
class Plate:
    """An empty scene.

    ``pixels``: uint8 HxWx3 RGB. ``horizon``: where the floor meets what stands behind it, 0..1 of
    the height; 0.0 is a flat surface seen from above. ``light``: where the light comes from,
    (x, up): x from -1 (left) to 1 (right), up from 0 (at the horizon) to 1 (overhead).
    """

    pixels: Pixels
    horizon: float
    light: tuple[float, float] = (-0.4, 0.7)


@dataclass(frozen=True)
class _Scene:
    """Surfaces and backdrops to draw from, words that name the scene, chance of a top view."""

    surfaces: tuple[str, ...]
    backdrops: tuple[str, ...]
    words: tuple[str, ...]
    flat: float = 0.3
    outdoors: bool = False


_SCENES: dict[str, _Scene] = {
    "on a wooden table": _Scene(
        ("wooden_table",), ("room", "plain_wall"), ("wood", "wooden", "table", "desk")
    ),
    "on a wooden floor": _Scene(
        ("wooden_floor",), ("plain_wall", "room"), ("parquet", "floorboards", "planks"), 0.4
    ),
    "on a tiled floor": _Scene(("tiles",), ("plain_wall", "room"), ("tiled", "tiles", "tile"), 0.4),
    "on a marble floor": _Scene(("marble",), ("plain_wall", "room"), ("marble",), 0.4),
    "on a kitchen counter": _Scene(
        ("granite",), ("room", "plain_wall"), ("kitchen", "counter", "countertop", "granite")
    ),
    "on carpet": _Scene(("carpet",), ("plain_wall", "room"), ("carpet", "rug", "mat"), 0.5),
    "on a bed sheet": _Scene(
        ("bed_sheet",), ("plain_wall", "room"), ("bed", "sheet", "blanket", "cloth", "linen"), 0.7
    ),
    "in a room": _Scene(
        ("wooden_floor", "carpet", "tiles"), ("room",), ("room", "indoors", "inside", "home"), 0.0
    ),
    "in a studio": _Scene(("paper",), ("sweep",), ("studio", "paper", "backdrop"), 0.2),
    "against a brick wall": _Scene(
        ("concrete", "asphalt", "wooden_floor", "cobbles"), ("brick",), ("brick", "wall"), 0.0
    ),
    "on grass": _Scene(
        ("grass",), ("garden", "field"), ("grass", "lawn", "meadow", "garden", "park"), 0.4, True
    ),
    "on sand": _Scene(("sand",), ("beach", "field"), ("sand", "beach", "desert"), 0.4, True),
    "on gravel": _Scene(("gravel",), ("garden", "field"), ("gravel", "pebbles", "path"), 0.4, True),
    "on cobblestones": _Scene(
        ("cobbles",), ("street", "garden"), ("cobblestones", "cobbles", "paving"), 0.3, True
    ),
    "on concrete": _Scene(
        ("concrete",), ("street", "plain_wall"), ("concrete", "cement", "pavement"), 0.3, True
    ),
    "on asphalt": _Scene(
        ("asphalt",), ("street", "field"), ("asphalt", "road", "street", "tarmac"), 0.3, True
    ),
}  # fmt: skip
SCENES: tuple[str, ...] = tuple(_SCENES)


@dataclass(frozen=True)
class _View:
    """The camera over the floor; lengths in widths of the frame, y downwards from the top edge.

    ``edge``: where the floor ends, 0 for a top view. ``vanish``: where it would vanish.
    ``bottom``: the lower edge of the frame. ``turn``: how the texture lies on the floor, radians.
    """

    edge: float
    vanish: float
    bottom: float
    turn: float


def scene_from_prompt(prompt: str, rng: np.random.Generator) -> str:
    """The scene of `SCENES` that a prompt names, or else one drawn at random.

    A whole name such as "on grass" wins over a single word such as "lawn"; among equals the last
    one in the prompt does, since what the picture shows usually stands before where it is.
    """
    text = prompt.lower()
    for names in ([(name, (name,)) for name in SCENES], [(n, s.words) for n, s in _SCENES.items()]):
        found = [
            (hit.start(), name)
            for name, words in names
            for word in words
            for hit in re.finditer(rf"\b{re.escape(word)}\b", text)
        ]
        if found:
            return max(found)[1]
    return SCENES[int(rng.integers(len(SCENES)))]


def procedural_plate(
    scene: str, size: Size, rng: np.random.Generator, *, from_above: float | None = None
) -> Plate:
    """A drawn plate of the named scene; (width, height) in px.

    `from_above` is the chance, 0..1, of a flat surface seen from straight above; None leaves it to
    the scene.

    Raises:
        ValueError: the scene is none of `SCENES`, or a side is under 16 px.
    """
    kind = _SCENES.get(scene)
    if kind is None:
        raise ValueError(f"scene {scene!r} is unknown; choose one of: {', '.join(SCENES)}")
    width, height = _checked(size)
    flat = kind.flat if from_above is None else from_above
    view = _draw_view(kind, height / width, flat, rng)
    light = (float(rng.uniform(-1, 1)), float(rng.uniform(0.35, 0.95)))
    surface = SURFACES[kind.surfaces[int(rng.integers(len(kind.surfaces)))]](rng)
    texture = _lit_texture(surface, light, view.turn)
    top = round(view.edge * width)
    floor = _lay_floor(texture, surface.span, view, (width, height))
    if top == 0:
        pixels = floor
    else:
        behind = kind.backdrops[int(rng.integers(len(kind.backdrops)))]
        wall = _draw_wall(behind, floor[0].mean(0), (width, top), rng)
        floor = _mirror_wall(floor, wall, surface.gloss)
        pixels = _focus(np.vstack([wall, floor]), top, behind != "brick", rng)
    lit = _illuminate(pixels, view, light, rng)
    return Plate(_expose(lit, rng), top / height, light)


def plate_from_photo(pixels: Pixels, size: Size, rng: np.random.Generator) -> Plate:
    """A plate cut from a photo (uint8 HxWx3 RGB): the largest crop of the wanted shape, or up to a
    third smaller, mirrored at random, now and then a little out of focus.

    The floor's edge is where the rows of the crop divide best into two colours (Otsu's criterion
    over row means); a crop that does not divide counts as a surface seen from above. The light
    comes from the brighter side.

    Raises:
        ValueError: the photo is no RGB image, or a side is under 16 px.
    """
    width, height = _checked(size)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < 16:
        raise ValueError(f"a plate of shape {pixels.shape} is no RGB photo of at least 16 x 16 px")
    photo_h, photo_w = pixels.shape[:2]
    share = rng.uniform(0.67, 1.0) * min(photo_w / width, photo_h / height)
    crop_w, crop_h = max(8, round(width * share)), max(8, round(height * share))
    left = int(rng.integers(photo_w - crop_w + 1))
    # The lower part of a photo is where its ground is.
    upper = round(float(rng.beta(2.0, 1.2)) * (photo_h - crop_h))
    crop = pixels[upper : upper + crop_h, left : left + crop_w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    shrinks = crop_w > width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    plate: Any = cv2.resize(np.ascontiguousarray(crop), (width, height), interpolation=way)
    blur = rng.uniform(0.0, 0.004) * width
    if rng.random() < 0.35 and blur > 0.5:
        plate = cv2.GaussianBlur(plate, (0, 0), blur)
    found = np.asarray(plate, np.uint8)
    return Plate(found, _horizon_of(found), _light_of(found))


def _checked(size: Size) -> Size:
    if min(size) < 16:
        raise ValueError(f"a plate of {size[0]} x {size[1]} px is too small; give 16 px or more")
    return size


def _draw_view(kind: _Scene, aspect: float, flat: float, rng: np.random.Generator) -> _View:
    turn = float(rng.uniform(0, 2 * np.pi))
    if rng.random() < flat:
        return _View(0.0, -aspect * rng.uniform(1.2, 5.0), aspect, turn)
    if kind.backdrops == ("brick",):
        edge, above = rng.uniform(0.5, 0.66), rng.uniform(0.3, 0.7)
    elif kind.outdoors:
        edge, above = rng.uniform(0.2, 0.45), rng.uniform(0.06, 0.3)
    else:
        edge, above = rng.uniform(0.2, 0.5), rng.uniform(0.25, 0.8)
    # Rooms and tables are mostly seen square on; a lawn has no direction.
    if not kind.outdoors:
        turn = float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.2))
    return _View(edge * aspect, (edge - above) * aspect, aspect, turn)


def _lit_texture(surface: Surface, light: tuple[float, float], turn: float) -> Pixels:
    """The surface with its relief raked by the light, as uint8 RGB."""
    from_x, from_y = light[0], -0.6 * (1 - abs(light[0]))
    # The texture lies turned on the floor, the light doesn't turn with it.
    x = from_x * np.cos(turn) + from_y * np.sin(turn)
    y = -from_x * np.sin(turn) + from_y * np.cos(turn)
    strength = 0.32 * (1.25 - light[1])
    relief = cv2.copyMakeBorder(surface.relief, 1, 0, 1, 0, cv2.BORDER_WRAP)
    along_x = relief[1:, 1:] - relief[1:, :-1]
    along_y = relief[1:, 1:] - relief[:-1, 1:]
    # A slope that rises away from the light faces it.
    shade = np.clip(1.0 - strength * (x * along_x + y * along_y), 0.45, 1.5).astype(np.float32)
    return np.asarray(np.clip(surface.albedo * (shade * 255.0)[..., None], 0, 255), np.uint8)


def _lay_floor(texture: Pixels, span: float, view: _View, size: Size) -> Pixels:
    """The rows of the frame from the floor's edge down, the texture in perspective."""
    width, height = size
    camera = view.bottom - view.vanish
    # Frame (in widths) to floor: x' = x * camera / depth, y' = focal * camera / depth.
    focal = camera if view.edge == 0 else 1.1
    cast = np.array([[camera, 0, -0.5 * camera], [0, 0, focal * camera], [0, 1, -view.vanish]])
    cos, sin = np.cos(view.turn), np.sin(view.turn)
    lie = np.array([[cos, sin, 0.37], [-sin, cos, 0.71], [0, 0, 1]])
    top = round(view.edge * width)
    frame = np.array([[1 / width, 0, 0], [0, 1 / width, top / width], [0, 0, 1]])
    shape = (width, height - top)
    floor = np.empty((shape[1], width, 3), np.uint8)
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
        matrix = scale @ lie @ cast @ frame @ move
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        part = (width, last - start)
        if part[1] > 0:
            laid = cv2.warpPerspective(level, matrix, part, flags=flags, borderMode=cv2.BORDER_WRAP)
            floor[start:last] = laid
        last = start
        half = (side // 2, side // 2)
        level = np.asarray(cv2.resize(level, half, interpolation=cv2.INTER_AREA), np.uint8)
    return floor


def _draw_wall(behind: str, floor: Floats, size: Size, rng: np.random.Generator) -> Pixels:
    """What stands behind the floor, (height, width, 3) uint8."""
    width, height = size
    if behind == "brick":
        surface = SURFACES["brick"](rng)
        view = _View(0.0, -6.0, height / width, float(rng.normal(0, 0.01)))
        texture = _lit_texture(surface, (float(rng.uniform(-1, 1)), 0.5), 0.0)
        return _lay_floor(texture, surface.span * rng.uniform(0.8, 1.2), view, size)
    small = (max(24, width // 4), max(16, height // 4))
    if behind == "sweep":
        fade = np.linspace(rng.uniform(0.75, 1.1), 1.0, small[1])[:, None, None] ** 2
        drawn = np.clip(np.tile(floor / 255.0 * fade, (1, small[0], 1)), 0, 1).astype(np.float32)
    else:
        drawn = BACKDROPS[behind](rng, *small)
        blur = small[0] * rng.uniform(0.006, 0.035)
        drawn = np.asarray(cv2.GaussianBlur(drawn, (0, 0), blur), np.float32)
    large = cv2.resize(drawn, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large * 255, 0, 255), np.uint8)


def _mirror_wall(floor: Pixels, wall: Pixels, gloss: float) -> Pixels:
    """The floor with a soft reflection of the wall, stronger towards the far edge (Fresnel)."""
    rows, width = floor.shape[:2]
    if gloss < 0.02:
        return floor
    small = cv2.resize(wall[::-1], (max(8, width // 16), max(8, rows // 16)))
    soft = cv2.GaussianBlur(small, (0, 0), 2.5)
    image = cv2.resize(soft, (width, rows), interpolation=cv2.INTER_LINEAR)
    far = np.linspace(1, 0, rows, dtype=np.float32)[:, None, None]
    weight = np.asarray(gloss * (0.35 + 1.3 * far**2), np.float32)
    return np.asarray(floor * (1 - weight) + image * weight, np.uint8)


def _focus(pixels: Pixels, top: int, deep: bool, rng: np.random.Generator) -> Pixels:
    """The plate with its far part out of focus: the floor's edge most, the front not at all."""
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
    """The plate under its light: falloff, soft cast shadows, vignette; float32 in 0..255."""
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
    return np.asarray(pixels * full[..., None], np.float32)


def _cast_shadows(view: _View, light: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Broad soft shadows of things out of frame, (64, 64) in 0..1; they lie on the floor only."""
    rows = np.linspace(0, view.bottom, 64, dtype=np.float32)[:, None]
    depth = np.maximum(rows - view.vanish, 0.05)
    across = (np.linspace(-0.5, 0.5, 64, dtype=np.float32)[None] * view.bottom) / depth
    away = 0.5 * view.bottom / depth
    slant = rng.uniform(3.0, 9.0) * (across + light[0] * away) + rng.uniform(0, 6)
    waves = np.sin(slant) + 0.7 * np.sin(rng.uniform(2, 6) * (away - across) + rng.uniform(0, 6))
    shadow = np.clip(waves / rng.uniform(0.7, 1.8) + rng.uniform(-0.3, 0.5), 0, 1)
    # They fade over a fifth of the frame: a studio's paper has no edge where one could stop.
    on_floor = np.clip((rows - view.edge) / (0.2 * view.bottom), 0, 1) if view.edge else 1.0
    return np.asarray(
        cv2.GaussianBlur(shadow * on_floor, (0, 0), rng.uniform(1.0, 2.5)), np.float32
    )


def _expose(lit: Floats, rng: np.random.Generator) -> Pixels:
    """Exposure, white balance and sensor noise of one camera."""
    warm = rng.uniform(-0.05, 0.05)
    balance = np.array([1 + warm, 1.0, 1 - warm]) * rng.uniform(0.88, 1.1)
    values = lit * balance.astype(np.float32)
    # A soft shoulder instead of clipped highlights.
    over = np.maximum(values - 225, 0)
    values = np.minimum(values, 225) + 30 * np.tanh(over / 30)
    draws = np.frombuffer(rng.bytes(values.shape[0] * values.shape[1]), np.uint8)
    noise = (draws.reshape(values.shape[:2]).astype(np.float32) - 127.5) / 73.6
    values = values + noise[..., None] * np.float32(rng.uniform(0.8, 3.0))
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def _horizon_of(pixels: Pixels) -> float:
    """Where the rows divide best into two colours, 0.0 where they don't."""
    small = cv2.resize(pixels, (24, 96), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float64)
    rows = lab.mean(1)
    total = lab.reshape(-1, 3).var(0).sum() + 1e-9
    counts = np.arange(1, 96)[:, None]
    above = np.cumsum(rows, 0)[:-1] / counts
    below = (rows.sum(0) - np.cumsum(rows, 0)[:-1]) / (96 - counts)
    share = counts[:, 0] / 96
    between = share * (1 - share) * ((above - below) ** 2).sum(1) / total
    # A photo's horizon is neither at its very top nor below two thirds, where nothing could stand.
    within = slice(18, 64)
    best = int(np.argmax(between[within])) + 18
    if between[best] < 0.12 or total < 40:
        return 0.0
    return (best + 1) / 96


def _light_of(pixels: Pixels) -> tuple[float, float]:
    """The side from which a photo seems lit, from the slope of its brightness."""
    grey = cv2.cvtColor(
        cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    values = grey.astype(np.float64) / 255
    xs = np.linspace(-1, 1, 32)
    slope = float((values.mean(0) * xs).sum() / (xs**2).sum())
    return float(np.clip(slope * 6, -0.9, 0.9)), 0.75

"""Compositing: a cut-out on a plate, in its light, with its shadow, and without the old edge.

Only the part of the plate that object and shadow cover is computed. Mixing is done in linear light,
as a lens does, so that soft edges get no dark rim.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from models.matting import estimate_foreground
from models.pixels import Pixels, matte, rgb
from models.plates import Plate
from models.quality import boxes_from_mask
from models.records import Record

Floats = npt.NDArray[np.float32]
# sRGB's curve is close to a power of 2.2; a table each way keeps it cheap.
_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
# Colour of the object moves by no more than this many Lab units: its class may hang on it.
MOST_COLOUR_SHIFT = 7.0


class CompositeRanges(Record):
    """How large an object stands in its scene, and how it is fitted in."""

    smallest: float = Field(0.42, gt=0, le=1, description="Object's longer side at least, share.")
    largest: float = Field(0.72, gt=0, le=1, description="Object's longer side at most, share.")
    margin: float = Field(0.06, ge=0, lt=0.4, description="Free border at least, share.")
    harmonise: float = Field(0.35, ge=0, le=1, description="How far it takes on the plate's light.")
    shadow: float = Field(0.5, ge=0, le=1, description="Darkness of the shadow.")

    @model_validator(mode="after")
    def _ordered(self) -> "CompositeRanges":
        if self.smallest > self.largest:
            raise ValueError("smallest must not be above largest")
        return self


@dataclass(frozen=True)
class Placement:
    """Where the object's box goes: its top left corner and size in px of the scene."""

    x: int
    y: int
    width: int
    height: int


def composite(
    cut_out: Pixels,
    plate: Plate,
    rng: np.random.Generator,
    *,
    depth: Floats | None = None,
    ranges: CompositeRanges | None = None,
) -> Pixels:
    """A scene of the plate's size, uint8 HxWx4, whose fourth channel is the object's matte.

    Args:
        cut_out: uint8 HxWx4, RGB + the object's matte.
        plate: what stands behind it; the object stands on its floor, or lies on it.
        rng: draws size, place and light.
        depth: the object's masked depth, float32 HxW in 0..1, larger is nearer; its far parts get
            a little less light.
        ranges: size, fit and shadow.

    Raises:
        ValueError: the matte is empty.
    """
    ranges = ranges or CompositeRanges()
    boxes = boxes_from_mask(matte(cut_out) > 0.02)
    if not boxes:
        raise ValueError("the matte is empty; there is no object to place")
    x, y, width, height = boxes[0]
    inside = (slice(y, y + height), slice(x, x + width))
    place = place_object((width, height), plate, rng, ranges)
    image, alpha = _fitted(cut_out[inside], place)
    if depth is not None:
        near = cv2.resize(depth[inside], (place.width, place.height), interpolation=cv2.INTER_AREA)
        image = _shaded(image, near)
    around = _around(plate.pixels, place)
    image = _harmonised(image, alpha, around, float(rng.uniform(0.5, 1.0)) * ranges.harmonise)
    angle = float(rng.uniform(-1, 1))
    strength = float(rng.uniform(0.6, 1.0)) * ranges.shadow
    scene = plate.pixels.copy()
    _cast_shadow(scene, alpha, place, angle, strength, standing=plate.horizon > 0)
    return _pasted(scene, image, alpha, place)


def place_object(
    size: tuple[int, int], plate: Plate, rng: np.random.Generator, ranges: CompositeRanges
) -> Placement:
    """Where an object of ``size`` (width, height in px) goes on a plate."""
    height, width = plate.pixels.shape[:2]
    share = float(rng.uniform(ranges.smallest, ranges.largest))
    scale = share * min(width, height) / max(size)
    room_x, room_y = (1 - 2 * ranges.margin) * width, (1 - 2 * ranges.margin) * height
    scale = min(scale, room_x / size[0], room_y / size[1])
    wide, high = max(8, round(size[0] * scale)), max(8, round(size[1] * scale))
    # Half-way between the middle and anywhere: shifts on the grid will move it about.
    free_x = width - wide - 2 * ranges.margin * width
    left = ranges.margin * width + free_x * float(rng.triangular(0, 0.5, 1))
    if plate.horizon > 0:
        low, high_limit = max(plate.horizon + 0.12, 0.6), 1 - ranges.margin
        foot = height * float(rng.uniform(min(low, high_limit - 0.02), high_limit))
        top = max(foot - high, ranges.margin * height)
    else:
        free_y = height - high - 2 * ranges.margin * height
        top = ranges.margin * height + free_y * float(rng.triangular(0, 0.5, 1))
    return Placement(round(left), round(top), wide, high)


def _fitted(cut_out: Pixels, place: Placement) -> tuple[Pixels, Floats]:
    """Colours without the old ground's fringe, and a matte that is tight by a fraction of a pixel.
    """
    shrinking = place.width < cut_out.shape[1]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    fitted = cv2.resize(cut_out, (place.width, place.height), interpolation=method)
    alpha = cv2.GaussianBlur(matte(np.asarray(fitted, np.uint8)), (0, 0), 0.8)
    tight = np.clip((alpha - 0.18) / 0.7, 0, 1).astype(np.float32)
    colours = estimate_foreground(rgb(np.asarray(fitted, np.uint8)), tight)
    return colours, tight


def _shaded(image: Pixels, near: Floats) -> Pixels:
    light = 0.9 + 0.1 * np.clip(near / max(float(near.max()), 1e-6), 0, 1)
    return np.clip(image * light[..., None], 0, 255).astype(np.uint8)


def _around(plate: Pixels, place: Placement) -> Pixels:
    reach_x, reach_y = place.width // 4, place.height // 4
    rows = slice(max(0, place.y - reach_y), place.y + place.height + reach_y)
    columns = slice(max(0, place.x - reach_x), place.x + place.width + reach_x)
    return plate[rows, columns]


def _harmonised(image: Pixels, alpha: Floats, around: Pixels, strength: float) -> Pixels:
    """The object's Lab statistics moved part of the way to its surroundings' (Reinhard 2001)."""
    own = _lab(image)
    weight = alpha[..., None] / max(float(alpha.sum()), 1e-6)
    mean = (own * weight).sum(axis=(0, 1))
    other = _lab(cv2.resize(around, (32, 32), interpolation=cv2.INTER_AREA)).mean(axis=(0, 1))
    shift = (other - mean) * strength * np.array([0.5, 0.35, 0.35])
    limits = np.array([2.0 * MOST_COLOUR_SHIFT, MOST_COLOUR_SHIFT, MOST_COLOUR_SHIFT])
    moved = own + np.clip(shift, -limits, limits).astype(np.float32)
    back = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_Lab2RGB)
    return np.rint(np.clip(back, 0, 1) * 255).astype(np.uint8)


def _lab(image: npt.NDArray[np.generic]) -> Floats:
    unit = np.asarray(image, np.float32) / 255.0
    return np.asarray(cv2.cvtColor(unit, cv2.COLOR_RGB2Lab), np.float32)


def _cast_shadow(
    scene: Pixels, alpha: Floats, place: Placement, angle: float, strength: float, standing: bool
) -> None:
    """Darken the scene where the object keeps the light away; ``angle`` -1..1 is left to right."""
    pad = max(place.width, place.height) // 3 + 4
    canvas = cv2.copyMakeBorder(alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    side = max(place.width, place.height)
    if standing:
        foot = pad + place.height
        squash, shear = 0.28, 0.5 * angle
        move = np.array([[1, -shear, shear * foot], [0, squash, foot * (1 - squash) - 0.01 * side]])
        cast = cv2.warpAffine(canvas, move, canvas.shape[::-1])
        near = np.linspace(0, 1, canvas.shape[0], dtype=np.float32)[:, None]
        touching = canvas * np.clip(
            (near * canvas.shape[0] - foot + 0.12 * side) / (0.1 * side), 0, 1
        )
    else:
        move = np.array([[1, 0, 0.045 * side * angle], [0, 1, 0.035 * side]])
        cast = cv2.warpAffine(canvas, move, canvas.shape[::-1])
        touching = canvas
    far = cv2.GaussianBlur(cast, (0, 0), max(1.0, 0.03 * side))
    drop = np.array([[1.0, 0, 0.008 * side * angle], [0, 1, 0.008 * side]])
    close = cv2.GaussianBlur(
        cv2.warpAffine(np.asarray(touching, np.float32), drop, canvas.shape[::-1]),
        (0, 0),
        max(0.8, 0.01 * side),
    )
    dark = np.clip(0.62 * far + 0.6 * close, 0, 1) * strength
    top, left = place.y - pad, place.x - pad
    rows = slice(max(0, top), min(scene.shape[0], top + canvas.shape[0]))
    columns = slice(max(0, left), min(scene.shape[1], left + canvas.shape[1]))
    part = dark[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    # Shadows keep a little of the sky's blue, as a phone camera sees them.
    tint = np.array([1.0, 0.97, 0.9], np.float32)
    scene[rows, columns] = np.rint(scene[rows, columns] * (1 - part[..., None] * tint))


def _pasted(scene: Pixels, image: Pixels, alpha: Floats, place: Placement) -> Pixels:
    inside = (
        slice(place.y, place.y + place.height),
        slice(place.x, place.x + place.width),
    )
    weight = alpha[..., None]
    mixed = _LINEAR[image] * weight + _LINEAR[scene[inside]] * (1 - weight)
    scene[inside] = np.rint(np.power(mixed, 1 / 2.2) * 255)
    matte_channel = np.zeros(scene.shape[:2], np.uint8)
    matte_channel[inside] = np.rint(alpha * 255)
    return np.dstack([scene, matte_channel])

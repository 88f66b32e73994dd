"""A cut-out set into a plate: placed, cleaned at its edge, matched in colour and focus, grounded.

Steps and where they come from: foreground colours at the soft edge by blurring the opaque inside
outwards (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021); colour statistics
moved part of the way to the plate's in Lab (Reinhard et al., "Color Transfer between Images", IEEE
CG&A 2001); focus compared by re-blurring (Zhuo & Sim, "Defocus map estimation from a single image",
Pattern Recognition 2011). The shadow is `models.compositing.shadow`'s.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from models.compositing.backgrounds.scene import Plate, Size
from models.compositing.shadow import Pose, cast_shadow, shade_by_relief
from models.data.pixels import Pixels
from models.data.records import Record

Floats = npt.NDArray[np.float32]


class CompositeRanges(Record):
    """How large the object is, where it may be, and how far it is adapted to its scene."""

    smallest: float = Field(
        0.5, gt=0, le=2, description="Object's longer side at least, share of the shorter side."
    )
    largest: float = Field(
        0.9, gt=0, le=2, description="Object's longer side at most, share of the shorter side."
    )
    margin: float = Field(
        0.06, ge=0, le=0.4, description="Space kept free at each border, share of the side."
    )
    tilt: float = Field(
        12.0, ge=0, le=180, description="Rotation at most where it lies flat, degrees either way."
    )
    harmony: float = Field(
        0.5, ge=0, le=1, description="How far colours move to the scene's; 0 leaves them."
    )
    shadow: float = Field(0.7, ge=0, le=1, description="Darkness of the shadow; 0 casts none.")


@dataclass(frozen=True)
class Placement:
    """Where the object's box goes: its scale, its rotation in degrees, and its centre in px."""

    scale: float
    tilt: float
    centre: tuple[float, float]


def composite(
    rgba_object: Pixels,
    plate: Plate,
    size: Size,
    rng: np.random.Generator,
    *,
    depth: Floats | None = None,
    ranges: CompositeRanges | None = None,
) -> Pixels:
    """The object in the scene, uint8 HxWx4: RGB and the object's matte where it now is.

    Args:
        rgba_object: uint8 RGB + matte of any size, colours not premultiplied.
        plate: the scene; it is cropped and scaled to `size` where it differs.
        size: (width, height) of the result in px.
        rng: draws the placement and the strength of what adapts the object.
        depth: float HxW of the object's picture, 0..1, larger is nearer; it shades the object and
            tells which of its feet touch the ground.
        ranges: how large, where and how far adapted.

    Raises:
        ValueError: the matte is empty, or an array has the wrong shape.
    """
    ranges = ranges or CompositeRanges()
    rgba, near = _crop_to_object(rgba_object, depth)
    scene = _fit_plate(plate, size)
    placement = draw_placement((rgba.shape[1], rgba.shape[0]), plate.horizon, size, rng, ranges)
    colours, alpha, near = _lay_out(_clean_edge(rgba), near, placement)
    corner = _corner(placement, alpha)
    here = _around(scene, corner, alpha)
    colours = _harmonise(colours, alpha, here, ranges.harmony * rng.uniform(0.6, 1.0))
    pose = Pose(plate.horizon > 0, plate.light, corner)
    if near is not None:
        colours = shade_by_relief(colours, alpha, near, plate.light[0])
    colours, alpha, scene = _match_focus(colours, alpha, scene, here)
    colours = _match_noise(colours, here, rng)
    if ranges.shadow > 0:
        scene = cast_shadow(scene, alpha, near, pose, ranges.shadow * rng.uniform(0.75, 1.0))
    return _blend(scene, colours, alpha, corner)


def draw_placement(
    box: tuple[int, int],
    horizon: float,
    size: Size,
    rng: np.random.Generator,
    ranges: CompositeRanges,
) -> Placement:
    """A place for a box of (width, height) px, wholly inside the margins of the frame.

    Where the plate has a horizon the object's foot stands below it; else it lies anywhere, tilted.
    """
    width, height = size
    lies = horizon <= 0
    tilt = float(rng.uniform(-ranges.tilt, ranges.tilt)) if lies else 0.0
    turned = _turned(box, tilt)
    free = (1 - 2 * ranges.margin) * np.array([width, height])
    low, high = sorted((ranges.smallest, ranges.largest))
    wanted = float(rng.uniform(low, high)) * min(size) / max(box)
    scale = min(wanted, free[0] / turned[0], free[1] / turned[1])
    half = 0.5 * scale * np.array(turned)
    left, right = ranges.margin * width + half[0], (1 - ranges.margin) * width - half[0]
    top, bottom = ranges.margin * height + half[1], (1 - ranges.margin) * height - half[1]
    if not lies:
        # At the horizon itself it would stand against the wall or float.
        top = min(bottom, max(top, (horizon + 0.4 * (1 - horizon)) * height - half[1]))
    # Most photographers put the object near the middle: the mean of two uniform draws.
    x = left + (right - left) * rng.uniform(0, 1, 2).mean()
    y = top + (bottom - top) * rng.uniform(0, 1, 2).mean()
    return Placement(float(scale), tilt, (float(x), float(y)))


def _turned(box: tuple[int, int], tilt: float) -> tuple[float, float]:
    cos, sin = abs(np.cos(np.radians(tilt))), abs(np.sin(np.radians(tilt)))
    return float(box[0] * cos + box[1] * sin), float(box[0] * sin + box[1] * cos)


def _crop_to_object(rgba: Pixels, depth: Floats | None) -> tuple[Pixels, Floats | None]:
    if rgba.ndim != 3 or rgba.shape[2] != 4:
        raise ValueError(f"the object of shape {rgba.shape} is no RGB + matte image; give HxWx4")
    if depth is not None and depth.shape != rgba.shape[:2]:
        raise ValueError(f"depth of shape {depth.shape} doesn't fit the object's {rgba.shape[:2]}")
    x, y, width, height = cv2.boundingRect((rgba[..., 3] > 12).astype(np.uint8))
    if width == 0:
        raise ValueError("the object's matte is empty: there is nothing to set into a scene")
    part = slice(y, y + height), slice(x, x + width)
    return rgba[part], None if depth is None else depth[part].astype(np.float32)


def _fit_plate(plate: Plate, size: Size) -> Pixels:
    width, height = size
    if plate.pixels.shape[:2] == (height, width):
        return plate.pixels
    scale = max(width / plate.pixels.shape[1], height / plate.pixels.shape[0])
    large = (max(width, round(plate.pixels.shape[1] * scale)),
             max(height, round(plate.pixels.shape[0] * scale)))  # fmt: skip
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = np.asarray(cv2.resize(plate.pixels, large, interpolation=way), np.uint8)
    left, top = (large[0] - width) // 2, (large[1] - height) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _clean_edge(rgba: Pixels) -> Pixels:
    """The object with its outermost px choked and the colours of its rim grown from its inside.

    Mattes take a little of the old background along; it would show as a halo on the new one.
    """
    padded = cv2.copyMakeBorder(rgba, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    alpha = padded[..., 3].astype(np.float32) / 255
    rim = float(np.clip(0.006 * max(rgba.shape[:2]), 1.8, 3.0))
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.5 * rim)
    # A blurred straight edge crosses 0.5 where it was; 0.42..0.92 sets it back by about a px.
    choked = np.clip((soft - 0.42) / 0.5, 0, 1)
    inside = np.clip((soft - 0.9) / 0.09, 0, 1)[..., None]
    colours = padded[..., :3].astype(np.float32)
    grown = _grow(colours, inside[..., 0], rim)
    clean = grown + (colours - grown) * inside
    return np.dstack([_to_bytes(clean), _to_bytes(choked * 255)])


def _grow(colours: Floats, weight: Floats, reach: float) -> Floats:
    """Colours averaged over the weighted neighbourhood; farther ones where none is near."""
    grown, known = np.zeros_like(colours), np.zeros_like(weight)
    weighted = colours * weight[..., None]
    for step in (1, 3):
        mean = _blurred(weight, step * reach, step)
        share = np.clip(mean / 0.02, 0, 1) * (1 - known)
        portion = (share / np.maximum(mean, 1e-4))[..., None]
        grown += portion * _blurred(weighted, step * reach, step)
        known += share
    return np.asarray(grown + colours * (1 - known)[..., None], np.float32)


def _blurred(field: Floats, sigma: float, step: int) -> Floats:
    """A Gaussian blur, worked out on every `step`-th px: a wide one doesn't show it and costs a
    tenth."""
    if step == 1:
        return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)
    size = field.shape[1::-1]
    coarse = (max(1, size[0] // step), max(1, size[1] // step))
    small = cv2.resize(field, coarse, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _lay_out(
    rgba: Pixels, near: Floats | None, placement: Placement
) -> tuple[Floats, Floats, Floats | None]:
    """Colours (0..255), matte (0..1) and depth at the scale and tilt of the scene."""
    height, width = rgba.shape[:2]
    if near is not None:
        near = np.asarray(cv2.copyMakeBorder(near, 4, 4, 4, 4, cv2.BORDER_REPLICATE), np.float32)
    new = (max(2, round(width * placement.scale)), max(2, round(height * placement.scale)))
    way = cv2.INTER_AREA if placement.scale < 1 else cv2.INTER_CUBIC
    # Colours beyond the edge were grown, so they need no premultiplying to be scaled.
    moved = [cv2.resize(rgba, new, interpolation=way)]
    if near is not None:
        moved.append(cv2.resize(near, new, interpolation=cv2.INTER_LINEAR))
    if placement.tilt:
        span = _turned(new, placement.tilt)
        large = (int(np.ceil(span[0])) + 2, int(np.ceil(span[1])) + 2)
        matrix = cv2.getRotationMatrix2D((new[0] / 2, new[1] / 2), placement.tilt, 1.0)
        matrix[:, 2] += (large[0] - new[0]) / 2, (large[1] - new[1]) / 2
        moved = [
            cv2.warpAffine(one, matrix, large, flags=cv2.INTER_CUBIC if one.ndim == 3 else 1)
            for one in moved
        ]
        # The corners that came into view are black; their matte is 0.
    colours = moved[0][..., :3].astype(np.float32)
    alpha = moved[0][..., 3].astype(np.float32) / np.float32(255)
    return colours, alpha, np.asarray(moved[1], np.float32) if near is not None else None


def _corner(placement: Placement, alpha: Floats) -> tuple[int, int]:
    height, width = alpha.shape
    return round(placement.centre[0] - width / 2), round(placement.centre[1] - height / 2)


def _around(scene: Pixels, corner: tuple[int, int], alpha: Floats) -> Pixels:
    """The part of the scene that the object will stand in, a quarter wider on each side."""
    height, width = alpha.shape
    x, y = corner
    rows = slice(max(0, y - height // 4), max(1, y + height + height // 4))
    return scene[rows, max(0, x - width // 4) : max(1, x + width + width // 4)]


def _harmonise(colours: Floats, alpha: Floats, here: Pixels, strength: float) -> Floats:
    """Colours with Lab statistics moved towards the scene's, within limits that keep the class.

    Lightness moves by 12 of 100 at most and its spread by 12 %; the chroma plane by 5 units, of
    which at most a twelfth of the object's own chroma turns its hue (about 5 degrees).
    """
    solid = alpha > 0.9
    if strength <= 0 or not solid.any():
        return colours
    lab = cv2.cvtColor(np.clip(colours / 255, 0, 1).astype(np.float32), cv2.COLOR_RGB2LAB)
    thumbnail = cv2.resize(here, (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # Every third px of the object tells its statistics.
    own = lab[::3, ::3][solid[::3, ::3]] if solid.sum() > 5000 else lab[solid]
    other = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    mean, deviation = own.mean(0, dtype=np.float64), own.std(0, dtype=np.float64) + 1e-3
    aim, spread = other.mean(0, dtype=np.float64), other.std(0, dtype=np.float64)
    lift = float(np.clip(0.35 * strength * (aim[0] - mean[0]), -12, 12))
    gain = float(np.clip((spread[0] / deviation[0]) ** (0.3 * strength), 0.88, 1.12))
    pull = 0.3 * strength * aim[1:]
    pull *= min(1.0, 5.0 / (np.hypot(*pull) + 1e-6))
    chroma = float(np.hypot(*mean[1:]))
    if chroma > 5:
        along = mean[1:] / chroma
        across = pull - along * (pull @ along)
        turn = np.hypot(*across) + 1e-6
        pull = along * np.clip(pull @ along, -0.1 * chroma, 5) + across * min(1, chroma / 12 / turn)
    lab[..., 0] = np.clip((lab[..., 0] - mean[0]) * gain + mean[0] + lift, 0, 100)
    lab[..., 1:] += pull.astype(np.float32)
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * 255, np.float32)


def _middle(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The middle of an image, 360 px at most: enough to measure focus and noise by."""
    top, left = (max(0, (side - 360) // 2) for side in image.shape[:2])
    return image[top : top + 360, left : left + 360]


def _blur_of(pixels: Pixels | Floats, where: npt.NDArray[np.bool_] | None = None) -> float:
    """The blur of the sharpest edges in px: their gradient against that of a re-blurred copy."""
    grey = cv2.cvtColor(_middle(pixels).astype(np.float32), cv2.COLOR_RGB2GRAY)
    grey = cv2.GaussianBlur(grey, (0, 0), 0.6)
    again = cv2.GaussianBlur(grey, (0, 0), 1.5)
    slopes = [
        np.hypot(cv2.Sobel(one, cv2.CV_32F, 1, 0), cv2.Sobel(one, cv2.CV_32F, 0, 1))
        for one in (grey, again)
    ]
    if where is not None and _middle(where).sum() > 64:
        slopes = [one[_middle(where)] for one in slopes]
    strong = slopes[0] >= np.percentile(slopes[0], 97)
    ratio = float(slopes[0][strong].mean() / (slopes[1][strong].mean() + 1e-6))
    return float(np.clip(1.5 / np.sqrt(max(ratio**2 - 1, 0.02)), 0.0, 6.0))


def _match_focus(
    colours: Floats, alpha: Floats, scene: Pixels, here: Pixels
) -> tuple[Floats, Floats, Pixels]:
    """Object and scene brought nearer in sharpness by blurring the sharper one."""
    inside = cv2.erode((alpha > 0.95).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    own, other = _blur_of(colours, inside), _blur_of(here)
    if other > own:
        sigma = min(0.6 * float(np.sqrt(other**2 - own**2)), 1.2)
        if sigma > 0.3:
            colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), sigma), np.float32)
            alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.5 * sigma), np.float32)
    else:
        sigma = min(0.8 * float(np.sqrt(own**2 - other**2)), 0.004 * scene.shape[1])
        if sigma > 0.4:
            scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), sigma), np.uint8)
    return colours, alpha, scene


def _match_noise(colours: Floats, here: Pixels, rng: np.random.Generator) -> Floats:
    """Grain added to the object where the scene has more of it (three grey levels at most)."""
    missing = _noise_of(here) ** 2 - _noise_of(colours) ** 2
    if missing <= 0.25:
        return colours
    grain = rng.standard_normal(colours.shape[:2], dtype=np.float32)
    return np.asarray(colours + grain[..., None] * np.float32(min(missing**0.5, 3.0)), np.float32)


def _noise_of(pixels: Pixels | Floats) -> float:
    """Deviation of the noise in grey levels: median response to Immerkaer's mask (CVIU 1996)."""
    grey = cv2.cvtColor(_middle(pixels).astype(np.float32), cv2.COLOR_RGB2GRAY)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.median(np.abs(cv2.filter2D(grey, -1, mask)))) / (0.6745 * 6)


def _blend(scene: Pixels, colours: Floats, alpha: Floats, corner: tuple[int, int]) -> Pixels:
    """The object over the scene, mixed in roughly linear light so that soft edges don't darken."""
    height, width = scene.shape[:2]
    x, y = corner
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + alpha.shape[1], width), min(y + alpha.shape[0], height)
    inside = slice(top - y, bottom - y), slice(left - x, right - x)
    result = np.asarray(cv2.cvtColor(scene, cv2.COLOR_RGB2RGBA), np.uint8)
    result[..., 3] = 0
    part = result[top:bottom, left:right]
    weight = alpha[inside]
    above, below = np.clip(colours[inside], 0, 255), part[..., :3].astype(np.float32)
    # Squares stand for linear light (gamma 2).
    mixed = np.sqrt(below**2 + (above**2 - below**2) * weight[..., None])
    part[..., :3] = _to_bytes(mixed)
    part[..., 3] = _to_bytes(weight * 255)
    return result


def _to_bytes(values: Floats) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)

"""Where an object goes in a scene: its drawn scale, rotation and centre.

`place_object` also lays the object and its depth onto an empty canvas, for networks that draw the
scene around it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.compositing.backgrounds.scene import Size
from models.compositing.settings import CompositeSettings
from models.data.pixels import Floats, Pixels, resize, with_matte

Depth = npt.NDArray[np.uint16]

# Alpha above which a px (0..255) counts as object.
_OBJECT_ALPHA = 12
# `place_object` knows no horizon. At a third down, objects stand on the ground and do not float.
_ASSUMED_HORIZON = 0.3
_FEATHER_PX = 1.0


@dataclass(frozen=True)
class Placement:
    """Where the object's box goes: its scale, its rotation in degrees, and its centre in px."""

    scale: float
    rotation: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class PlacedObject:
    """An object on its canvas.

    ``rgba``: uint8 HxWx4, RGB + alpha; colours are black where alpha is 0. ``depth``: uint16 HxW,
    nearer is larger, 0 outside the object.
    """

    rgba: Pixels
    depth: Depth


def draw_placement(
    box: tuple[int, int],
    horizon: float,
    size: Size,
    rng: np.random.Generator,
    limits: CompositeSettings,
) -> Placement:
    """Draw a placement for a box of (width, height) px, wholly inside the margins of the frame.

    If the background has a horizon (above 0), the object's foot stands below it. Otherwise the
    object lies anywhere, rotated.
    """
    width, height = size
    lies = horizon <= 0
    limit = limits.max_rotation
    rotation = float(rng.uniform(-limit, limit)) if lies else 0.0
    rotated = rotated_size(box, rotation)
    free = (1 - 2 * limits.margin) * np.array([width, height])
    low, high = sorted((limits.smallest, limits.largest))
    wanted = float(rng.uniform(low, high)) * min(size) / max(box)
    scale = min(wanted, free[0] / rotated[0], free[1] / rotated[1])
    half = 0.5 * scale * np.array(rotated)
    left, right = limits.margin * width + half[0], (1 - limits.margin) * width - half[0]
    top, bottom = limits.margin * height + half[1], (1 - limits.margin) * height - half[1]
    if not lies:
        # With its foot at the horizon itself, the object would stand against the wall or float.
        top = min(bottom, max(top, (horizon + 0.4 * (1 - horizon)) * height - half[1]))
    # Most photographers put the object near the middle: the mean of two uniform draws.
    x = left + (right - left) * rng.uniform(0, 1, 2).mean()
    y = top + (bottom - top) * rng.uniform(0, 1, 2).mean()
    return Placement(float(scale), rotation, (float(x), float(y)))


def rotated_size(box: tuple[float, float], degrees: float) -> tuple[float, float]:
    """(width, height) of the upright box around a rotated box, px."""
    cos, sin = abs(np.cos(np.radians(degrees))), abs(np.sin(np.radians(degrees)))
    return float(box[0] * cos + box[1] * sin), float(box[0] * sin + box[1] * cos)


def object_box(rgba: Pixels) -> tuple[slice, slice]:
    """Rows and columns of the object in an RGB + alpha image (uint8 HxWx4).

    Raises:
        ValueError: the alpha channel is empty.
    """
    _, object_px = cv2.threshold(cv2.extractChannel(rgba, 3), _OBJECT_ALPHA, 255, 0)
    x, y, width, height = cv2.boundingRect(object_px)
    if width == 0:
        raise ValueError("the object's alpha is empty; give an image whose alpha covers an object")
    return slice(y, y + height), slice(x, x + width)


def place_object(
    rgba: Pixels, depth: Depth, size: Size, rng: np.random.Generator, limits: CompositeSettings
) -> PlacedObject:
    """Place an object at a drawn scale and centre on an empty canvas, inside its margins.

    Args:
        rgba: uint8 HxWx4, RGB + alpha.
        depth: uint16 HxW, the object's masked depth.
        size: (width, height) of the canvas in px.
        rng: draws scale and centre as `draw_placement` does.
        limits: how large, and how much of the border stays free.

    Raises:
        ValueError: the alpha is empty, or the depth has another size than the image.
    """
    if depth.shape != rgba.shape[:2]:
        raise ValueError(
            f"depth of shape {depth.shape} doesn't fit the object's {rgba.shape}; "
            "give both of one size"
        )
    box = object_box(rgba)
    cropped = rgba[box]
    height, width = cropped.shape[:2]
    placement = draw_placement((width, height), _ASSUMED_HORIZON, size, rng, limits)
    new = (max(2, round(width * placement.scale)), max(2, round(height * placement.scale)))
    colours, alpha = _resize_premultiplied(cropped, new)
    left = int(np.clip(round(placement.centre[0] - new[0] / 2), 0, max(size[0] - new[0], 0)))
    top = int(np.clip(round(placement.centre[1] - new[1] / 2), 0, max(size[1] - new[1], 0)))
    target = slice(top, top + new[1]), slice(left, left + new[0])
    placed = PlacedObject(
        np.zeros((size[1], size[0], 4), np.uint8), np.zeros((size[1], size[0]), np.uint16)
    )
    placed.rgba[target] = with_matte(colours, alpha)
    placed.depth[target] = cv2.resize(depth[box], new, interpolation=cv2.INTER_LINEAR)
    return placed


def keep_original_pixels(scene: Pixels, placed: PlacedObject) -> Pixels:
    """The scene (uint8 HxWx3) with the object's own pixels over it.

    The object's edge is feathered inwards by about a px. This keeps logos and writing, which a
    network would redraw differently.
    """
    alpha = placed.rgba[..., 3].astype(np.float32) / 255
    soft = cv2.GaussianBlur(alpha, (0, 0), _FEATHER_PX)
    weight = np.minimum(alpha, np.clip(2 * soft - 1, 0, 1))[..., None]
    mixed = scene[..., :3] * (1 - weight) + placed.rgba[..., :3] * weight
    return np.asarray(np.rint(mixed), np.uint8)


def _resize_premultiplied(rgba: Pixels, size: Size) -> tuple[Pixels, Floats]:
    """Colours (uint8) and alpha (0..1) at another size.

    Colours are scaled premultiplied, so that the old background does not bleed into the edge.
    """
    alpha = rgba[..., 3:].astype(np.float32) / 255
    premultiplied = np.dstack([rgba[..., :3].astype(np.float32) * alpha, alpha])
    scale = size[0] / rgba.shape[1]
    resized = resize(premultiplied, *size, scale=scale, enlarge=cv2.INTER_LINEAR)
    weight = np.maximum(resized[..., 3:], 1e-4)
    colours = np.where(resized[..., 3:] > 1e-3, resized[..., :3] / weight, 0)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8), np.asarray(
        resized[..., 3], np.float32
    )

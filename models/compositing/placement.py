"""A cut-out and its depth laid onto an empty canvas, for networks that draw the scene around it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.compositing.backgrounds.scene import Size
from models.compositing.composite import CompositeRanges, draw_placement
from models.data.pixels import Pixels, with_matte

Depth = npt.NDArray[np.uint16]

# As if each scene had its horizon a third down: objects stand on something rather than float.
_HORIZON = 0.3
_FEATHER_PX = 1.0


@dataclass(frozen=True)
class Placed:
    """A cut-out on its canvas: ``rgba`` uint8 HxWx4 (RGB + matte, colours black where the matte is
    0) and ``depth`` uint16 HxW (nearer is brighter, 0 beside the object)."""

    rgba: Pixels
    depth: Depth


def place(
    cut_out: Pixels, depth: Depth, size: Size, rng: np.random.Generator, ranges: CompositeRanges
) -> Placed:
    """A cut-out at a drawn scale and place, wholly inside the margins of a canvas.

    Args:
        cut_out: uint8 HxWx4, RGB + matte.
        depth: uint16 HxW, the object's masked depth.
        size: (width, height) of the canvas in px.
        rng: draws scale and place as `models.compositing.composite` does.
        ranges: how large, and how much of the border stays free.

    Raises:
        ValueError: the matte is empty, or the depth has another size than the cut-out.
    """
    if depth.shape != cut_out.shape[:2]:
        raise ValueError(f"depth of shape {depth.shape} doesn't fit the object's {cut_out.shape}")
    x, y, width, height = cv2.boundingRect((cut_out[..., 3] > 12).astype(np.uint8))
    if width == 0:
        raise ValueError("the object's matte is empty: there is nothing to set into a scene")
    part = slice(y, y + height), slice(x, x + width)
    placement = draw_placement((width, height), _HORIZON, size, rng, ranges)
    new = (max(2, round(width * placement.scale)), max(2, round(height * placement.scale)))
    colours, alpha = _scaled(cut_out[part], new)
    near = cv2.resize(depth[part], new, interpolation=cv2.INTER_LINEAR)
    left = int(np.clip(round(placement.centre[0] - new[0] / 2), 0, max(size[0] - new[0], 0)))
    top = int(np.clip(round(placement.centre[1] - new[1] / 2), 0, max(size[1] - new[1], 0)))
    rgba = np.zeros((size[1], size[0], 4), np.uint8)
    canvas = np.zeros((size[1], size[0]), np.uint16)
    there = slice(top, top + new[1]), slice(left, left + new[0])
    rgba[there] = with_matte(colours, alpha)
    canvas[there] = near
    return Placed(rgba, canvas)


def paste(scene: Pixels, placed: Placed) -> Pixels:
    """The object's own pixels over a scene, uint8 HxWx3, its edge feathered inwards by about a px.

    For logos and writing, which a network draws anew but does not keep.
    """
    alpha = placed.rgba[..., 3].astype(np.float32) / 255
    soft = cv2.GaussianBlur(alpha, (0, 0), _FEATHER_PX)
    weight = np.minimum(alpha, np.clip(2 * soft - 1, 0, 1))[..., None]
    mixed = scene[..., :3] * (1 - weight) + placed.rgba[..., :3] * weight
    return np.asarray(np.rint(mixed), np.uint8)


def _scaled(rgba: Pixels, size: Size) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """Colours and matte (0..1) at another size; scaled premultiplied, so that what is behind the
    object does not bleed in."""
    way = cv2.INTER_AREA if size[0] < rgba.shape[1] else cv2.INTER_LINEAR
    alpha = rgba[..., 3:].astype(np.float32) / 255
    premultiplied = np.dstack([rgba[..., :3].astype(np.float32) * alpha, alpha])
    moved = cv2.resize(premultiplied, size, interpolation=way)
    weight = np.maximum(moved[..., 3:], 1e-4)
    colours = np.where(moved[..., 3:] > 1e-3, moved[..., :3] / weight, 0)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8), np.asarray(moved[..., 3], np.float32)

"""A scene without its object, so that what continues the scene can't repeat the object."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Bools, Floats, Pixels


def grow_mask(mask: Bools) -> Bools:
    """The object's mask, grown to where its shadow is most likely."""
    if not mask.any():
        return mask
    _, _, width, height = cv2.boundingRect(mask.astype(np.uint8))
    side = 2 * int(0.06 * max(width, height)) + 3
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def remove_object(rgba: Pixels, mask: Bools) -> Pixels:
    """The scene (uint8 RGB) with its object inpainted.

    Colours come from a small inpainting (Telea 2004), texture from the neighbourhood.
    """
    pixels = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)
    if not mask.any():
        return pixels
    height, width = mask.shape
    hole = grow_mask(mask)
    known = (~hole).astype(np.uint8)
    scale = max(1.0, max(height, width) / 128)
    size = (max(8, round(width / scale)), max(8, round(height / scale)))
    # Means of the known px only; the object's colour must not bleed into the small image.
    share = cv2.resize(known * 255, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    masked = cv2.bitwise_and(pixels, pixels, mask=known)
    small = cv2.resize(masked, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = np.clip(small / np.maximum(share, 1e-2)[..., None], 0, 255).astype(np.uint8)
    unknown = (share < 0.5).astype(np.uint8)
    filled = cv2.inpaint(small, unknown, 3, cv2.INPAINT_TELEA)
    smooth = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y, wide, tall = cv2.boundingRect(hole.astype(np.uint8))
    box = slice(y, y + tall), slice(x, x + wide)
    detail = _borrowed_texture(cv2.subtract(pixels, smooth, dtype=cv2.CV_16S), hole)
    result = cv2.add(smooth[box], detail, dtype=cv2.CV_16S)
    inner = _frame_ramp(width, height, box)
    soft = cv2.GaussianBlur(hole[box].astype(np.float32), (0, 0), 2.0) * inner
    weight = np.where(mask[box], np.float32(1), soft)
    change = cv2.multiply(
        cv2.subtract(result, pixels[box], dtype=cv2.CV_32F), cv2.merge([weight] * 3)
    )
    pixels[box] = cv2.add(pixels[box], change, dtype=cv2.CV_8U)
    return pixels


def _frame_ramp(width: int, height: int, box: tuple[slice, slice]) -> Floats:
    """0 at the frame, rising to 1 inside: borders must continue the scene's true edge.

    `box`: rows and columns of the frame to return.
    """
    down, across = (
        np.minimum(np.arange(side), np.arange(side)[::-1]) / max(1.0, 0.03 * side)
        for side in (height, width)
    )
    ramps = [np.minimum(1, ramp).astype(np.float32) for ramp in (down[box[0]], across[box[1]])]
    return np.minimum(ramps[0][:, None], ramps[1][None])


def _borrowed_texture(detail: npt.NDArray[Any], hole: Bools) -> npt.NDArray[Any]:
    """Fine detail (int16) from next to the hole, copied into the hole's box; 0 where is none."""
    height, width = hole.shape
    x, y, wide, tall = cv2.boundingRect(hole.astype(np.uint8))
    filled = np.zeros((tall, wide, 3), np.int16)
    empty = np.ones((tall, wide), np.bool_)
    for dx, dy in ((wide, 0), (-wide, 0), (0, tall), (0, -tall)):
        left, right = max(x + dx, 0), min(x + dx + wide, width)
        top, bottom = max(y + dy, 0), min(y + dy + tall, height)
        if left >= right or top >= bottom:
            continue
        target = slice(top - y - dy, bottom - y - dy), slice(left - x - dx, right - x - dx)
        new = empty[target] & ~hole[top:bottom, left:right]
        cv2.copyTo(detail[top:bottom, left:right], new.astype(np.uint8), filled[target])
        empty[target] &= ~new
    return filled

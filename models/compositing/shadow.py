"""Cast an object's shadow onto a scene, and shade the object by its own relief.

The shadow has three parts, all computed from the alpha: a contact shadow where the lowest points
touch the ground, an occlusion under the body, and a cast shadow. The cast shadow points away from
the light and softens with distance.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from models.data.pixels import Alpha, Floats, Pixels

# A shadow below this share changes no px.
_INVISIBLE = 1e-3


@dataclass(frozen=True)
class Pose:
    """How the object is in the scene.

    ``stands``: it stands on the ground; else it lies on a surface seen from above. ``light``: the
    background's (x, up). ``corner``: (x, y) of its upper left corner in px of the scene.
    """

    stands: bool
    light: tuple[float, float]
    corner: tuple[int, int]


def cast_shadow(
    scene: Pixels, alpha: Alpha, depth: Floats | None, pose: Pose, strength: float
) -> Pixels:
    """The scene (uint8 RGB) with the object's shadow on it.

    Args:
        scene: the background at its final size.
        alpha: the object's alpha, float HxW in 0..1, in px of the scene.
        depth: the object's depth, float HxW in 0..1, nearer is larger, or None.
        pose: where the object is, and whether it stands or lies.
        strength: darkness of the deepest shadow, 0..1.
    """
    # Shadows are smooth: a part of the resolution is enough.
    step = max(1, -(-max(alpha.shape) // 96))
    # A shadow reaches as far as 0.8 times the object.
    pad = int(0.8 * max(alpha.shape)) // step + 2
    small = _reduce(alpha, step, pad, cv2.BORDER_CONSTANT)
    if pose.stands:
        small_depth = None if depth is None else _reduce(depth, step, pad, cv2.BORDER_REPLICATE)
        dark = _standing_shadow(small, small_depth, pose.light)
    else:
        dark = _lying_shadow(small, pose.light)
    corner = (pose.corner[0] - pad * step, pose.corner[1] - pad * step)
    return _darken(scene, dark * np.float32(strength), step, corner)


def _reduce(values: Floats, step: int, pad: int, border: int) -> Floats:
    """Means of step x step px, with `pad` cells more on each side."""
    height, width = values.shape
    even = cv2.copyMakeBorder(values, 0, -height % step, 0, -width % step, border)
    size = (even.shape[1] // step, even.shape[0] // step)
    small = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.copyMakeBorder(small, pad, pad, pad, pad, border), np.float32)


def _standing_shadow(small: Alpha, depth: Floats | None, light: tuple[float, float]) -> Floats:
    """Darkness 0..1 around a standing object; ``small`` is its alpha at reduced size."""
    rows = np.flatnonzero((small > 0.5).any(1))
    if rows.size == 0:
        return np.zeros_like(small)
    top, foot = int(rows[0]), int(rows[-1])
    tall = max(4, foot - top)
    contact = _contact(small, depth, foot, tall)
    # Seen from a little above, the body's middle stands behind its lowest outline.
    ground = foot - 0.05 * tall
    under = _flatten(small, ground, (0.16, 0.0))
    under = cv2.GaussianBlur(under, (0, 0), 0.05 * tall) * 0.75
    length = 0.22 + 0.3 * (1 - light[1])
    flat = _flatten(small, ground, (length, -light[0] * (0.35 + 0.6 * (1 - light[1]))))
    sharp = cv2.GaussianBlur(flat, (0, 0), 0.035 * tall)
    soft = cv2.GaussianBlur(flat, (0, 0), 0.11 * tall)
    # The penumbra widens with the distance from the foot.
    away = np.clip((ground - np.arange(small.shape[0])) / (length * tall + 1), 0, 1)[:, None]
    cast = (sharp + (soft - sharp) * np.sqrt(away)) * (0.75 - 0.45 * away)
    return np.asarray(1 - (1 - contact) * (1 - under) * (1 - cast), np.float32)


def _flatten(small: Alpha, ground: float, projection: tuple[float, float]) -> Floats:
    """The alpha projected onto the ground.

    A point h above the row `ground` moves to projection[0] * h behind it and projection[1] * h to
    the right.
    """
    length, shear = projection
    matrix = np.array(
        [[1, shear / length, -shear * ground / length], [0, 1 / length, ground - ground / length]],
        np.float32,
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(small, matrix, small.shape[::-1], flags=flags), np.float32)


def _contact(small: Alpha, depth: Floats | None, foot: int, tall: int) -> Floats:
    """Thin dark lines under the points of the lower outline that touch the ground.

    A point touches if it is the lowest one, or if its greater distance explains its height (a hind
    leg).
    """
    solid = small > 0.5
    columns = np.flatnonzero(solid.any(0))
    lowest = solid.shape[0] - 1 - np.argmax(solid[::-1][:, columns], axis=0)
    gap = (foot - lowest) / tall
    if depth is not None:
        values = depth[lowest, columns]
        behind = float(values[np.argmax(lowest)]) - values
        gap = gap - np.clip(0.35 * behind, 0, None)
    touch = np.exp(-((np.clip(gap, 0, None) / 0.07) ** 2))
    line = np.zeros_like(small)
    line[lowest, columns] = touch
    wide = cv2.GaussianBlur(line, (0, 0), sigmaX=0.035 * tall + 0.5, sigmaY=0.018 * tall + 0.5)
    peak = float(wide.max())
    return np.asarray(np.clip(wide / (peak + 1e-6), 0, 1) * 0.75, np.float32)


def _lying_shadow(small: Alpha, light: tuple[float, float]) -> Floats:
    """Darkness 0..1 on a surface seen from above: occlusion at the outline, and a cast shadow."""
    rows, columns = np.nonzero(small > 0.5)
    if rows.size == 0:
        return np.zeros_like(small)
    extent = float(min(np.ptp(rows), np.ptp(columns))) + 4
    throw = extent * (0.05 + 0.12 * (1 - light[1]))
    dx, dy = -light[0] * throw, 0.6 * throw
    edge = cv2.GaussianBlur(small, (0, 0), 0.025 * extent + 0.5) * 0.55
    cast = np.zeros_like(small)
    for share, blur in ((0.35, 0.03), (0.7, 0.05), (1.0, 0.08)):
        matrix = np.array([[1, 0, dx * share], [0, 1, dy * share]], np.float32)
        shifted = cv2.warpAffine(small, matrix, small.shape[::-1])
        cast = np.maximum(cast, cv2.GaussianBlur(shifted, (0, 0), blur * extent) * 0.62)
    return np.asarray(1 - (1 - edge) * (1 - cast), np.float32)


def _darken(scene: Pixels, dark: Floats, step: int, corner: tuple[int, int]) -> Pixels:
    """The scene under a shadow.

    `dark` has one value for each step x step px, from `corner` (x, y) on. Only the rectangle where
    it changes px is computed.
    """
    x, y, wide, tall = cv2.boundingRect((dark > _INVISIBLE).astype(np.uint8))
    around = cv2.copyMakeBorder(dark, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    size = ((wide + 2) * step, (tall + 2) * step)
    full = cv2.resize(around[y : y + tall + 2, x : x + wide + 2], size)
    x, y = corner[0] + (x - 1) * step, corner[1] + (y - 1) * step
    height, width = scene.shape[:2]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + size[0], width), min(y + size[1], height)
    result = scene.copy()
    if wide == 0 or left >= right or top >= bottom:
        return result
    part = full[top - y : bottom - y, left - x : right - x]
    # The sky or the room lights a shadow: its colour is a little cooler than the light.
    light = cv2.merge([1 - np.clip(part * tint, 0, 0.92) for tint in (1.0, 0.985, 0.95)])
    box = result[top:bottom, left:right]
    box[:] = cv2.multiply(box, light, dtype=cv2.CV_8U)
    return result


def shade_by_relief(colours: Floats, alpha: Alpha, depth: Floats, light_x: float) -> Floats:
    """Colours (0..255), up to 10 % brighter on slopes that face the light and darker on others.

    ``depth``: float HxW in 0..1, nearer is larger. ``light_x``: -1 (left) to 1 (right).
    """
    # Relief is smooth: at most 160 cells along the object are enough.
    step = max(1, -(-max(alpha.shape) // 160))
    cells = _reduce(depth, step, 0, cv2.BORDER_REPLICATE)
    small = _reduce(alpha, step, 0, cv2.BORDER_CONSTANT)
    size = max(cells.shape)
    smooth = cv2.GaussianBlur(cells, (0, 0), 0.03 * size + 0.5)
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125) * size
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125) * size
    # Depth grows towards the viewer: where it rises to the right, the surface faces left.
    facing = -slope_x * light_x + 0.5 * slope_y
    inside = cv2.GaussianBlur(small, (0, 0), 0.01 * size + 0.5)
    shade = np.asarray(1 + 0.1 * np.tanh(0.6 * facing) * inside, np.float32)
    height, width = alpha.shape
    full = cv2.resize(shade, (shade.shape[1] * step, shade.shape[0] * step))[:height, :width]
    return np.asarray(np.clip(cv2.multiply(colours, cv2.merge([full] * 3)), 0, 255), np.float32)

"""The shadow that grounds an object in a scene, and its shading by its own relief.

Three parts, all from the matte: a contact shadow where its lowest points touch the ground, an
occlusion under its body, and a cast shadow that lies away from the light and softens with distance.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Pixels

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pose:
    """How the object is in the scene: standing or lying, the plate's light, its corner in px."""

    stands: bool
    light: tuple[float, float]
    corner: tuple[int, int]


def cast_shadow(
    scene: Pixels, alpha: Floats, near: Floats | None, pose: Pose, strength: float
) -> Pixels:
    """The scene (uint8 RGB) with the object's shadow on it.

    Args:
        scene: the plate at its final size.
        alpha: the object's matte, float HxW in 0..1, in px of the scene.
        near: the object's depth, 0..1, larger is nearer, or None.
        pose: where and how the object is.
        strength: 0..1, darkness of the deepest shadow.
    """
    reach = int(0.8 * max(alpha.shape)) + 8
    around = cv2.copyMakeBorder(alpha, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    # Shadows are smooth: a quarter of the resolution is enough.
    scale = min(1.0, 96 / max(alpha.shape))
    size = (max(8, round(around.shape[1] * scale)), max(8, round(around.shape[0] * scale)))
    small = np.asarray(cv2.resize(around, size, interpolation=cv2.INTER_AREA), np.float32)
    if pose.stands:
        depth = None
        if near is not None:
            wide = cv2.copyMakeBorder(near, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
            depth = np.asarray(cv2.resize(wide, size, interpolation=cv2.INTER_AREA), np.float32)
        dark = _standing_shadow(small, depth, pose.light)
    else:
        dark = _lying_shadow(small, pose.light)
    full = cv2.resize(dark, around.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return _darken(scene, np.asarray(full, np.float32) * strength, pose.corner, reach)


def _standing_shadow(small: Floats, depth: Floats | None, light: tuple[float, float]) -> Floats:
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


def _flatten(small: Floats, ground: float, lie: tuple[float, float]) -> Floats:
    """The matte laid on the ground: a point h above the row `ground` comes to lie lie[0] * h behind
    it and lie[1] * h to the right."""
    length, shear = lie
    matrix = np.array(
        [[1, shear / length, -shear * ground / length], [0, 1 / length, ground - ground / length]],
        np.float32,
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(small, matrix, small.shape[::-1], flags=flags), np.float32)


def _contact(small: Floats, depth: Floats | None, foot: int, tall: int) -> Floats:
    """Thin dark lines under the points of the lower outline that touch the ground.

    A point touches if it is the lowest, or as much higher than it is farther away (a hind leg).
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


def _lying_shadow(small: Floats, light: tuple[float, float]) -> Floats:
    """On a surface seen from above: occlusion at the outline, shadow away from the light."""
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
        moved = cv2.warpAffine(small, matrix, small.shape[::-1])
        cast = np.maximum(cast, cv2.GaussianBlur(moved, (0, 0), blur * extent) * 0.62)
    return np.asarray(1 - (1 - edge) * (1 - cast), np.float32)


def _darken(scene: Pixels, dark: Floats, corner: tuple[int, int], reach: int) -> Pixels:
    height, width = scene.shape[:2]
    x, y = corner[0] - reach, corner[1] - reach
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + dark.shape[1], width), min(y + dark.shape[0], height)
    part = dark[top - y : bottom - y, left - x : right - x, None]
    # Shadows are lit by the sky or the room: a little cooler than the light.
    tint = np.array([1.0, 0.985, 0.95], np.float32)
    result = scene.copy()
    kept = result[top:bottom, left:right] * (1 - np.clip(part * tint, 0, 0.92))
    result[top:bottom, left:right] = np.rint(kept).astype(np.uint8)
    return result


def shade_by_relief(colours: Floats, alpha: Floats, near: Floats, light_x: float) -> Floats:
    """Colours (0..255) lit a little more on the slopes that face the light, at most by 10 %."""
    size = max(alpha.shape)
    smooth = cv2.GaussianBlur(near, (0, 0), 0.03 * size + 0.5)
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125) * size
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125) * size
    # Depth grows towards the viewer: where it rises to the right, the surface faces left.
    facing = -slope_x * light_x + 0.5 * slope_y
    inside = cv2.GaussianBlur(alpha, (0, 0), 0.01 * size + 0.5)[..., None]
    shade = 1 + 0.1 * np.tanh(0.6 * facing)[..., None] * inside
    return np.asarray(np.clip(colours * shade, 0, 255), np.float32)

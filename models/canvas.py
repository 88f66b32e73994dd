"""Classical outpainting: a scene moved on its canvas, the revealed border continued from its
inside.

The border is made of the scene's own ground. The object is taken out of it first, so that it is
never mirrored; the mirrored ground is stretched and bent, so that the symmetry doesn't show. Where
the scene itself is, its pixels are kept exactly.
"""

import cv2
import numpy as np
import numpy.typing as npt

from models.pixels import Pixels, matte, rgb
from models.quality import boxes_from_mask

# The object is taken out at this size: what is behind it is a guess, and seen only in the border.
FILLED_SIDE = 192
# Mirrored ground is sampled at this pace, so that it is enlarged and no exact mirror image.
STRETCH = 0.72
# The bend of mirrored ground, as a share of the border's width.
BEND = 0.35

Floats = npt.NDArray[np.float32]


def grid_offsets(k: int, reach: float) -> list[tuple[float, float]]:
    """The ``k * k`` offsets (dx, dy) of a grid, row by row, as shares of the canvas.

    Example:
        >>> grid_offsets(2, 0.1)
        [(-0.1, -0.1), (0.1, -0.1), (-0.1, 0.1), (0.1, 0.1)]
    """
    line = [0.0] if k == 1 else np.linspace(-reach, reach, k).tolist()
    return [(float(dx), float(dy)) for dy in line for dx in line]


def shift_scene(rgba: Pixels, dx: float, dy: float, rng: np.random.Generator) -> Pixels:
    """One shift of a scene; for several of the same scene use `ExtendedScene`."""
    return ExtendedScene(rgba, max(abs(dx), abs(dy)), rng).shift(dx, dy)


class ExtendedScene:
    """A scene with its ground continued on all sides, ready to be shifted.

    Args:
        rgba: uint8 HxWx4, RGB + the object's matte.
        reach: the farthest shift, as a share of the canvas.
        rng: draws how the border bends.
    """

    def __init__(self, rgba: Pixels, reach: float, rng: np.random.Generator) -> None:
        height, width = rgba.shape[:2]
        self._margin_x = int(np.ceil(reach * width)) + 1
        self._margin_y = int(np.ceil(reach * height)) + 1
        self._size = width, height
        boxes = boxes_from_mask(rgba[..., 3] > 0)
        self._box = boxes[0] if boxes else (0, 0, width, height)
        ground = _continue(_without_object(rgba), self._margin_x, self._margin_y, rng)
        self._extended = np.dstack([ground, np.zeros(ground.shape[:2], np.uint8)])
        inside = (
            slice(self._margin_y, self._margin_y + height),
            slice(self._margin_x, self._margin_x + width),
        )
        self._extended[inside] = rgba

    def shift(self, dx: float, dy: float) -> Pixels:
        """The scene moved by (dx, dy) shares of the canvas, to the right and down; the same size.

        The move is shortened where it would take the object over the border.
        """
        width, height = self._size
        right = self._allowed(round(dx * width), self._box[0], self._box[2], width)
        down = self._allowed(round(dy * height), self._box[1], self._box[3], height)
        left, top = self._margin_x - right, self._margin_y - down
        return np.ascontiguousarray(self._extended[top : top + height, left : left + width])

    @staticmethod
    def _allowed(wanted: int, start: int, length: int, side: int) -> int:
        return int(np.clip(wanted, min(0, -start), max(0, side - start - length)))


def _without_object(rgba: Pixels) -> Pixels:
    """The scene's ground, with a smooth guess and the ground's own grain where the object was."""
    height, width = rgba.shape[:2]
    alpha = matte(rgba)
    if not alpha.any():
        return rgb(rgba)
    scale = FILLED_SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(rgb(rgba), size, interpolation=cv2.INTER_AREA)
    # The shadow beside the object belongs to it, so the hole is wider than the matte.
    hole = cv2.dilate(
        (cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) > 0.02).astype(np.uint8),
        np.ones((9, 9), np.uint8),
    )
    if hole.all():
        return rgb(rgba)
    filled = cv2.inpaint(np.ascontiguousarray(small), hole, 5, cv2.INPAINT_TELEA)
    smooth = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    sigma = 0.5 / scale
    grain = rgb(rgba) - cv2.GaussianBlur(rgb(rgba), (0, 0), sigma).astype(np.float32)
    moved = np.roll(grain, (height // 2, width // 2), axis=(0, 1))
    covered = np.roll(alpha, (height // 2, width // 2), axis=(0, 1))[..., None]
    weight = cv2.GaussianBlur(cv2.resize(hole.astype(np.float32), (width, height)), (0, 0), sigma)[
        ..., None
    ]
    guess = smooth + moved * (1 - covered)
    return np.clip(rgb(rgba) * (1 - weight) + guess * weight, 0, 255).astype(np.uint8)


def _continue(ground: Pixels, margin_x: int, margin_y: int, rng: np.random.Generator) -> Pixels:
    """The ground with a border of mirrored, stretched and bent ground on each side."""
    height, width = ground.shape[:2]
    rows = np.arange(-margin_y, height + margin_y, dtype=np.float32)
    columns = np.arange(-margin_x, width + margin_x, dtype=np.float32)
    beyond_y = np.maximum(-rows, rows - (height - 1)).clip(0)[:, None]
    beyond_x = np.maximum(-columns, columns - (width - 1)).clip(0)[None, :]
    shape = (len(rows), len(columns))
    # What lies beyond one side is bent along that side, the more the farther out.
    along_x = _smooth_noise(shape, rng) * BEND * beyond_y
    along_y = _smooth_noise(shape, rng) * BEND * beyond_x
    map_x = _mirrored(columns, width)[None, :] + along_x
    map_y = _mirrored(rows, height)[:, None] + along_y
    return cv2.remap(
        ground,
        np.clip(map_x, 0, width - 1).astype(np.float32),
        np.clip(map_y, 0, height - 1).astype(np.float32),
        cv2.INTER_LINEAR,
    ).astype(np.uint8)


def _mirrored(places: Floats, side: int) -> Floats:
    before = np.where(places < 0, -places * STRETCH, places)
    last = np.float32(side - 1)
    return np.where(before > last, last - (before - last) * STRETCH, before).astype(np.float32)


def _smooth_noise(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    coarse = rng.uniform(-1, 1, (7, 7)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)

"""Procedural distractors: smooth shapes with a texture, which belong to no class."""

import cv2
import numpy as np

from models.compositing.cut_out import CutOut, prepare_cut_out
from models.data.pixels import Pixels

_SIDE = 160
_WAVES = 5


def draw_shape(texture: Pixels, rng: np.random.Generator) -> CutOut:
    """A shape with a random smooth outline.

    Its texture is a random part of an image, in which channels are swapped and lit differently.

    Args:
        texture: uint8 HxWx3 RGB.
        rng: draws outline and texture.
    """
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = np.arange(1, _WAVES + 1)
    sizes = rng.uniform(0, 0.6, _WAVES) / waves
    phases = rng.uniform(0, 2 * np.pi, _WAVES)
    radii = 1 + (sizes * np.sin(angles[:, None] * waves + phases)).sum(1)
    points = np.column_stack([np.cos(angles) * radii, np.sin(angles) * radii])
    points = (points - points.min(0)) / np.ptp(points, axis=0).max() * (_SIDE - 1)
    alpha = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.fillPoly(alpha, [np.rint(points).astype(np.int32)], (255,), cv2.LINE_AA)
    side = min(_SIDE, *texture.shape[:2])
    top = int(rng.integers(texture.shape[0] - side + 1))
    left = int(rng.integers(texture.shape[1] - side + 1))
    part = texture[top : top + side, left : left + side][..., rng.permutation(3)]
    colours = cv2.resize(np.ascontiguousarray(part), (_SIDE, _SIDE))
    lit = np.clip(colours * rng.uniform(0.4, 1.5, 3), 0, 255).astype(np.uint8)
    return prepare_cut_out(np.dstack([lit, alpha]))

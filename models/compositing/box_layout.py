"""Layouts of scenes whose objects have their boxes already: each cut-out is fitted into a box."""

from collections.abc import Sequence

import cv2
import numpy as np

from models.compositing.cut_out import OBJECT_ALPHA, CutOut
from models.compositing.placement import rotated_size
from models.compositing.scene_layout import MOST, Layout, Placed, warp_cut_out
from models.compositing.scene_settings import SceneSettings
from models.data.objects import PixelBox

# Thin objects, such as scratches, would have to shrink to be turned in their box: they turn less.
_LEAST_OF_SIZE = 0.7
_THIN = 8


def lay_out_in_boxes(
    cut_outs: Sequence[CutOut],
    boxes: Sequence[PixelBox],
    size: tuple[int, int],
    settings: SceneSettings,
    rng: np.random.Generator,
) -> Layout:
    """The most suitable cut-out in each box, as large as fits in, proportions kept.

    A cut-out is used again once all were used. ``number`` of an object is its position among the
    cut-outs. Nothing of an object lies outside of its box; one without a px is left out.

    Args:
        cut_outs: the objects to choose from; one or more.
        boxes: x, y, width, height in px, wholly in the scene; at most `MOST`.
        size: width and height of the scene, px.
        settings: rotation, mirroring and colours of objects.
        rng: draws them.

    Raises:
        ValueError: there is no cut-out, or there are too many boxes.
    """
    if not cut_outs or len(boxes) > MOST:
        raise ValueError(
            f"a scene got {len(cut_outs)} cut-outs for {len(boxes)} boxes; give 1 or more cut-outs"
            f" and at most {MOST} boxes"
        )
    owner = np.zeros(size[::-1], np.uint8)
    placed: list[Placed] = []
    unused: list[int] = []
    for box in boxes:
        unused = unused or list(range(len(cut_outs)))
        number = min(unused, key=lambda at: _misfit(cut_outs[at], box))
        unused.remove(number)
        entry = _fit(number, cut_outs[number], box, settings, rng)
        if entry.area == 0:
            continue
        mask = entry.patch[..., 3] >= OBJECT_ALPHA
        rows = slice(entry.top, entry.top + mask.shape[0])
        columns = slice(entry.left, entry.left + mask.shape[1])
        placed.append(entry)
        owner[rows, columns][mask] = len(placed)
    return Layout(tuple(placed), owner)


def _misfit(cut_out: CutOut, box: PixelBox) -> float:
    """How unlike a box a cut-out is in proportions, and how much it must be enlarged."""
    width, height = cut_out.size
    scale = min(box[2] / width, box[3] / height)
    proportions = np.log(width / height) - np.log(box[2] / box[3])
    return float(abs(proportions) + max(np.log(scale), 0.0))


def _largest_scale(size: tuple[int, int], inner: tuple[int, int], degrees: float) -> float:
    """The factor with which a turned object of this size just fits into a box."""
    width, height = rotated_size(size, degrees)
    return min(inner[0] / width, inner[1] / height)


def _fit(
    number: int, cut_out: CutOut, box: PixelBox, settings: SceneSettings, rng: np.random.Generator
) -> Placed:
    x, y, width, height = box
    degrees = float(rng.uniform(-settings.max_rotation, settings.max_rotation))
    mirrored = rng.random(2) < (settings.flip, settings.upside_down)
    gains = (1 + settings.brightness * rng.uniform(-1, 1)) * (
        1 + settings.colour * rng.uniform(-1, 1, 3)
    )
    # A warped patch is a px larger than the object. That px is cut off thin objects, which would
    # otherwise get half as large.
    slack = 1 if min(width, height) > _THIN else 0
    inner = width - slack, height - slack
    straight = _largest_scale(cut_out.size, inner, 0.0)
    while _largest_scale(cut_out.size, inner, degrees) < _LEAST_OF_SIZE * straight:
        degrees /= 2
    scale = _largest_scale(cut_out.size, inner, degrees)
    patch = warp_cut_out(cut_out, scale, degrees, (bool(mirrored[0]), bool(mirrored[1])))
    patch = np.asarray(cv2.multiply(patch, np.append(gains, 1.0)), np.uint8)[:height, :width]
    left, top = x + (width - patch.shape[1]) // 2, y + (height - patch.shape[0]) // 2
    area = int(np.count_nonzero(patch[..., 3] >= OBJECT_ALPHA))
    return Placed(number, False, patch, left, top, area)

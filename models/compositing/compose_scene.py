"""Compose scenes: paint cut-outs onto a background, and label what is visible of each.

Several blendings of the same layout differ in the seams alone, so that a network that is trained on
them can't learn the seam (Dwibedi, Misra and Hebert, "Cut, Paste and Learn", ICCV 2017). Poisson
blending is of Pérez, Gangnet and Blake, "Poisson Image Editing" (SIGGRAPH 2003).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from models.compositing.cut_out import OBJECT_ALPHA
from models.compositing.scene_layout import Layout, Placed, visible_part
from models.compositing.scene_settings import Blending
from models.data.formats.polygons import encode_part
from models.data.pixels import Pixels

# Space that Poisson blending needs around an object, px.
_POISSON_BORDER = 3
# Blurred alpha to weight: the edge fades inwards, and the outline stays.
_FADE_INWARDS = np.clip(2 * np.arange(256) - 255, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class SceneObject:
    """A labelled object of a scene.

    Attributes:
        number: its position among the cut-outs.
        box: x, y, width, height of its visible px.
        mask: COCO run lengths of its visible px.
        visibility: visible share of all its px, those outside of the frame included; 0..1.
    """

    number: int
    box: tuple[int, int, int, int]
    mask: str
    visibility: float


def paint_scene(background: Pixels, layout: Layout, blending: Blending, feather: float) -> Pixels:
    """The background with all objects of a layout on it.

    Args:
        background: uint8 HxWx3 RGB at the size of the layout; it stays as it is.
        layout: the objects.
        blending: ``none`` pastes masks with hard edges; ``alpha`` keeps soft edges; ``gaussian``
            and ``box`` fade the edge inwards; ``poisson`` also moves colours to the background's.
        feather: width of the faded edge, px.

    Returns:
        uint8 HxWx3 RGB.
    """
    scene = background.copy()
    for placed in layout.placed:
        rows_columns, inner = visible_part(placed, layout.owner)
        target = scene[rows_columns]
        if blending == "poisson":
            target[:] = _clone(target, placed.patch[inner])
            continue
        patch = _seam(placed, blending, feather)[inner]
        inverse = cv2.bitwise_not(cv2.cvtColor(patch[..., 3], cv2.COLOR_GRAY2RGB))
        colours = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB)
        target[:] = cv2.add(cv2.multiply(target, inverse, scale=1 / 255), colours)
    return scene


def label_objects(layout: Layout) -> list[SceneObject]:
    """Box, mask and visibility of each object that has a label, in the order of the cut-outs."""
    height, width = layout.owner.shape
    objects = []
    for owner, placed in enumerate(layout.placed, start=1):
        if placed.is_distractor:
            continue
        rows, columns = visible_part(placed, layout.owner)[0]
        mask = layout.owner[rows, columns] == owner
        x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
        tight = mask[y : y + h, x : x + w]
        left, top = columns.start + x, rows.start + y
        runs = encode_part(tight, (left, top), (width, height))
        share = int(np.count_nonzero(tight)) / placed.area
        objects.append(SceneObject(placed.number, (left, top, w, h), runs, share))
    return sorted(objects, key=lambda entry: entry.number)


def _seam(placed: Placed, blending: Blending, feather: float) -> Pixels:
    """The patch with the edge of a blending; RGB premultiplied by alpha, and alpha."""
    patch = placed.patch
    if blending == "alpha":
        return patch
    alpha = patch[..., 3]
    if blending == "none":
        hard = _hard(alpha)
        colours = cv2.copyTo(_straight_colours(patch), hard)
        return np.asarray(np.dstack([colours, hard]), np.uint8)
    if blending == "gaussian":
        soft = cv2.GaussianBlur(alpha, (0, 0), feather, borderType=cv2.BORDER_CONSTANT)
    else:
        side = 2 * max(1, round(feather)) + 1
        soft = cv2.blur(alpha, (side, side), borderType=cv2.BORDER_CONSTANT)
    faded = cv2.LUT(soft, _FADE_INWARDS)
    weight = cv2.merge([faded, faded, faded, faded])
    return np.asarray(cv2.multiply(patch, weight, scale=1 / 255), np.uint8)


def _hard(alpha: Pixels) -> Pixels:
    """The mask of an alpha channel, uint8 HxW: 0 or 255."""
    _, mask = cv2.threshold(alpha, OBJECT_ALPHA - 1, 255, cv2.THRESH_BINARY)
    return np.asarray(mask, np.uint8)


def _straight_colours(patch: Pixels) -> Pixels:
    """The colours of a patch, uint8 HxWx3, not premultiplied; 0 where alpha is 0."""
    alpha = cv2.cvtColor(patch[..., 3], cv2.COLOR_GRAY2RGB)
    colours = cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB)
    return np.asarray(cv2.divide(colours, alpha, scale=255), np.uint8)


def _clone(target: Pixels, patch: Pixels) -> Pixels:
    """The part of a scene with a patch of its size cloned into it by Poisson blending."""
    border = _POISSON_BORDER
    sides = (border, border, border, border)
    mask = _hard(patch[..., 3])
    if cv2.countNonZero(mask) == 0:
        return target
    straight = cv2.copyTo(_straight_colours(patch), mask, target.copy())
    source = cv2.copyMakeBorder(straight, *sides, cv2.BORDER_REPLICATE)
    ground = cv2.copyMakeBorder(target, *sides, cv2.BORDER_REPLICATE)
    mask = np.asarray(cv2.copyMakeBorder(mask, *sides, cv2.BORDER_CONSTANT, value=0), np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    middle = (x + width // 2, y + height // 2)
    # OpenCV changes the mask that it is given.
    cloned = cv2.seamlessClone(source, ground, mask.copy(), middle, cv2.NORMAL_CLONE)
    # The clone also changes px around the mask.
    return np.asarray(cv2.copyTo(cloned, mask, ground)[border:-border, border:-border], np.uint8)

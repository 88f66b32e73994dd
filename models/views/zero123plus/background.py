"""Paste objects on Zero123++'s grey background, and segment them on it afterwards."""

import cv2
import numpy as np
from PIL import Image

from models.data.pixels import Alpha, Bools, Floats, Pixels, matte, resize, rgb, with_matte
from models.segmentation.cleanup import large_parts
from models.segmentation.grabcut import segment_object
from models.segmentation.masks import border_pixels
from models.segmentation.saliency import NoObjectError

GREY = 127  # background of the training images, zero for the VAE
FILL = 0.95  # the object's longer side over the square's side, as the authors centre objects

# Filtered alpha has faint coverage far from the object, which must not widen the box.
_MIN_ALPHA = 16

# The background of a published sheet is within a few levels of 127, with noise from decoding.
_TOLERANCE = 16
_MIN_STEP = 8.0
_NOISE_STEPS = 5.0
# A view has no grey background if less than this share of its border is grey.
_MIN_GREY_BORDER = 0.25
_MIN_HOLE = 0.002  # smaller enclosed parts, as a share of the view, are not background
_HOLE_STEP = 1.5  # grey levels by which a hole may exceed the background's noise
_MIN_PART = 0.02  # smaller parts, as a share of the largest, are decoding noise


def paste_on_grey(image: Pixels) -> Pixels:
    """Return RGB uint8 HxWx3: an RGB image unchanged, an RGBA image pasted on grey 127."""
    if image.shape[-1] == 3:
        return image
    height, width = image.shape[:2]
    canvas = Image.new("RGB", (width, height), (GREY, GREY, GREY))
    canvas.paste(
        Image.fromarray(np.ascontiguousarray(image[..., :3])),
        mask=Image.fromarray(np.ascontiguousarray(image[..., 3])),
    )
    return np.asarray(canvas, np.uint8)


def center_on_square(rgba: Pixels) -> Pixels:
    """Return the object of an RGBA image, centred on a square (uint8 SxSx4, not rescaled).

    The longer side of the object's box takes 95 % of the square. Outside the box the square is grey
    127 with alpha 0.

    Raises:
        NoObjectError: alpha is empty.
        ValueError: ``rgba`` is not HxWx4.
    """
    if rgba.ndim != 3 or rgba.shape[-1] != 4:
        raise ValueError(f"an image of shape {rgba.shape} can't be centred; give HxWx4")
    inside = rgba[..., 3] >= _MIN_ALPHA
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        raise NoObjectError("no object found: its alpha is empty")
    box = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = box.shape[:2]
    side = max(height, width, int(max(height, width) / FILL))
    square = np.full((side, side, 4), (GREY, GREY, GREY, 0), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = box
    return square


def segment_view(view: Pixels) -> Alpha:
    """Return the alpha (float32 HxW, 0..1) of the object in a view that the network drew on grey.

    Background is what has the border's grey and is connected to the border. Holes that are as
    uniform as it, such as a handle's, are background too. Grey parts with shading belong to the
    object. GrabCut then refines the outline; it finds the object alone if the border is not grey.

    Raises:
        NoObjectError: all of the view is background, or nothing stands out.
    """
    alpha = segment_object(view, previous_mask=_coarse_mask(view))
    if not (alpha >= 0.5).any():
        raise NoObjectError("no object found: its alpha is empty")
    return alpha


def _coarse_mask(view: Pixels) -> Floats | None:
    """Return 1 on the object and 0 on the background; None if the border is not grey."""
    colours = view.astype(np.float32)
    border = border_pixels(colours)
    grey = border[np.abs(border - GREY).max(axis=1) <= _TOLERANCE]
    if len(grey) < _MIN_GREY_BORDER * len(border):
        return None
    background = np.median(grey, axis=0)
    noise = float(np.median(np.abs(grey - background).max(axis=1)))
    step = np.abs(colours - background).max(axis=2)
    is_grey = step <= max(_MIN_STEP, _NOISE_STEPS * noise)
    outside = _background_parts(is_grey, step, noise)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    inside = cv2.morphologyEx((~outside).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    if not inside.any():
        raise NoObjectError("no object found: the view is all grey background")
    return large_parts(np.asarray(inside > 0), _MIN_PART).astype(np.float32)


def _background_parts(is_grey: Bools, step: Floats, noise: float) -> Bools:
    """Return the grey parts that touch the border or are as uniform as the background.

    Parts are 4-connected, so that a thin line of the object keeps the background out.
    """
    count, parts = cv2.connectedComponents(is_grey.astype(np.uint8), connectivity=4)
    is_background = np.isin(np.arange(count), border_pixels(parts))
    area = np.bincount(parts.ravel(), minlength=count)
    # Eroded by a pixel, because the rim of a hole is mixed with the object.
    core = cv2.erode(is_grey.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    for part in np.flatnonzero(~is_background & (area >= _MIN_HOLE * is_grey.size)):
        within = step[(parts == part) & core]
        is_background[part] = within.size > 0 and np.median(within) <= noise + _HOLE_STEP
    is_background[0] = False
    return np.asarray(is_background[parts])


def resize_view(rgba: Pixels, size: int) -> Pixels:
    """Return a square RGBA view at ``size`` px; colour and alpha are resized separately."""
    if rgba.shape[0] == size:
        return rgba
    colours = resize(np.ascontiguousarray(rgb(rgba)), size, size)
    return with_matte(colours, resize(matte(rgba), size, size))

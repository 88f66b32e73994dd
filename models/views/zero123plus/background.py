"""Objects on Zero123++'s plain grey: put onto it for the network, and found on it afterwards."""

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from models.data import pixels
from models.data.pixels import Pixels
from models.segmentation.grabcut import segment_object
from models.segmentation.saliency import NoObjectError

GREY = 127  # the colour of the ground that the network was trained on, its VAE's zero
FILL = 0.95  # share of the square's side that the object's longer side takes, as the authors centre

# A filtered matte has a trace of coverage far from the object; it must not widen the box.
_FAINT = 16

# A published sheet's ground lies within a few levels of 127; compression and decoding add noise.
_TOLERANCE = 16
_LEAST_STEP = 8.0
_NOISE_STEPS = 5.0
# With less of the border in the ground's colour than this, the view has no plain ground.
_GROUND_ON_BORDER = 0.25
_HOLE = 0.002  # enclosed parts below this share of the view are never ground
_PLAIN = 1.5  # grey levels by which a hole may differ from the ground more than its noise does
_SPECK = 0.02  # parts smaller than this share of the largest are decoding noise


def on_grey(image: Pixels) -> Pixels:
    """RGB uint8 HxWx3: an RGB image as it is, an RGB + matte image pasted on grey 127."""
    if image.shape[-1] == 3:
        return image
    height, width = image.shape[:2]
    ground = Image.new("RGB", (width, height), (GREY, GREY, GREY))
    ground.paste(
        Image.fromarray(np.ascontiguousarray(image[..., :3])),
        mask=Image.fromarray(np.ascontiguousarray(image[..., 3])),
    )
    return np.asarray(ground, np.uint8)


def recentred(rgba: Pixels, fill: float = FILL) -> Pixels:
    """The object of an RGB + matte image, centred on a square (uint8 SxSx4, not rescaled).

    The matte's box is cut out; ``fill`` is the share of the square's side S that its longer side
    takes. What lies outside the box is grey 127 with an empty matte.

    Raises:
        NoObjectError: the matte is nowhere above a trace.
        ValueError: ``rgba`` is not HxWx4.
    """
    if rgba.ndim != 3 or rgba.shape[-1] != 4:
        raise ValueError(f"an image of shape {rgba.shape} can't be recentred; give HxWx4")
    inside = rgba[..., 3] >= _FAINT
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        raise NoObjectError("no object found: its matte is empty")
    box = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = box.shape[:2]
    side = max(height, width, int(max(height, width) / fill))
    square = np.full((side, side, 4), (GREY, GREY, GREY, 0), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = box
    return square


def matte_of_view(view: Pixels) -> npt.NDArray[np.float32]:
    """The matte (float32 HxW, 0..1) of the object in a view that the network painted on grey.

    The ground is what has the border's grey and hangs together with the border, and holes that are
    as plain as it, such as a handle's; grey parts of the object with any shading stay the object's.
    The outline is then decided by `models.segmentation.grabcut`. A view whose border is not grey
    is left to
    `models.segmentation.grabcut` alone.

    Raises:
        NoObjectError: all of the view is ground, or nothing stands out.
    """
    coverage = _not_ground(view)
    alpha = (
        segment_object(view) if coverage is None else segment_object(view, previous_mask=coverage)
    )
    if not (alpha >= 0.5).any():
        raise NoObjectError("no object found: its matte is empty")
    return alpha


def _not_ground(view: Pixels) -> npt.NDArray[np.float32] | None:
    """1 where the object is, 0 on the ground; None where the border shows no plain grey."""
    colours = view.astype(np.float32)
    border = np.concatenate([colours[0], colours[-1], colours[1:-1, 0], colours[1:-1, -1]])
    grey = border[np.abs(border - GREY).max(axis=1) <= _TOLERANCE]
    if len(grey) < _GROUND_ON_BORDER * len(border):
        return None
    ground = np.median(grey, axis=0)
    noise = float(np.median(np.abs(grey - ground).max(axis=1)))
    step = np.abs(colours - ground).max(axis=2)
    near = step <= max(_LEAST_STEP, _NOISE_STEPS * noise)
    outside = _ground_parts(near, step, noise)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    inside = cv2.morphologyEx((~outside).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return _without_specks(np.asarray(inside, np.uint8))


def _ground_parts(
    near: npt.NDArray[np.bool_], step: npt.NDArray[np.float32], noise: float
) -> npt.NDArray[np.bool_]:
    """The parts of ``near`` that reach the border, and the enclosed ones as plain as the ground.

    Parts are 4-connected, so that a thin line of the object holds the ground back.
    """
    count, parts = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)
    edges = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    ground = np.isin(np.arange(count), edges)
    area = np.bincount(parts.ravel(), minlength=count)
    # Eroded by a pixel: the rim of a hole is mixed with the object.
    core = cv2.erode(near.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    for part in np.flatnonzero(~ground & (area >= _HOLE * near.size)):
        within = step[(parts == part) & core]
        ground[part] = within.size > 0 and np.median(within) <= noise + _PLAIN
    ground[0] = False
    return np.asarray(ground[parts])


def _without_specks(inside: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    if count < 2:
        raise NoObjectError("no object found: the view is all grey ground")
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas[0] = 0
    return np.isin(parts, np.flatnonzero(areas >= _SPECK * areas.max())).astype(np.float32)


def resized(rgba: Pixels, size: int) -> Pixels:
    """A square RGB + matte view at ``size`` px; colour and matte apart, as neither hangs on the
    other.
    """
    if rgba.shape[0] == size:
        return rgba
    method = cv2.INTER_AREA if rgba.shape[0] > size else cv2.INTER_CUBIC
    colours = cv2.resize(np.ascontiguousarray(pixels.rgb(rgba)), (size, size), interpolation=method)
    alpha = cv2.resize(pixels.matte(rgba), (size, size), interpolation=method)
    return pixels.with_matte(np.asarray(colours, np.uint8), np.asarray(alpha, np.float32))

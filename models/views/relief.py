"""Depth and new views of an object from its alpha alone, by inflating its outline to a relief.

The alpha is inflated to a cushion (`models.views.inflation`) whose front and back are mirror
images. A view is found by sweeping a plane through the relief. For each depth the map from relief
to screen is a homography, so one warp per depth gives every ray's first hit, without meshes or
holes. It can fail on objects whose depth their outline does not show (chairs, open boxes), because
a relief has no hidden parts to show.

Views add variety, not truth. Compared with true views of 24 rendered objects turned by 20 degrees,
the mean error of the turned relief is 20.6 grey levels, that of the unturned photo 16.8. Surface
colours move the right way in 9 of 10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.data.pixels import Alpha, Floats, Matrix, Pixels, resize
from models.segmentation.masks import estimate_foreground
from models.segmentation.saliency import NoObjectError
from models.views.cameras import Camera, view_rotation
from models.views.inflation import (
    gradient,
    inflate,
    natural_depth,
    rim_slope,
    signed_distance,
    zero_crossings,
)

GREY = 127  # background of views
_FILL = 0.85  # the object's longer side over the canvas side, in a view
_MARGIN = 0.1  # around the object in its own square crop, over its longer side
_CAMERA = 5.0  # distance of the camera in half object sizes; about 23 degrees field of view
_OVERSAMPLING = 1.25  # of the relief's texture compared with the canvas
_N_PLANES = 24  # on each side of the middle plane
_RELIGHTING = 0.6  # share of the shading that follows the turned surface
_LIGHT = np.array([-0.35, -0.45, 0.82])  # x to the right, y down, z to the camera


@dataclass(frozen=True)
class _Relief:
    """Maps of one size, with the object's box in their centre.

    Attributes:
        colour: float32 HxWx3, 0..255.
        field: signed height in half object sizes, negative outside the outline.
        slope: x and y derivatives of the height.
        inward: distance to the outline in pixels, and its x and y derivatives.
        span: the longer side of the object's box in pixels.
    """

    colour: Floats
    field: Floats
    slope: Floats
    inward: Floats
    span: float


def render_views(rgba: Pixels, cameras: Sequence[Camera], *, size: int) -> list[Pixels]:
    """Return one view of the object per camera (RGBA, uint8 size x size x 4).

    The object is centred and its longer side fills 85 % of the canvas, on grey 127. Alpha is the
    exact coverage. Where it is 0.5 or more, colours are the object's own.

    Args:
        rgba: photo with alpha, uint8 HxWx4, not premultiplied.
        cameras: viewpoints.
        size: side of a view in pixels.

    Raises:
        NoObjectError: alpha is empty.
        ValueError: `rgba` is not uint8 HxWx4, or `size` is below 16.
    """
    _check_rgba(rgba, size)
    relief = _build_relief(rgba, size)
    return [_render(relief, camera, size) for camera in cameras]


def crop_square(rgba: Pixels, *, size: int) -> Pixels:
    """Return the photo's own view: a square crop around the object (uint8 size x size x 4).

    A margin of 10 % of the object's longer side is left on each side. Outside the photo the crop is
    grey 127 with alpha 0.

    Raises:
        NoObjectError: alpha is empty.
        ValueError: `rgba` is not uint8 HxWx4, or `size` is below 16.
    """
    _check_rgba(rgba, size)
    x, y, width, height = _object_box(rgba[..., 3])
    side = max(2, round(max(width, height) * (1 + 2 * _MARGIN)))
    left, top = x + (width - side) // 2, y + (height - side) // 2
    square = np.full((side, side, 4), (GREY, GREY, GREY, 0), np.uint8)
    rows = slice(max(top, 0), min(top + side, rgba.shape[0]))
    columns = slice(max(left, 0), min(left + side, rgba.shape[1]))
    square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = rgba[
        rows, columns
    ]
    return resize(square, size, size)


def relief_depth(pixels: Pixels, alpha: Alpha) -> Floats:
    """Return the depth (float32 HxW, 0..1, larger is nearer) of a photo with one object.

    The inflated object stands where its lowest point meets a ground plane that recedes upwards to a
    backdrop. Shading adds a little detail. `alpha` is float HxW, 0..1.

    Raises:
        NoObjectError: alpha is empty.
        ValueError: the shapes do not match.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or alpha.shape != pixels.shape[:2]:
        raise ValueError(f"pixels HxWx3 and alpha HxW must match: {pixels.shape}, {alpha.shape}")
    alpha = np.asarray(np.clip(alpha, 0, 1), np.float32)
    _, top, _, box_height = _object_box(np.asarray(alpha * 255 + 0.5, np.uint8))
    height, width = alpha.shape
    ground = _ground_depth(height)
    bulge = inflate(alpha, natural_depth(alpha)) / max(height, width)
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32) / np.float32(255)
    sigma = max(1.0, 0.02 * max(height, width))
    detail = np.clip(grey - _blur_wide(grey, sigma), -0.25, 0.25)
    # A step of 0.05 separates the feet from the ground; 2.5 makes up for the flat cushion.
    foot = float(ground[min(top + box_height, height) - 1])
    inside = np.asarray(cv2.addWeighted(bulge, 2.5, detail, 0.08, foot + 0.05), np.float32)
    depth = (inside - ground[:, None]) * alpha + ground[:, None]
    low, high = float(depth.min()), float(depth.max())
    depth -= np.float32(low)
    depth /= np.float32(max(high - low, 1e-6))
    return depth


def _blur_wide(image: Floats, sigma: float) -> Floats:
    """Return the image blurred by a Gaussian, computed at a size at which `sigma` is about 4 px."""
    size = image.shape[1::-1]
    step = max(1.0, sigma / 4)
    small = cv2.resize(image, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / step), size), np.float32)


def _ground_depth(height: int) -> Floats:
    """Return the depth per row: a backdrop down to 35 % of the height, then the ground."""
    rows = (np.arange(height) + 0.5) / height
    return np.asarray(np.interp(rows, [0, 0.35, 1], [0.0, 0.08, 0.55]), np.float32)


def _check_rgba(rgba: Pixels, size: int) -> None:
    if rgba.ndim != 3 or rgba.shape[2] != 4 or rgba.dtype != np.uint8:
        raise ValueError(f"rgba must be uint8 HxWx4 (RGB, alpha), not {rgba.dtype} {rgba.shape}")
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, not {size}")


def _object_box(alpha: Pixels) -> tuple[int, int, int, int]:
    inside = alpha >= 128
    if not inside.any():
        raise NoObjectError("no object found: alpha is empty; give an alpha with opaque pixels")
    x, y, width, height = cv2.boundingRect(inside.astype(np.uint8))
    return x, y, width, height


def _build_relief(rgba: Pixels, size: int) -> _Relief:
    x, y, width, height = _object_box(rgba[..., 3])
    span = _FILL * size * _OVERSAMPLING
    scale = span / max(width, height)
    side = round(span * 1.16)
    patch, origin = _padded_patch(rgba, (x, y, width, height), scale)
    move = np.array(
        [
            [scale, 0, (side - 1) / 2 - scale * (x - origin[0] + (width - 1) / 2)],
            [0, scale, (side - 1) / 2 - scale * (y - origin[1] + (height - 1) / 2)],
        ]
    )
    if scale < 1:  # averaged over areas first: a warp alone would alias
        patch, move = _shrink(patch, move, scale)
    maps = cv2.warpAffine(patch, move, (side, side), flags=cv2.INTER_CUBIC)
    alpha = np.asarray(maps[..., 3] / 255, np.float32)
    colour = estimate_foreground(np.ascontiguousarray(maps[..., :3]), alpha)
    depth = natural_depth(alpha)
    bulge = np.asarray(cv2.GaussianBlur(inflate(alpha, depth), (0, 0), 0.008 * side), np.float32)
    # The inflation is solved too small to hold the outline, which comes from the full alpha.
    distance = signed_distance(alpha)
    ramp = 0.75 * rim_slope(depth) * depth * distance
    field = np.where(ramp < 0, ramp, np.minimum(bulge, ramp))
    smooth_distance = cv2.GaussianBlur(distance, (0, 0), 0.01 * side)
    if not (field > 0).any():
        raise NoObjectError("no object found: alpha is thinner than a pixel at this size")
    return _Relief(
        colour=colour.astype(np.float32),
        field=np.asarray(field / (span / 2), np.float32),
        slope=gradient(bulge),
        inward=np.dstack([distance, gradient(np.asarray(smooth_distance, np.float32))]),
        span=span,
    )


def _padded_patch(
    rgba: Pixels, box: tuple[int, int, int, int], scale: float
) -> tuple[Pixels, tuple[int, int]]:
    """Return the object's box with its surroundings, alpha 0 outside the photo, and its origin."""
    x, y, width, height = box
    pad = max(2, round(0.1 * max(width, height))) + int(4 / scale)
    inner = rgba[max(y - pad, 0) : y + height + pad, max(x - pad, 0) : x + width + pad]
    padded = cv2.copyMakeBorder(inner, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    padded[:pad, :, 3] = padded[-pad:, :, 3] = padded[:, :pad, 3] = padded[:, -pad:, 3] = 0
    origin = (max(x - pad, 0) - pad, max(y - pad, 0) - pad)
    return np.asarray(padded, np.uint8), origin


def _shrink(patch: Pixels, move: Matrix, scale: float) -> tuple[Pixels, Matrix]:
    height, width = patch.shape[:2]
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = np.asarray(cv2.resize(patch, size, interpolation=cv2.INTER_AREA), np.uint8)
    ratio = np.array([width / size[0], height / size[1]])
    linear = move[:, :2] * ratio
    # Pixel centres are at whole numbers in OpenCV, so a smaller grid is shifted by half a pixel.
    offset = move[:, 2] + move[:, :2] @ ((ratio - 1) / 2)
    return small, np.hstack([linear, offset[:, None]])


def _plane_to_screen(relief: _Relief, rotation: Matrix, depth: float) -> Matrix:
    """Return the homography from map pixels to the screen (camera units) for the plane z = `depth`.

    The photo counts as seen in the same perspective, so the front view reproduces it.
    """
    half, centre = relief.span / 2, (relief.field.shape[0] - 1) / 2
    widen = (_CAMERA - depth) / _CAMERA / half
    plane = np.array([[widen, 0, -widen * centre], [0, widen, -widen * centre], [0, 0, 1]])
    lift = rotation @ np.diag([1.0, 1.0, depth])
    project = np.stack([_CAMERA * lift[0], _CAMERA * lift[1], -lift[2]])
    project[2, 2] += _CAMERA
    return np.asarray(project @ plane)


def _fit_canvas(relief: _Relief, rotation: Matrix, size: int) -> Matrix:
    """Return the map from screen to canvas that centres the object and fits it to `_FILL`."""
    step = max(1, relief.field.shape[0] // 96)
    heights = np.maximum(relief.field, 0)[::step, ::step]
    rows, columns = np.nonzero(heights)
    bulge = heights[rows, columns].astype(np.float64)
    inner = np.stack([columns, rows]) * float(step)
    rim = zero_crossings(relief.field)
    flat = np.concatenate([inner, inner, rim], 1) - (relief.field.shape[0] - 1) / 2
    depth = np.concatenate([bulge, -bulge, np.zeros(rim.shape[1])])
    points = np.vstack([flat / (relief.span / 2) * (_CAMERA - depth) / _CAMERA, depth])
    turned = rotation @ points
    cloud = turned[:2] * _CAMERA / (_CAMERA - turned[2])
    low, high = cloud.min(1), cloud.max(1)
    scale = _FILL * size / float((high - low).max())
    offset = (size - 1) / 2 - scale * (low + high) / 2
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]], [0, 0, 1]])


def _render(relief: _Relief, camera: Camera, size: int) -> Pixels:
    rotation = view_rotation(camera)
    canvas = _fit_canvas(relief, rotation, size)
    depth, margin = _sweep(relief, rotation, canvas, size)
    columns, rows = _to_map(relief, rotation, canvas, depth)
    source = _leave_rim(relief, rotation, columns, rows)
    colour = cv2.remap(relief.colour, *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    slope = np.asarray(cv2.remap(relief.slope, columns, rows, cv2.INTER_LINEAR), np.float32)
    colour = colour * _relight(slope, depth, rotation)[..., None]
    fine = cv2.resize(margin, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR) > 0
    coverage = cv2.resize(fine.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    # Full colour from half coverage on: the edge shows no grey on another background, yet the view
    # itself has a smooth outline.
    opacity = np.clip(coverage * 2, 0, 1)[..., None]
    view = np.dstack([colour * opacity + GREY * (1 - opacity), coverage * 255])
    return np.asarray(np.clip(view + 0.5, 0, 255), np.uint8)


def _sweep(relief: _Relief, rotation: Matrix, canvas: Matrix, size: int) -> tuple[Floats, Floats]:
    """Return per canvas pixel the first hit's depth, and the largest signed height on its ray."""
    top = float(relief.field.max())
    planes = np.linspace(top, -top, 2 * _N_PLANES + 1)
    if rotation[2, 2] < 0:
        planes = planes[::-1]
    depth = np.zeros((size, size), np.float32)
    margin = np.full((size, size), -np.inf, np.float32)
    before = np.full((size, size), -1e-3, np.float32)
    open_rays = np.ones((size, size), bool)
    step = float(planes[1] - planes[0])
    for plane in planes:
        move = canvas @ _plane_to_screen(relief, rotation, float(plane))
        inside = cv2.warpPerspective(
            relief.field, move, (size, size), flags=cv2.INTER_LINEAR, borderValue=-1
        ) - abs(float(plane))
        better = open_rays & (inside > margin)
        hit = better & (inside > 0)
        depth[better] = plane
        back = np.clip(inside[hit] / np.maximum(inside[hit] - before[hit], 1e-6), 0, 1)
        depth[hit] -= step * back
        margin = np.maximum(margin, inside)
        open_rays &= ~hit
        before = inside
    return depth, margin


def _to_map(
    relief: _Relief, rotation: Matrix, canvas: Matrix, depth: Floats
) -> tuple[Floats, Floats]:
    """Return map coordinates (columns, rows) of the point at `depth` on each canvas pixel's ray."""
    size = depth.shape[0]
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    u = (columns - canvas[0, 2]) / canvas[0, 0] / _CAMERA
    v = (rows - canvas[1, 2]) / canvas[1, 1] / _CAMERA
    eye = rotation.T @ np.array([0, 0, _CAMERA])
    ray = [rotation[0, k] * u + rotation[1, k] * v - rotation[2, k] for k in range(3)]
    length = (depth - eye[2]) / ray[2]
    half, centre = relief.span / 2, (relief.field.shape[0] - 1) / 2
    widen = half * _CAMERA / (_CAMERA - depth)
    x = (eye[0] + length * ray[0]) * widen + centre
    y = (eye[1] + length * ray[1]) * widen + centre
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _leave_rim(
    relief: _Relief, rotation: Matrix, columns: Floats, rows: Floats
) -> tuple[Floats, Floats]:
    """Return texture coordinates that skip the outermost pixels of the outline when turned.

    Turned towards the camera, that strip grows, with what it holds of the background's colour. The
    strip next to it is stretched over both instead. The front view does not change.
    """
    turned = float(np.sqrt(max(0.0, 1 - rotation[2, 2] ** 2)))
    strip = 0.05 * relief.span * turned * float(relief.field.max())
    if strip < 0.1:
        return columns, rows
    inward = np.asarray(cv2.remap(relief.inward, columns, rows, cv2.INTER_LINEAR), np.float32)
    push = np.asarray(np.clip(strip - inward[..., 0] / 2, 0, 1.5 * strip), np.float32)
    return columns + push * inward[..., 1], rows + push * inward[..., 2]


def _relight(slope: Floats, depth: Floats, rotation: Matrix) -> Floats:
    """Return a factor on the colours: shading of the turned surface over that of the photo."""
    side = np.where(depth >= 0, 1.0, -1.0)
    if rotation[2, 2] < 0:
        side = np.where(depth > 0, 1.0, -1.0)
    length = np.sqrt(1 + (slope**2).sum(-1))
    normal = (
        np.stack([-slope[..., 0], -slope[..., 1], np.ones_like(length)], -1) / length[..., None]
    )
    turned = np.stack([normal[..., 0], normal[..., 1], normal[..., 2] * side], -1) @ rotation.T
    shade = [0.6 + 0.4 * np.maximum(surface @ _LIGHT, 0) for surface in (turned, normal)]
    return np.asarray(np.clip(shade[0] / shade[1], 0.7, 1.3) ** _RELIGHTING, np.float32)

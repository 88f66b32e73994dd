"""Augment single views by geometry, colours, blur and noise, with the caller's random generator.

Each change is that of the torchvision function of the same name (`torchvision.transforms.v2`),
computed by OpenCV in a quarter of the time. Every number comes from the caller's generator, so an
image depends only on its seed.
"""

from statistics import NormalDist

import cv2
import numpy as np

from models.augmentation.settings import AugmentRanges
from models.data.pixels import Matrix, Pixels, add_alpha, rgb, round_to_uint8

GREY = 127
# Weights of red, green and blue in the grey of torchvision.
_LUMA = np.array([0.2989, 0.587, 0.114])
# Normally distributed noise for each value of a random byte.
_NORMAL = np.array([NormalDist().inv_cdf((byte + 0.5) / 256) for byte in range(256)], np.float32)

# Rows at a time, whose floats then stay in the processor's cache.
_ROWS = 64


def augment_image(image: Pixels, ranges: AugmentRanges, rng: np.random.Generator) -> Pixels:
    """Return a changed copy of the same size.

    Args:
        image: uint8 HxWx3 RGB or HxWx4 RGBA. Geometric changes move colours and alpha together.
            What enters the view is grey 127 with alpha 0. An object that lay inside the image
            stays inside. Colour changes leave alpha unchanged.
        ranges: how far the copy may differ.
        rng: numbers are drawn in a fixed order, whatever is switched off.

    Raises:
        ValueError: the image is neither RGB nor RGBA.
    """
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(f"an image of shape {image.shape} can't be augmented; give HxWx3 or HxWx4")
    moved = _move(image, ranges, rng)
    coloured = _colour(rgb(moved), ranges, rng)
    blurred = _blur(coloured, float(rng.uniform(0, ranges.blur)))
    result = _add_noise(blurred, float(rng.uniform(0, ranges.noise)), rng)
    return add_alpha(result, moved[..., 3]) if image.shape[2] == 4 else result


def _move(image: Pixels, ranges: AugmentRanges, rng: np.random.Generator) -> Pixels:
    """Apply flip, rotation, scale, shear and perspective in one resampling."""
    height, width = image.shape[:2]
    if rng.uniform() < ranges.flip:
        image = np.asarray(cv2.flip(image, 1), np.uint8)
    matrix = _draw_motion((width, height), ranges, rng)
    if image.shape[2] == 4:
        matrix = _keep_inside(image[..., 3], matrix)
    if np.allclose(matrix, np.eye(3), atol=1e-9):
        return image.copy()
    # The matrix measures from px corners, OpenCV from px centres.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    moved = cv2.warpPerspective(
        image,
        np.linalg.inv(half) @ matrix @ half,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY, GREY, GREY, 0),
    )
    return np.asarray(moved, np.uint8)


def _draw_motion(size: tuple[int, int], ranges: AugmentRanges, rng: np.random.Generator) -> Matrix:
    """Return a 3x3 matrix from pixels of the image to pixels of the copy, around its centre."""
    width, height = size
    angle = np.radians(_draw(rng, ranges.rotate))
    shear = np.tan(np.radians(_draw(rng, ranges.shear)))
    # Growth is half of shrinkage, because larger objects would leave the canvas.
    scale = 1.0 + float(rng.uniform(-ranges.scale, 0.5 * ranges.scale))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, shear * cos - sin, 0], [sin, shear * sin + cos, 0], [0, 0, 1]])
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    limit = np.array([width, height]) * ranges.perspective
    moved = corners + rng.uniform(-limit, limit, (4, 2))
    perspective = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return np.asarray(perspective @ centre @ turn @ np.linalg.inv(centre), np.float64)


def _keep_inside(alpha: Pixels, matrix: Matrix) -> Matrix:
    """Shrink and shift the motion so that an object inside the image stays inside."""
    height, width = alpha.shape
    mask = alpha > 0
    is_cut_off = mask[[0, -1]].any() or mask[:, [0, -1]].any()
    if not mask.any() or is_cut_off:
        return matrix
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    points = np.concatenate(outlines).astype(np.float64) + 0.5
    moved = cv2.perspectiveTransform(points, matrix)[:, 0]
    low, high = moved.min(0), moved.max(0)
    free = np.array([width, height]) - 4.0
    scale = float(min(1.0, (free / np.maximum(high - low, 1e-6)).min()))
    low, high = low * scale, high * scale
    step = np.maximum(2.0 - low, 0.0) - np.maximum(high - (free + 2.0), 0.0)
    fit = np.array([[scale, 0, step[0]], [0, scale, step[1]], [0, 0, 1]])
    return np.asarray(fit @ matrix, np.float64)


def _colour(colours: Pixels, ranges: AugmentRanges, rng: np.random.Generator) -> Pixels:
    """Change brightness, contrast, saturation and hue, in this order."""
    brightness, contrast = (
        1.0 + _draw(rng, limit) for limit in (ranges.brightness, ranges.contrast)
    )
    changed = cv2.LUT(colours, _tone_curve(colours, brightness, contrast))
    saturation = 1.0 + _draw(rng, ranges.saturation)
    if saturation != 1.0:
        # Each px is mixed with its grey.
        grey = (1 - saturation) * np.tile(_LUMA, (3, 1))
        changed = cv2.transform(changed, saturation * np.eye(3) + grey)
    return _turn_hue(np.asarray(changed, np.uint8), _draw(rng, ranges.hue))


def _tone_curve(colours: Pixels, brightness: float, contrast: float) -> Pixels:
    """Return the new value (uint8) of each of the 256 values.

    Brightness scales values; contrast scales their differences from the mean grey.
    """
    values = np.minimum(np.arange(256) * brightness, 255)
    counts = [cv2.calcHist([colours], [channel], None, [256], [0, 256]) for channel in range(3)]
    means = [values @ np.ravel(count) for count in counts]
    # Rounded, because the last digits of a sum depend on the processor.
    mean = round(float(_LUMA @ means) / colours[..., 0].size, 3)
    return round_to_uint8((values - mean) * contrast + mean)


def _turn_hue(colours: Pixels, turn: float) -> Pixels:
    """Turn the hue by a share of the circle, -0.5..0.5."""
    if turn == 0:
        return colours
    result = np.empty_like(colours)
    for first in range(0, len(colours), _ROWS):
        rows = slice(first, first + _ROWS)
        part = colours[rows].astype(np.float32)
        hsv = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2HSV), np.float32)
        # OpenCV takes degrees above 360, but none below 0.
        hsv[..., 0] += np.float32(360 * (turn % 1.0))
        result[rows] = round_to_uint8(np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32))
    return result


def _blur(pixels: Pixels, sigma: float) -> Pixels:
    """Blur by a Gaussian whose `sigma` is in px of an image of 320 px."""
    scaled = sigma * max(pixels.shape[:2]) / 320
    if scaled <= 0.1:
        return pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), scaled), np.uint8)


def _add_noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Add normally distributed noise, `sigma` in grey levels."""
    draws = np.frombuffer(rng.bytes(pixels.size), np.uint8).reshape(pixels.shape)
    values = _NORMAL * np.float32(sigma)
    result = np.empty_like(pixels)
    for first in range(0, len(pixels), _ROWS):
        rows = slice(first, first + _ROWS)
        result[rows] = cv2.add(pixels[rows], cv2.LUT(draws[rows], values), dtype=cv2.CV_8U)
    return result


def _draw(rng: np.random.Generator, limit: float) -> float:
    return float(rng.uniform(-limit, limit))

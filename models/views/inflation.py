"""Inflate an outline to a cushion: its height, and distances to its outline.

The alpha is inflated by a Poisson equation, whose root is a sphere for a disc. Prasad and
Fitzgibbon, "Single View Reconstruction of Curved Surfaces" (CVPR 2006), inflate similarly. It can
fail on objects whose depth their outline does not show: chairs, open boxes.
"""

import cv2
import numpy as np

from models.data.pixels import Alpha, Floats, Matrix

_INFLATION_SIDE = 128  # pixels; the height is smooth, so a small solution is enough
# Slopes at which the rim of a flat and of a ball-like relief closes. A vertical rim, as a sphere
# has, would smear when turned: one pixel of the photo would cover many of the view.
_RIM_SLOPES = (1.4, 2.8)


def inflate(alpha: Alpha, depth: float) -> Floats:
    """Return the height of the cushion in pixels (float32 HxW, 0 outside the object).

    `alpha` is float32 HxW in 0..1, `depth` 0..1: at 1 a disc of radius r is a lens 0.7 r high.
    """
    height, width = alpha.shape
    scale = min(1.0, _INFLATION_SIDE / max(height, width))
    potential = np.zeros((2, 2), np.float32)
    for level in (8, 4, 2, 1):
        step = scale / level
        size = (max(2, round(width * step)), max(2, round(height * step)))
        inside = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) > 0.5
        mask = np.pad(np.asarray(inside, np.float32), 1)
        potential = cv2.resize(potential, (size[0] + 2, size[1] + 2)) * mask
        kernel = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]])
        for _ in range(60):
            # Jacobi steps on laplace(u) = -4, coarse to fine; u is in photo pixels squared.
            potential = (cv2.filter2D(potential, -1, kernel) + 1 / step**2) * mask
    soft = float(np.sqrt(potential.max())) / rim_slope(depth)
    cushion = (np.sqrt(potential + soft**2) - soft) * depth
    return np.asarray(cv2.resize(cushion[1:-1, 1:-1], (width, height)), np.float32)


def natural_depth(alpha: Alpha) -> float:
    """Return a depth for `inflate` from the outline: 1 for discs, about a third for garments."""
    inside = (alpha > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(outlines, key=cv2.contourArea)
    area = cv2.contourArea(largest)
    # Smoothed in proportion to the shape: pixel stairs would add to the perimeter.
    smooth = cv2.approxPolyDP(largest, 0.006 * float(np.sqrt(area)) + 0.5, True)
    roundness = 4 * np.pi * area / max(cv2.arcLength(smooth, True), 1.0) ** 2
    return float(np.interp(roundness, [0.45, 0.85], [0.35, 1.0]))


def rim_slope(depth: float) -> float:
    """Return the slope, before scaling by `depth`, at which the rim of a cushion closes."""
    return _RIM_SLOPES[0] + (_RIM_SLOPES[1] - _RIM_SLOPES[0]) * depth


def signed_distance(alpha: Alpha) -> Floats:
    """Return the distance in pixels to the half-opaque contour, positive inside (float32 HxW)."""
    doubled = cv2.resize(alpha, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    inside = np.asarray(doubled >= 0.5, np.uint8)
    precise = cv2.DIST_MASK_PRECISE
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, precise) - cv2.distanceTransform(
        1 - inside, cv2.DIST_L2, precise
    )
    half = cv2.resize(distance, alpha.shape[::-1], interpolation=cv2.INTER_AREA) / 2
    return np.asarray(cv2.GaussianBlur(half, (0, 0), 0.6), np.float32)


def gradient(image: Floats) -> Floats:
    """Return the derivatives of `image` by x and y (float32 HxWx2), smoothed across."""
    derivatives = [cv2.Scharr(image, cv2.CV_32F, dx, 1 - dx) for dx in (1, 0)]
    return np.asarray(np.dstack(derivatives) / 32, np.float32)


def zero_crossings(field: Floats) -> Matrix:
    """Return where `field` changes sign between neighbouring pixels: x and y, float64 2xn."""
    crossings = []
    for axis in (0, 1):
        lines = np.moveaxis(field, axis, 0)
        before, after = lines[:-1], lines[1:]
        along, across = np.nonzero((before > 0) != (after > 0))
        left, right = before[along, across], after[along, across]
        position = along + left / (left - right)
        crossings.append(np.stack([across, position] if axis == 0 else [position, across]))
    return np.asarray(np.concatenate(crossings, 1), np.float64)

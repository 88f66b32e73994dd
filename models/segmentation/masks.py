"""Small operations on masks (bool HxW) and alpha (float32 HxW, 0..1)."""

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from models.data.pixels import Alpha, Bools, Floats, Pixels

Scalar = TypeVar("Scalar", bound=np.generic)

OUTSIDE, UNSURE, INSIDE = 0, 128, 255


def check_image(pixels: Pixels, alpha: Alpha | None = None) -> None:
    """Check that an image is RGB uint8 HxWx3, 2x2 or more, and that its alpha has its size.

    Raises:
        ValueError: one of them has the wrong shape or dtype.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be RGB uint8 HxWx3, not {pixels.dtype} {pixels.shape}")
    if min(pixels.shape[:2]) < 2:
        raise ValueError(f"pixels must be at least 2x2, not {pixels.shape[:2]}")
    if alpha is None:
        return
    if alpha.shape != pixels.shape[:2] or not np.issubdtype(alpha.dtype, np.floating):
        raise ValueError(
            f"alpha must be float HxW of the image's size {pixels.shape[:2]}, "
            f"not {alpha.dtype} {alpha.shape}"
        )


def estimate_foreground(pixels: Pixels, alpha: Alpha, *, radius: int = 6) -> Pixels:
    """Return RGB uint8 HxWx3 in which the object's colours extend into its soft edge and beyond.

    This removes the background's colour from edge pixels, so that the object can be pasted on
    another background without a fringe. One pass of blur fusion (Forte, "Approximate Fast
    Foreground Colour Estimation", ICIP 2021). Opaque pixels keep their value; ``radius`` is in
    pixels.
    """
    check_image(pixels, alpha)
    window = (2 * radius + 1, 2 * radius + 1)
    image = pixels.astype(np.float32)
    core = np.clip((alpha - 0.9) / 0.1, 0, 1)[..., None]
    weight = np.asarray(cv2.blur(core, window))[..., None]
    inner = cv2.blur(image * core, window) / (weight + 1e-4)
    opacity = np.clip(alpha, 0, 1)[..., None]
    nearby = np.where(weight > 1e-3, inner, image)
    mixed = core * image + (1 - core) * nearby
    return np.asarray(np.clip(np.where(opacity >= 0.999, image, mixed) + 0.5, 0, 255), np.uint8)


def border_pixels(image: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return the pixels on the image border, each once: [N] or [N, channels]."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def mask_iou(first: Alpha, second: Alpha) -> float:
    """Return the IoU of two alphas of one size, cut at 0.5; 0 if both are empty."""
    first_mask, second_mask = first > 0.5, second > 0.5
    union = (first_mask | second_mask).sum()
    return float((first_mask & second_mask).sum() / max(1, union))


def trimap_around(mask: Bools, band: float) -> Pixels:
    """Return uint8 HxW: 255 surely object, 0 surely not, 128 within the band around the outline.

    ``band`` is the width on each side, as a share of the root of the object's area; it is at least
    2 pixels. Parts thinner than the band keep a sure core, so that straps and stems survive.
    """
    width = max(2.0, band * float(np.sqrt(mask.sum())))
    inner, outer = distance_inside(mask), distance_inside(~mask)
    trimap = np.full(mask.shape, UNSURE, np.uint8)
    trimap[outer > width] = OUTSIDE
    trimap[inner > min(width, 0.5 * float(inner.max()))] = INSIDE
    return trimap


def distance_inside(mask: Bools) -> Floats:
    """Return each pixel's distance in pixels to the outside of the mask; 0 outside."""
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3), np.float32)

"""Background images cut from photos."""

import cv2
import numpy as np

from models.compositing.backgrounds.scene import Background, Size
from models.data.pixels import Pixels, resize


def background_from_photo(pixels: Pixels, size: Size, rng: np.random.Generator) -> Background:
    """Cut a background from a photo (uint8 HxWx3 RGB).

    The crop has the shape of `size` (width, height) and is the largest one or up to a third
    smaller. It is mirrored at random, and blurred a little with probability 0.35. The horizon is
    where the rows of the crop divide best into two colours (Otsu's criterion over row means). A
    crop that does not divide counts as a surface seen from above. The light comes from the brighter
    side.

    Raises:
        ValueError: the photo is no RGB image of 16 x 16 px or more.
    """
    width, height = size
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < 16:
        raise ValueError(
            f"a background of shape {pixels.shape} can't be used; give an RGB photo of 16 x 16 px "
            "or more"
        )
    photo_h, photo_w = pixels.shape[:2]
    share = rng.uniform(0.67, 1.0) * min(photo_w / width, photo_h / height)
    crop_w, crop_h = max(8, round(width * share)), max(8, round(height * share))
    left = int(rng.integers(photo_w - crop_w + 1))
    # The lower part of a photo is where its ground is.
    upper = round(float(rng.beta(2.0, 1.2)) * (photo_h - crop_h))
    crop = pixels[upper : upper + crop_h, left : left + crop_w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    resized = resize(np.ascontiguousarray(crop), width, height, scale=width / crop_w)
    blur = rng.uniform(0.0, 0.004) * width
    if rng.random() < 0.35 and blur > 0.5:
        resized = np.asarray(cv2.GaussianBlur(resized, (0, 0), blur), np.uint8)
    return Background(resized, _find_horizon(resized), _find_light(resized))


def _find_horizon(pixels: Pixels) -> float:
    """The share of the height where rows divide best into two colours; 0.0 if they don't."""
    small = cv2.resize(pixels, (24, 96), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float64)
    rows = lab.mean(1)
    total = lab.reshape(-1, 3).var(0).sum() + 1e-9
    counts = np.arange(1, 96)[:, None]
    above = np.cumsum(rows, 0)[:-1] / counts
    below = (rows.sum(0) - np.cumsum(rows, 0)[:-1]) / (96 - counts)
    share = counts[:, 0] / 96
    between = share * (1 - share) * ((above - below) ** 2).sum(1) / total
    # A horizon at the very top is unlikely, and below two thirds no object could stand in front.
    within = slice(18, 64)
    best = int(np.argmax(between[within])) + 18
    if between[best] < 0.12 or total < 40:
        return 0.0
    return (best + 1) / 96


def _find_light(pixels: Pixels) -> tuple[float, float]:
    """The light direction (x, up) of a photo, estimated from the slope of its brightness."""
    grey = cv2.cvtColor(
        cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    values = grey.astype(np.float64) / 255
    xs = np.linspace(-1, 1, 32)
    slope = float((values.mean(0) * xs).sum() / (xs**2).sum())
    return float(np.clip(slope * 6, -0.9, 0.9)), 0.75

"""Augment single views with torchvision's transforms and the caller's random generator.

torchvision's random transforms use torch's global generator, which threads share. Here every number
comes from the caller's generator and is passed to torchvision's functions, so an image depends only
on its seed.
"""

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from models.augmentation.settings import AugmentRanges
from models.data.pixels import Matrix, Pixels

GREY = 127


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
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    moved = _move(tensor, ranges, rng)
    coloured = _colour(moved[:3], ranges, rng).permute(1, 2, 0).numpy()
    pixels = _blur(coloured, float(rng.uniform(0, ranges.blur))).astype(np.float32)
    sigma = np.float32(rng.uniform(0, ranges.noise))
    grain = rng.standard_normal(pixels.shape, dtype=np.float32) * sigma
    result = np.rint(np.clip(pixels + grain, 0, 255)).astype(np.uint8)
    if image.shape[2] == 4:
        result = np.dstack([result, moved[3].numpy()])
    return np.ascontiguousarray(result)


def _move(tensor: Tensor, ranges: AugmentRanges, rng: np.random.Generator) -> Tensor:
    """Apply flip, rotation, scale, shear and perspective in one resampling."""
    height, width = tensor.shape[-2:]
    fill = [float(GREY)] * 3 + [0.0] * (tensor.shape[0] - 3)
    if rng.uniform() < ranges.flip:
        tensor = transforms.horizontal_flip(tensor)
    matrix = _draw_motion((width, height), ranges, rng)
    if tensor.shape[0] == 4:
        matrix = _keep_inside(tensor[3].numpy(), matrix)
    if np.allclose(matrix, np.eye(3), atol=1e-9):
        return tensor
    back = np.linalg.inv(matrix)
    moved: Tensor = transforms.perspective(
        tensor,
        startpoints=None,
        endpoints=None,
        interpolation=InterpolationMode.BILINEAR,
        fill=fill,
        coefficients=(back / back[2, 2]).ravel()[:8].tolist(),
    )
    return moved


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


def _colour(colours: Tensor, ranges: AugmentRanges, rng: np.random.Generator) -> Tensor:
    changed: Tensor = transforms.adjust_brightness(colours, 1.0 + _draw(rng, ranges.brightness))
    changed = _adjust_contrast(changed, 1.0 + _draw(rng, ranges.contrast))
    changed = transforms.adjust_saturation(changed, 1.0 + _draw(rng, ranges.saturation))
    hue = _draw(rng, ranges.hue)
    if hue:
        changed = transforms.adjust_hue(changed, hue)
    return changed


def _blur(pixels: Pixels, sigma: float) -> Pixels:
    """Blur by a Gaussian whose `sigma` is in px of an image of 320 px.

    OpenCV blurs rows and columns separately; torchvision's single pass would take 90 of the 200 ms
    of a 768x1024 copy.
    """
    scaled = sigma * max(pixels.shape[:2]) / 320
    if scaled <= 0.1:
        return pixels
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), scaled), np.uint8)


def _adjust_contrast(colours: Tensor, factor: float) -> Tensor:
    """Scale differences from the mean grey, as torchvision does, but sum the mean in integers.

    A float sum depends on the number of threads.
    """
    grey = transforms.rgb_to_grayscale(colours)
    mean = int(grey.sum(dtype=torch.int64)) / grey.numel()
    table = (torch.arange(256, dtype=torch.float64) - mean) * factor + mean
    spread: Tensor = table.round().clamp(0, 255).to(torch.uint8)
    return spread[colours.long()]


def _draw(rng: np.random.Generator, limit: float) -> float:
    return float(rng.uniform(-limit, limit))

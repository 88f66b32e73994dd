"""Augmentation of single views with torchvision transforms, drawn from a generator of our own.

torchvision's random transforms draw from torch's global generator, which threads share: here every
number is drawn from the caller's generator and given to torchvision's functions, so an image
depends on its seed alone.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from models.pixels import Pixels
from models.records import Record

GREY = 127


class AugmentRanges(Record):
    """How far a copy may differ from its view; 0 switches a change off."""

    flip: float = Field(0.5, ge=0, le=1, description="Chance of a mirror image.")
    rotate: float = Field(12.0, ge=0, le=180, description="Rotation at most, degrees either way.")
    scale: float = Field(0.1, ge=0, le=0.5, description="Scaling at most, share either way.")
    shear: float = Field(6.0, ge=0, le=45, description="Horizontal shear at most, degrees.")
    perspective: float = Field(
        0.06, ge=0, le=0.3, description="Corners move at most, share of side."
    )
    brightness: float = Field(0.2, ge=0, le=0.9, description="Brightness, share either way.")
    contrast: float = Field(0.2, ge=0, le=0.9, description="Contrast, share either way.")
    saturation: float = Field(0.2, ge=0, le=0.9, description="Saturation, share either way.")
    hue: float = Field(0.02, ge=0, le=0.5, description="Hue shift at most, turns of the circle.")
    blur: float = Field(0.8, ge=0, le=5, description="Gaussian blur, sigma at most, px at 320 px.")
    noise: float = Field(
        2.0, ge=0, le=30, description="Gaussian noise, sigma at most, grey levels."
    )


def augment_image(image: Pixels, ranges: AugmentRanges, rng: np.random.Generator) -> Pixels:
    """A changed copy of the same size.

    Args:
        image: uint8 HxWx3 RGB or HxWx4 RGB + matte. Geometry moves colours and matte together; what
            comes into view is grey 127 with an empty matte. Colour changes leave the matte alone.
        ranges: how far the copy may differ.
        rng: drawn from in a fixed order, whatever is switched off.
    """
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    moved = _move(tensor, ranges, rng)
    coloured = _colour(moved[:3], ranges, rng, side=max(image.shape[:2]))
    pixels = coloured.permute(1, 2, 0).numpy().astype(np.float32)
    grain = rng.normal(0.0, rng.uniform(0, ranges.noise) + 1e-9, pixels.shape)
    result = np.rint(np.clip(pixels + grain, 0, 255)).astype(np.uint8)
    if image.shape[2] == 4:
        result = np.dstack([result, moved[3].numpy()])
    return np.ascontiguousarray(result)


def _move(tensor: Tensor, ranges: AugmentRanges, rng: np.random.Generator) -> Tensor:
    height, width = tensor.shape[-2:]
    fill = [float(GREY)] * 3 + [0.0] * (tensor.shape[0] - 3)
    if rng.uniform() < ranges.flip:
        tensor = transforms.horizontal_flip(tensor)
    angle, shear = _around(rng, ranges.rotate), _around(rng, ranges.shear)
    # Larger objects would leave the canvas: growing is halved against shrinking.
    scale = 1.0 + float(rng.uniform(-ranges.scale, 0.5 * ranges.scale))
    tensor = transforms.affine(
        tensor,
        angle=angle,
        translate=[0, 0],
        scale=scale,
        shear=[shear, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=fill,
    )
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    reach = np.array([width, height]) * ranges.perspective
    pulled = np.array(corners) + rng.uniform(-reach, reach, (4, 2))
    if ranges.perspective == 0:
        return tensor
    return transforms.perspective(
        tensor,
        startpoints=corners,
        endpoints=pulled.round().astype(int).tolist(),
        interpolation=InterpolationMode.BILINEAR,
        fill=fill,
    )


def _colour(colours: Tensor, ranges: AugmentRanges, rng: np.random.Generator, side: int) -> Tensor:
    changed = transforms.adjust_brightness(colours, 1.0 + _around(rng, ranges.brightness))
    changed = transforms.adjust_contrast(changed, 1.0 + _around(rng, ranges.contrast))
    changed = transforms.adjust_saturation(changed, 1.0 + _around(rng, ranges.saturation))
    hue = _around(rng, ranges.hue)
    if hue:
        changed = transforms.adjust_hue(changed, hue)
    sigma = float(rng.uniform(0, ranges.blur)) * side / 320
    if sigma > 0.1:
        kernel = 2 * int(np.ceil(2 * sigma)) + 1
        changed = transforms.gaussian_blur(changed, [kernel, kernel], [sigma, sigma])
    return changed


def _around(rng: np.random.Generator, reach: float) -> float:
    return float(rng.uniform(-reach, reach))

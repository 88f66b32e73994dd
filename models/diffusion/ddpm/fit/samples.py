"""Images that a training draws to show how far it is."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from models.data.pixels import Pixels
from models.diffusion.ddpm.adapters.network import AdaptedUnet
from models.diffusion.ddpm.fit.crops import Crops
from models.diffusion.ddpm.generator import Ddpm, DrawRequest
from models.runtime.batching import InvalidOutput, device_of
from models.runtime.hardware import Machine

# Images that are drawn at a time.
BATCH = 16


def draw_samples(network: AdaptedUnet, crops: Crops, count: int, spacing: str) -> list[Pixels]:
    """Images of a network with the seeds 0, 1, ..., uint8 SxSx3.

    They follow the pictures of evenly spread crops if the network follows any.

    Args:
        network: in evaluation mode on return.
        crops: of the training.
        count: number of images.
        spacing: steps of DDIM, see `models.diffusion.ddpm.schedule.kept_steps`.

    Raises:
        ValueError: the network gives no finite numbers.
    """
    requests = []
    for seed in range(count):
        picture = None
        if crops.picture_channels is not None:
            index = seed * len(crops.images) // count
            picture = crops.picture(index, np.random.default_rng(seed))
        requests.append(DrawRequest(seed=seed, spacing=spacing, method="ddim", picture=picture))
    machine = Machine(device_of(network), torch.float32, batch=BATCH)
    drawn = []
    for image in Ddpm(network, None, machine).compute(requests):
        if isinstance(image, InvalidOutput):
            raise ValueError(f"samples: {image.reason}; lower learning_rate")
        drawn.append(image)
    return drawn


def sample_sheet(images: Sequence[Pixels]) -> Pixels:
    """Images of one size side by side, about as many rows as columns, uint8 HxWx3 on white."""
    columns = math.ceil(math.sqrt(len(images)))
    height, width = images[0].shape[:2]
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = image
    return sheet

"""Fill a part of an image after a prompt: what networks of all sizes share.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022,
section 4.5: the U-Net gets the mask and the latents of the known part in five more channels.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.pixels import Bools, Pixels
from models.diffusion.generator import GenerationRequest
from models.diffusion.grid import check_size
from models.runtime.batching import generator
from models.runtime.loading import WrongCheckpointError

# The latents, the mask, and the latents of the known part.
INPAINTING_CHANNELS = 9


@dataclass(frozen=True, eq=False, kw_only=True)
class InpaintRequest(GenerationRequest):
    """A part of an image to fill. The network changes the other px a little.

    Args:
        prompt, negative: as the network's requests for text to image need them.
        image: uint8 HxWx3, sides multiples of 64 px.
        mask: bool HxW, true where the image is filled.
        strength: how far from what the image shows there, above 0 up to 1; at 1 nothing of it is
            left.

    Raises:
        ValueError: a side is no multiple of 64, or no step remains to run.
    """

    image: Pixels
    mask: Bools
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_size(self.image.shape[1], self.image.shape[0])
        if int(self.steps * self.strength) < 1:
            raise ValueError(
                f"strength {self.strength} of {self.steps} steps leaves none: raise one of them"
            )

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.image.shape[:2], self.strength


def inpaint_arguments(batch: Sequence[InpaintRequest]) -> dict[str, Any]:
    """The arguments of an inpainting pipeline that say what is filled, and the noise of each."""
    height, width = batch[0].image.shape[:2]
    return {
        "image": _stack([request.image for request in batch]),
        "mask_image": _stack([request.mask[..., None] for request in batch]),
        "height": height,
        "width": width,
        "strength": batch[0].strength,
        "generator": [generator(request.seed) for request in batch],
    }


def require_inpainting(unet: Any, folder: Path, example: str) -> None:
    """Return if a U-Net fills parts of images.

    Raises:
        WrongCheckpointError: it does something else; names an example that does.
    """
    channels = unet.config.in_channels
    if channels != INPAINTING_CHANNELS:
        raise WrongCheckpointError(
            f"{folder}/unet: {channels} input channels where inpainting has {INPAINTING_CHANNELS}; "
            f"give an inpainting checkpoint, such as {example}"
        )


def _stack(images: Sequence[Pixels | Bools]) -> Tensor:
    """Float32 [B, C, H, W] in 0..1 of arrays HxWxC."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return stacked / 255 if images[0].dtype == np.uint8 else stacked

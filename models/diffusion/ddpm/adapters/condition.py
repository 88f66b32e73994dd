"""An encoder that lets a U-Net follow a picture, such as edges or a segmentation map.

Its result is added to the U-Net's first feature map. The shapes of its layers are this project's.
"""

from torch import Tensor, nn

from models.diffusion.ddpm.blocks import zeroed
from models.diffusion.ddpm.unet import Unet

# Channels between the picture and the first feature map.
HIDDEN = 32


class ConditionEncoder(nn.Module):
    """Three convolutions at full size; the result is 0 before the training."""

    def __init__(self, unet: Unet, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, HIDDEN, kernel_size=3, padding=1),
            nn.SiLU(),
            nn.Conv2d(HIDDEN, HIDDEN, kernel_size=3, padding=1),
            nn.SiLU(),
            zeroed(nn.Conv2d(HIDDEN, unet.config.widths[0], kernel_size=3, padding=1)),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, channels, H, W] of pictures [B, inputs, H, W] in -1..1."""
        features: Tensor = self.layers(pictures)
        return features

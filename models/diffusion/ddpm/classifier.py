"""A classifier of noisy images: the encoder of the U-Net with attention pooling.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021,
section 4.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from models.diffusion.ddpm.blocks import Norm, attend
from models.diffusion.ddpm.config import UnetConfig
from models.diffusion.ddpm.unet import Encoder


class ClassifierConfig(UnetConfig):
    """The shape of a classifier; ``classes`` are those that it tells apart."""

    classes: int = Field(ge=2, description="Classes that it tells apart.")


class NoisyClassifier(Encoder):
    """Logits of noisy images; images must have the size of the config."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        width = config.widths[-1]
        side = config.image_size // 2 ** (len(config.widths) - 1)
        heads = width // config.head_channels if config.head_channels else config.heads
        pool = AttentionPool(width, side * side, heads, config.classes)
        self.out = nn.Sequential(Norm(width), nn.SiLU(), pool)

    def forward(self, images: Tensor, times: Tensor) -> Tensor:
        """Float32 logits [B, classes] of images [B, 3, S, S] at step numbers [B]."""
        features, _ = self.encode(images, self.embed(times))
        logits: Tensor = self.out(features)
        return logits.float()


class AttentionPool(nn.Module):
    """Attention over all places and their mean; the result at the mean is projected."""

    def __init__(self, width: int, places: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(width, places + 1) / width**0.5)
        self.qkv_proj = nn.Conv1d(width, 3 * width, kernel_size=1)
        self.c_proj = nn.Conv1d(width, outputs, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, outputs] of features [B, width, H, W]."""
        flat = features.flatten(2)
        tokens = torch.cat([flat.mean(dim=-1, keepdim=True), flat], dim=-1)
        qkv = self.qkv_proj(tokens + self.positional_embedding)
        pooled: Tensor = self.c_proj(attend(qkv, self.heads, qkv_first=True))
        return pooled[..., 0]

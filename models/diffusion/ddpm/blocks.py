"""The blocks of an ADM U-Net, with the names of their weights in published checkpoints.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.diffusion.ddpm.config import GROUPS, UnetConfig

# Changes the result of an attention layer; its arguments are features [B, C, N] and the time
# embedding [B, E].
AfterAttention = Callable[[Tensor, Tensor], Tensor]


class Norm(nn.GroupNorm):
    """GroupNorm over 32 groups, computed in float32 whatever the precision of the network."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Normalised features, in the dtype of ``features``."""
        weight, bias = self.weight.float(), self.bias.float()
        normal = functional.group_norm(features.float(), GROUPS, weight, bias, self.eps)
        return normal.to(features.dtype)


class AdmResidualBlock(nn.Module):
    """Two convolutions that read the time embedding; ``change`` is "up", "down" or "keep" size."""

    def __init__(
        self, config: UnetConfig, inputs: int, outputs: int, *, change: str = "keep"
    ) -> None:
        super().__init__()
        self.change, self.scale_shift = change, config.scale_shift_norm
        self.in_layers = nn.Sequential(Norm(inputs), nn.SiLU(), _convolution(inputs, outputs))
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(config.embedding, outputs * (2 if self.scale_shift else 1))
        )
        self.out_layers = nn.Sequential(
            Norm(outputs),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            zeroed(_convolution(outputs, outputs)),
        )
        self.skip_connection = (
            nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, kernel_size=1)
        )

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Features [B, outputs, H', W'] of features [B, inputs, H, W] and embedding [B, E]."""
        norm, activation, convolution = self.in_layers
        hidden = convolution(self._resize(activation(norm(features))))
        time = self.emb_layers(embedding)[..., None, None]
        norm, *rest = self.out_layers
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            hidden = norm(hidden) * (1 + scale) + shift
        else:
            hidden = norm(hidden + time)
        for layer in rest:
            hidden = layer(hidden)
        result: Tensor = self.skip_connection(self._resize(features)) + hidden
        return result

    def _resize(self, features: Tensor) -> Tensor:
        if self.change == "up":
            return functional.interpolate(features, scale_factor=2, mode="nearest")
        return functional.avg_pool2d(features, 2) if self.change == "down" else features


class AdmAttentionBlock(nn.Module):
    """Self-attention over all places of a feature map.

    ``after_attention`` is None, or changes the result of the attention before ``proj_out`` reads
    it; it is no part of the block's weights.
    """

    def __init__(self, config: UnetConfig, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.heads = channels // config.head_channels if config.head_channels else config.heads
        self.qkv_first = config.qkv_first
        self.norm = Norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, kernel_size=1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, kernel_size=1))
        self.after_attention: AfterAttention | None = None

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Features [B, C, H, W] of features [B, C, H, W]."""
        flat = features.flatten(2)
        attended = attend(self.qkv(self.norm(flat)), self.heads, qkv_first=self.qkv_first)
        if self.after_attention is not None:
            attended = self.after_attention(attended, embedding)
        result: Tensor = flat + self.proj_out(attended)
        return result.reshape(features.shape)


class Downsample(nn.Module):
    """A convolution that halves the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, C, H / 2, W / 2]."""
        smaller: Tensor = self.op(features)
        return smaller


class Upsample(nn.Module):
    """Doubles the size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _convolution(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, C, 2 H, 2 W]."""
        larger: Tensor = self.conv(functional.interpolate(features, scale_factor=2, mode="nearest"))
        return larger


class Step(nn.Sequential):
    """The blocks between two skip connections; those that read the time embedding get it."""

    def forward(  # type: ignore[override]  # a step reads the time, too
        self, features: Tensor, embedding: Tensor
    ) -> Tensor:
        """The features after all blocks."""
        for block in self:
            if isinstance(block, AdmResidualBlock | AdmAttentionBlock):
                features = block(features, embedding)
            else:
                features = block(features)
        return features


def attend(qkv: Tensor, heads: int, *, qkv_first: bool) -> Tensor:
    """Scaled dot-product attention: [B, C, N] of [B, 3 C, N].

    Args:
        qkv: queries, keys and values.
        heads: number of heads.
        qkv_first: the channels are split into queries, keys and values, and these into heads; else
            the other way round.
    """
    batch, channels, places = qkv.shape
    width = channels // 3 // heads
    if qkv_first:
        parts = qkv.reshape(batch, 3, heads, width, places).unbind(1)
    else:
        parts = qkv.reshape(batch, heads, 3, width, places).unbind(2)
    query, key, value = (part.transpose(-1, -2) for part in parts)
    result = functional.scaled_dot_product_attention(query, key, value)
    return result.transpose(-1, -2).reshape(batch, channels // 3, places)


def embed_times(times: Tensor, length: int) -> Tensor:
    """Sinusoidal embedding of times: float32 [B, length], cosines first.

    Args:
        times: step numbers of the training, [B]; fractions are allowed.
        length: numbers per time; the last one is 0 if it is odd.
    """
    half = length // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = times.float()[:, None] * torch.exp(-math.log(10000) * steps / half)
    waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return functional.pad(waves, (0, length % 2))


def zeroed(module: nn.Module) -> nn.Module:
    """The module with all weights 0, so that its block starts as the identity."""
    for weight in module.parameters():
        nn.init.zeros_(weight)
    return module


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)

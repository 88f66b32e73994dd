"""Time-aware adapters of attention blocks: small layers that are trained in place of a U-Net.

Source: Moon et al., "Fine-tuning Diffusion Models with Limited Data", NeurIPS workshop 2022: an
adapter between the attention's result and the layer after it, which joins features and time (time
fusion), and whose strength depends on the time (time scaling). The shapes of its layers are not
published; those below are this project's.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from models.diffusion.ddpm.blocks import AdmAttentionBlock, zeroed
from models.diffusion.ddpm.unet import Unet

BOTTLENECK = 128


class TimeFusion(nn.Module):
    """A bottleneck over features and time; its result is 0 before the training."""

    def __init__(self, width: int, embedding: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.of_features = nn.Linear(width, bottleneck)
        self.of_time = nn.Linear(embedding, bottleneck)
        self.activation = nn.SiLU()
        self.expand = zeroed(nn.Linear(bottleneck, width))

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """[B, N, C] of features [B, N, C] and the time embedding [B, E]."""
        time = self.of_time(self.activation(embedding))[:, None]
        joined = self.of_features(self.norm(features)) + time
        result: Tensor = self.expand(self.activation(joined))
        return result


class TimeScaling(nn.Module):
    """The strength of adapters by channel, which depends on the time; 1 before the training."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.activation = nn.SiLU()
        self.strength = nn.Linear(embedding, width)
        nn.init.zeros_(self.strength.weight)
        nn.init.ones_(self.strength.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        """[B, 1, C] of the time embedding [B, E]."""
        strength: Tensor = self.strength(self.activation(embedding))
        return strength[:, None]


class TimeAwareAdapters(nn.Module):
    """An adapter for each attention block of a U-Net; blocks of one width share their scaling.

    The weights are no part of the U-Net. `attach` lets it use them.
    """

    def __init__(self, unet: Unet, bottleneck: int = BOTTLENECK) -> None:
        super().__init__()
        blocks, length = dict(attention_blocks(unet)), unet.config.embedding
        widths = {name: block.channels for name, block in blocks.items()}
        self.fusions = nn.ModuleDict(
            {name: TimeFusion(width, length, bottleneck) for name, width in widths.items()}
        )
        self.scalings = nn.ModuleDict(
            {str(width): TimeScaling(width, length) for width in sorted(set(widths.values()))}
        )

    def attach(self, unet: Unet) -> None:
        """Let the attention blocks of a U-Net of the same shape use the adapters."""
        for name, block in attention_blocks(unet):
            fusion = self.fusions[name]
            scaling = self.scalings[str(block.channels)]
            block.after_attention = partial(_adapt, fusion, scaling)


def detach(unet: Unet) -> None:
    """Let the attention blocks of a U-Net compute as they did before `attach`."""
    for _, block in attention_blocks(unet):
        block.after_attention = None


def attention_blocks(unet: Unet) -> Iterator[tuple[str, AdmAttentionBlock]]:
    """The attention blocks of a U-Net; a name has an underscore where its path has a dot."""
    for name, module in unet.named_modules():
        if isinstance(module, AdmAttentionBlock):
            yield name.replace(".", "_"), module


def _adapt(fusion: nn.Module, scaling: nn.Module, attended: Tensor, embedding: Tensor) -> Tensor:
    """The result of an attention [B, C, N] with the adapter's share added."""
    tokens = attended.transpose(1, 2)
    adapted: Tensor = tokens + scaling(embedding) * fusion(tokens, embedding)
    return torch.transpose(adapted, 1, 2)

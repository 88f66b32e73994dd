"""The ADM U-Net and its encoder, with the weight names of published checkpoints.

Sources: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021;
Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022, for
networks that predict the velocity.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.diffusion.ddpm.blocks import (
    AdmAttentionBlock,
    AdmResidualBlock,
    Downsample,
    Norm,
    Step,
    Upsample,
    embed_times,
    zeroed,
)
from models.diffusion.ddpm.config import UnetConfig
from models.diffusion.ddpm.schedule import at, noise_schedule
from models.runtime.batching import dtype_of


class Encoder(nn.Module):
    """The downward path and the middle; base of `Unet` and of the noisy-image classifier.

    ``recompute``: training keeps the features between steps only, and computes the others again in
    the backward pass; it takes a third longer and a fraction of the memory.
    """

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        self.config, self.recompute = config, False
        self.time_embed = nn.Sequential(
            nn.Linear(config.channels, config.embedding),
            nn.SiLU(),
            nn.Linear(config.embedding, config.embedding),
        )
        self.input_blocks, self.skip_widths = _downward(config)
        width = config.widths[-1]
        self.middle_block = Step(
            AdmResidualBlock(config, width, width),
            AdmAttentionBlock(config, width),
            AdmResidualBlock(config, width, width),
        )

    def embed(self, times: Tensor) -> Tensor:
        """The embedding of step numbers [B]: [B, E] in the dtype of the network."""
        waves = embed_times(times, self.config.channels)
        embedding: Tensor = self.time_embed(waves.to(dtype_of(self.time_embed)))
        return embedding

    def encode(
        self, images: Tensor, embedding: Tensor, added: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The features in the middle, and those of every step of the downward path.

        Args:
            images: [B, 3, H, W].
            embedding: of `embed`.
            added: added to the first feature map, [B, channels, H, W]; None: nothing.
        """
        features = images.to(embedding.dtype)
        skipped: list[Tensor] = []
        for step in self.input_blocks:
            features = self.run(step, features, embedding)
            if added is not None and not skipped:
                features = features + added
            skipped.append(features)
        return self.run(self.middle_block, features, embedding), skipped

    def run(self, step: nn.Module, features: Tensor, embedding: Tensor) -> Tensor:
        """The features after a step."""
        if self.recompute and torch.is_grad_enabled():
            # The other form of it fails where some weights are frozen.
            again: Tensor = checkpoint(step, features, embedding, use_reentrant=False)
            return again
        result: Tensor = step(features, embedding)
        return result


class Unet(Encoder):
    """Predicts the noise in images, and if the variance is learned, how to mix its bounds."""

    def __init__(self, config: UnetConfig) -> None:
        super().__init__(config)
        self.kept = noise_schedule(config.curve, config.steps).kept
        if config.classes is not None:
            self.label_emb = nn.Embedding(config.classes, config.embedding)
        self.output_blocks = _upward(config, self.skip_widths)
        width = config.widths[0]
        outputs = 6 if config.learned_variance else 3
        self.out = nn.Sequential(
            Norm(width), nn.SiLU(), zeroed(nn.Conv2d(width, outputs, kernel_size=3, padding=1))
        )

    def forward(
        self,
        images: Tensor,
        times: Tensor,
        classes: Tensor | None = None,
        added: Tensor | None = None,
    ) -> Tensor:
        """Float32 [B, 3 or 6, H, W].

        Args:
            images: noisy images, about -1..1, [B, 3, H, W]; sides are multiples of the smallest
                level's factor.
            times: step numbers of the training, [B].
            classes: indices [B] of a network with classes; else None.
            added: see `Encoder.encode`.
        """
        embedding = self.embed(times)
        if classes is not None:
            embedding = embedding + self.label_emb(classes)
        features, skipped = self.encode(images, embedding, added)
        for step in self.output_blocks:
            joined = torch.cat([features, skipped.pop()], dim=1)
            features = self.run(step, joined, embedding)
        result: Tensor = self.out(features).float()
        if self.config.prediction == "noise":
            return result
        kept = at(self.kept, times.long()).float()
        noise = kept.sqrt() * result[:, :3] + (1 - kept).sqrt() * images.float()
        return torch.cat([noise, result[:, 3:]], dim=1)


def _downward(config: UnetConfig) -> tuple[nn.ModuleList, list[int]]:
    """The steps of the downward path, and the width after each."""
    width, factor, last = config.widths[0], 1, len(config.widths) - 1
    steps = [Step(nn.Conv2d(3, width, kernel_size=3, padding=1))]
    skips = [width]
    for level, outputs in enumerate(config.widths):
        for _ in range(config.residual_blocks):
            steps.append(_level(config, width, outputs, factor))
            skips.append(width := outputs)
        if level < last:
            steps.append(Step(_resampling(config, width, "down", Downsample)))
            skips.append(width)
            factor *= 2
    return nn.ModuleList(steps), skips


def _upward(config: UnetConfig, skips: list[int]) -> nn.ModuleList:
    """The steps of the upward path; each reads a skip connection, the last one first."""
    unused, width = list(skips), config.widths[-1]
    factor = 2 ** (len(config.widths) - 1)
    steps = []
    for level, outputs in reversed(list(enumerate(config.widths))):
        for _ in range(config.residual_blocks + 1):
            steps.append(_level(config, width + unused.pop(), outputs, factor))
            width = outputs
        if level > 0:
            steps[-1].append(_resampling(config, width, "up", Upsample))
            factor //= 2
    return nn.ModuleList(steps)


def _level(config: UnetConfig, inputs: int, outputs: int, factor: int) -> Step:
    """A residual block, and attention if the level has it."""
    step = Step(AdmResidualBlock(config, inputs, outputs))
    if factor in config.attention_factors:
        step.append(AdmAttentionBlock(config, outputs))
    return step


def _resampling(
    config: UnetConfig, width: int, change: str, convolution: Callable[[int], nn.Module]
) -> nn.Module:
    if config.resample_in_blocks:
        return AdmResidualBlock(config, width, width, change=change)
    return convolution(width)

"""Stable Diffusion 1.5 or SDXL as a loss: how well it predicts the noise in a photo.

Source: Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, the simple loss; Podell
et al., "SDXL", ICLR 2024, for the sizes that SDXL also reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional

from models.data.pixels import Pixels
from models.runtime.batching import device_of
from models.runtime.hardware import Machine
from models.runtime.loading import load_strictly, read_json


@dataclass(frozen=True)
class PhotoLatents:
    """Mean and deviation of the scaled latents of photos, [N, 4, H / 8, W / 8] on the device."""

    mean: Tensor
    deviation: Tensor

    def sample(self, photo: int, random: torch.Generator) -> Tensor:
        """Latents of a photo, [1, 4, H / 8, W / 8]."""
        noise = torch.randn(self.mean[:1].shape, generator=random).to(self.mean)
        return self.mean[photo : photo + 1] + noise * self.deviation[photo : photo + 1]


@dataclass
class Denoiser:
    """Networks of a checkpoint in float32, separate from those that draw; all weights are frozen.

    ``text_encoders`` and ``tokenizers`` are one of Stable Diffusion 1.5 or two of SDXL. ``noise``
    is diffusers' DDPM scheduler over the checkpoint's noise schedule.
    """

    tokenizers: tuple[Any, ...]
    text_encoders: tuple[Any, ...]
    unet: Any
    vae: Any
    noise: Any

    @property
    def is_sdxl(self) -> bool:
        """Whether the networks are those of SDXL."""
        return len(self.text_encoders) > 1

    @torch.no_grad()
    def encode(self, photos: Sequence[Pixels], size: int, *, flipped: bool = False) -> PhotoLatents:
        """Latents of the photos' centre squares, and of their mirror images if ``flipped``.

        Args:
            photos: uint8 RGB, height x width x 3.
            size: side of the squares, px; a multiple of 64.
            flipped: add the mirror image of each.
        """
        squares = [_square(photo, size) for photo in photos]
        if flipped:
            squares += [square.flip(-1) for square in squares]
        scale = self.vae.config.scaling_factor
        coded = [
            self.vae.encode(square[None].to(device_of(self.vae))).latent_dist for square in squares
        ]
        mean = torch.cat([each.mean for each in coded]) * scale
        return PhotoLatents(mean, torch.cat([each.std for each in coded]) * scale)

    def embed(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """What the U-Net reads of prompts: [B, 77, D], and SDXL's pooled [B, P], else None."""
        parts, pooled = [], None
        for tokenizer, encoder in zip(self.tokenizers, self.text_encoders, strict=True):
            ids = tokenizer(
                list(prompts),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids.to(device_of(encoder))
            result = encoder(ids, output_hidden_states=self.is_sdxl)
            # SDXL reads the layer before the last, and the second encoder's projection.
            parts.append(result.hidden_states[-2] if self.is_sdxl else result[0])
            pooled = result[0] if self.is_sdxl else None
        return torch.cat(parts, dim=-1), pooled

    def loss(
        self, latents: Tensor, text: tuple[Tensor, Tensor | None], random: torch.Generator
    ) -> Tensor:
        """Mean squared error of the noise predicted at a random time, of each image: [B].

        Args:
            latents: [B, 4, H / 8, W / 8].
            text: of `embed`.
            random: draws noise and times.
        """
        hidden, pooled = text
        noise = torch.randn(latents.shape, generator=random).to(latents)
        steps = self.noise.config.num_train_timesteps
        times = torch.randint(steps, (len(latents),), generator=random).to(latents.device)
        added = None
        if pooled is not None:
            height, width = (8 * side for side in latents.shape[-2:])
            sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(latents))
            added = {"text_embeds": pooled, "time_ids": sizes.to(latents)}
        noisy = self.noise.add_noise(latents, noise, times)
        kind = latents.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
            predicted = self.unet(noisy, times, hidden, added_cond_kwargs=added).sample
        return functional.mse_loss(predicted.float(), noise, reduction="none").mean((1, 2, 3))


# A function that is called after each step of a training with the losses of all steps so far, and
# the networks as they are now. It must not change them.
Progress = Callable[[Sequence[float], Denoiser], None]


def ignore_progress(_losses: Sequence[float], _networks: Denoiser) -> None:
    """A `Progress` that does nothing."""


def load_denoiser(root: Path, machine: Machine, vae: Path | None = None) -> Denoiser:
    """Load the networks of Stable Diffusion 1.5 or SDXL in float32 onto the machine's device.

    Args:
        root: folder in the layout of the published checkpoint; its U-Net says which network it is.
        machine: gives the device.
        vae: folder of a VAE that replaces the checkpoint's own.

    Raises:
        WrongCheckpointError: a part is missing or corrupt.
    """
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    full = Machine(machine.device, torch.float32)
    encoders = {"text_encoder": CLIPTextModel}
    if read_json(root / "unet" / "config.json").get("addition_embed_type") == "text_time":
        encoders["text_encoder_2"] = CLIPTextModelWithProjection
    tokenizers = (root / name.replace("text_encoder", "tokenizer") for name in encoders)
    schedule = read_json(root / "scheduler" / "scheduler_config.json")
    return Denoiser(
        tuple(CLIPTokenizer.from_pretrained(path, local_files_only=True) for path in tokenizers),
        tuple(load_strictly(kind, root / name, full) for name, kind in encoders.items()),
        load_strictly(UNet2DConditionModel, root / "unet", full),
        load_strictly(AutoencoderKL, vae or root / "vae", full),
        DDPMScheduler.from_config(schedule),
    )


def as_parameter(values: Tensor) -> nn.Parameter:
    """A copy of values that can be trained."""
    return nn.Parameter(values.detach().clone())


def _square(photo: Pixels, size: int) -> Tensor:
    """The photo's centre square in -1 .. 1, [3, size, size]."""
    fitted = ImageOps.fit(Image.fromarray(photo), (size, size), Image.Resampling.BICUBIC)
    values = torch.from_numpy(np.array(fitted)).permute(2, 0, 1)
    return values.float() / 127.5 - 1

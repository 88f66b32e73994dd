"""Image to image with SDXL: add noise to a photo, and remove it again under a prompt.

Source: Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential
Equations", ICLR 2022.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.data.pixels import Pixels
from models.diffusion.grid import check_size
from models.diffusion.safety import SafetyChecker
from models.diffusion.schedulers import Sampler
from models.diffusion.sdxl.generator import SdxlGenerator, SdxlRequest
from models.diffusion.sdxl.parts import SdxlParts, load_sdxl, sdxl_scheduler
from models.diffusion.vae import DECODED_AT_ONCE, decode, without_overflow
from models.runtime.batching import as_tensor, device_of, dtype_of, generator, noise_like
from models.runtime.hardware import Machine


@dataclass(frozen=True, kw_only=True)
class SdxlImg2ImgRequest(SdxlRequest):
    """One photo to vary; ``steps * strength`` of the steps are run.

    Args:
        image: uint8 RGB, sides multiples of 64 px.
        strength: how far from the photo, above 0 up to 1; at 1 nothing of the photo remains.

    Raises:
        ValueError: a side is no multiple of 64, or no step remains to run.
    """

    image: Pixels
    strength: float = 0.5
    scheduler: Sampler = "euler"

    def __post_init__(self) -> None:
        check_size(self.image.shape[1], self.image.shape[0])
        if not 0 < self.strength <= 1 or int(self.steps * self.strength) < 1:
            raise ValueError(
                f"strength {self.strength} of {self.steps} steps leaves none: raise one of them"
            )

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.image.shape[:2], self.strength


class SdxlImg2Img(SdxlGenerator):
    """SDXL from image to image; see `SdxlGenerator`."""

    def __init__(
        self, parts: SdxlParts, machine: Machine, checker: SafetyChecker | None = None
    ) -> None:
        from diffusers import StableDiffusionXLImg2ImgPipeline

        super().__init__(StableDiffusionXLImg2ImgPipeline, parts, machine, checker)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlImg2Img":
        """Load from the folders of SDXL and of the VAE; that of a safety checker may follow."""
        base, vae, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        return cls(load_sdxl(base, vae, machine), machine, checker)

    @torch.inference_mode()
    def _run(self, batch: Sequence[SdxlImg2ImgRequest]) -> list[Tensor]:
        first, sampler = batch[0], sdxl_scheduler(batch[0].scheduler, self._parts.schedule)
        seeds = [generator(request.seed) for request in batch]
        clean = self._encode(batch, seeds)
        noise = noise_like(clean.shape[1:], seeds, clean)
        sampler.set_timesteps(first.steps, device=clean.device)
        # The pipeline counts in the same way: it runs the last `steps * strength` of the steps.
        start = first.steps - min(int(first.steps * first.strength), first.steps)
        timestep = sampler.timesteps[start * sampler.order :][:1].repeat(len(batch))
        noisy = sampler.add_noise(clean, noise, timestep)
        self._pipeline.scheduler = sdxl_scheduler(first.scheduler, self._parts.schedule)
        latents = self._pipeline(
            **self._text_arguments(batch), image=clean, latents=noisy, strength=first.strength
        ).images
        return decode(self._parts.vae, latents)

    def _encode(
        self, batch: Sequence[SdxlImg2ImgRequest], seeds: Sequence[torch.Generator]
    ) -> Tensor:
        """Latents [B, 4, h, w] of the photos, sampled from the VAE's distribution."""
        vae, unet = self._parts.vae, self._parts.unet
        images = as_tensor([request.image for request in batch], vae) * 2 - 1
        with without_overflow(vae):
            parts = torch.split(images.to(dtype_of(vae)), DECODED_AT_ONCE)
            encoded = [vae.encode(part) for part in parts]
        mean = torch.cat([output.latent_dist.mean for output in encoded])
        deviation = torch.cat([output.latent_dist.std for output in encoded])
        sampled = mean + deviation * noise_like(mean.shape[1:], seeds, mean)
        scaled: Tensor = sampled * vae.config.scaling_factor
        return scaled.to(device_of(unet), dtype_of(unet))

"""Images from text with SDXL (Podell et al., ICLR 2024)."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.diffusion.grid import check_size
from models.diffusion.safety import SafetyChecker
from models.diffusion.sdxl.generator import SdxlGenerator, SdxlRequest
from models.diffusion.sdxl.parts import SdxlParts, load_sdxl, sdxl_scheduler
from models.diffusion.vae import decode
from models.runtime.batching import device_of, dtype_of, generator, noise_like
from models.runtime.hardware import Machine


@dataclass(frozen=True, kw_only=True)
class SdxlTextRequest(SdxlRequest):
    """An image to generate from text; ``width`` and ``height`` in px, multiples of 64.

    Raises:
        ValueError: a size is no multiple of 64.
    """

    width: int = 1024
    height: int = 1024

    def __post_init__(self) -> None:
        check_size(self.width, self.height)

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.width, self.height


class SdxlTextToImage(SdxlGenerator):
    """SDXL from text; see `SdxlGenerator`."""

    def __init__(
        self, parts: SdxlParts, machine: Machine, checker: SafetyChecker | None = None
    ) -> None:
        from diffusers import StableDiffusionXLPipeline

        super().__init__(StableDiffusionXLPipeline, parts, machine, checker)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlTextToImage":
        """Load from the folders of SDXL and of the VAE; that of a safety checker may follow."""
        base, vae, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        return cls(load_sdxl(base, vae, machine), machine, checker)

    @torch.inference_mode()
    def _run(self, batch: Sequence[SdxlTextRequest]) -> list[Tensor]:
        first, unet = batch[0], self._parts.unet
        like = torch.empty(0, device=device_of(unet), dtype=dtype_of(unet))
        shape = (unet.config.in_channels, first.height // 8, first.width // 8)
        noise = noise_like(shape, [generator(request.seed) for request in batch], like)
        self._pipeline.scheduler = sdxl_scheduler(first.scheduler, self._parts.schedule)
        latents = self._pipeline(
            **self._text_arguments(batch), latents=noise, height=first.height, width=first.width
        ).images
        return decode(self._parts.vae, latents)

"""Fill a part of an image with SDXL inpainting (Podell et al., ICLR 2024)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.diffusion.inpaint.request import InpaintRequest, inpaint_arguments, require_inpainting
from models.diffusion.safety import SafetyChecker
from models.diffusion.sdxl.generator import SdxlGenerator
from models.diffusion.sdxl.parts import SdxlParts, load_sdxl, sdxl_scheduler
from models.diffusion.vae import decode
from models.runtime.hardware import Machine


class SdxlInpaint(SdxlGenerator):
    """SDXL inpainting; prompts are in Compel's syntax. See `SdxlGenerator`."""

    def __init__(
        self, parts: SdxlParts, machine: Machine, checker: SafetyChecker | None = None
    ) -> None:
        from diffusers import StableDiffusionXLInpaintPipeline

        super().__init__(StableDiffusionXLInpaintPipeline, parts, machine, checker)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlInpaint":
        """Load from the folders of SDXL inpainting and of the VAE; a safety checker may follow.

        Raises:
            WrongCheckpointError: a part is missing, or the U-Net does not fill parts of images.
        """
        base, vae, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        parts = load_sdxl(base, vae, machine)
        require_inpainting(parts.unet, base, "diffusers/stable-diffusion-xl-1.0-inpainting-0.1")
        return cls(parts, machine, checker)

    @torch.inference_mode()
    def _run(self, batch: Sequence[InpaintRequest]) -> list[Tensor]:
        self._pipeline.scheduler = sdxl_scheduler(batch[0].scheduler, self._parts.schedule)
        latents = self._pipeline(**self._text_arguments(batch), **inpaint_arguments(batch)).images
        return decode(self._parts.vae, latents)

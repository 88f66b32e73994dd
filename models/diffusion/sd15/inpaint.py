"""Fill a part of an image with Stable Diffusion 1.5 inpainting (Rombach et al., CVPR 2022)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.diffusion.generator import PipelineGenerator, run_arguments, without_device_hooks
from models.diffusion.inpaint.request import (
    INPAINTING_CHANNELS,
    InpaintRequest,
    inpaint_arguments,
)
from models.diffusion.safety import SafetyChecker
from models.diffusion.sd15.parts import Sd15Parts, load_sd15, sd15_scheduler
from models.diffusion.vae import decode
from models.runtime.hardware import Machine


class Sd15Inpaint(PipelineGenerator):
    """Stable Diffusion 1.5 inpainting; prompts are plain words.

    Args:
        parts: the checkpoint.
        machine: gives the batch size.
        checker: finds images that are not safe for work; None: no image is checked.
    """

    def __init__(
        self, parts: Sd15Parts, machine: Machine, checker: SafetyChecker | None = None
    ) -> None:
        from diffusers import StableDiffusionInpaintPipeline

        built = without_device_hooks(StableDiffusionInpaintPipeline)(**parts.components)
        super().__init__(built, parts.modules, machine, checker)
        self._parts = parts

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Sd15Inpaint":
        """Load from the checkpoint's folder; that of a safety checker may follow.

        Raises:
            WrongCheckpointError: a part is missing, or the folder holds another kind of network.
        """
        root, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        return cls(load_sd15(root, machine, INPAINTING_CHANNELS), machine, checker)

    @torch.inference_mode()
    def _run(self, batch: Sequence[InpaintRequest]) -> list[Tensor]:
        first = batch[0]
        self._pipeline.scheduler = sd15_scheduler(first.scheduler, self._parts.schedule)
        texts = {"prompt_embeds": self._parts.embed([request.prompt for request in batch])}
        if first.is_guided:
            negatives = [request.negative for request in batch]
            texts["negative_prompt_embeds"] = self._parts.embed(negatives)
        latents = self._pipeline(
            **run_arguments(first, texts, self._parts.unet), **inpaint_arguments(batch)
        ).images
        # This VAE does not overflow in half precision, whatever its settings say.
        return decode(self._parts.vae, latents, overflows=False)

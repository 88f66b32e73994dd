"""Images from text with Stable Diffusion 1.5, optionally with a ControlNet.

Sources: Rombach et al., CVPR 2022; Zhang et al., "Adding Conditional Control to Text-to-Image
Diffusion Models", ICCV 2023. Both halves of the guidance, with and without the prompt, get the
condition.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.data.pixels import Pixels
from models.diffusion.generator import (
    GenerationRequest,
    PipelineGenerator,
    run_arguments,
    without_device_hooks,
)
from models.diffusion.grid import check_size
from models.diffusion.safety import SafetyChecker
from models.diffusion.schedulers import Sampler
from models.diffusion.sd2.latents import CELL
from models.diffusion.sd15.parts import LATENT_CHANNELS, Sd15Parts, load_sd15, sd15_scheduler
from models.diffusion.vae import decode
from models.runtime.batching import as_tensor, device_of, dtype_of, generator, noise_like
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly


@dataclass(frozen=True, kw_only=True)
class Sd15Request(GenerationRequest):
    """An image to generate from text.

    Args:
        prompt, negative: plain words; brackets and signs are text.
        width, height: px, multiples of 64.

    Raises:
        ValueError: a size is no multiple of 64.
    """

    width: int = 512
    height: int = 512
    steps: int = 50
    guidance_scale: float = 7.5
    scheduler: Sampler = "pndm"

    def __post_init__(self) -> None:
        check_size(self.width, self.height)

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.width, self.height


@dataclass(frozen=True, kw_only=True)
class Sd15ControlRequest(Sd15Request):
    """An image to generate from text and a condition.

    Args:
        condition: uint8 RGB height x width x 3: what the ControlNet was trained with, such as white
            edges on black.
        control_scale: how strictly the condition is followed, 0 .. 2.
        control_end: share of the steps that get the condition, 0 .. 1.

    Raises:
        ValueError: the condition has another size than the image.
    """

    condition: Pixels
    control_scale: float = 1.0
    control_end: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.condition.shape != (self.height, self.width, 3):
            raise ValueError(
                f"a condition of shape {self.condition.shape}: give {(self.height, self.width, 3)}"
            )

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return *super().batch_key, self.control_scale, self.control_end


class Sd15TextToImage(PipelineGenerator):
    """Stable Diffusion 1.5 from text.

    Args:
        parts: the checkpoint.
        machine: gives the batch size.
        checker: finds images that are not safe for work; None: no image is checked.
        controlnet: a `ControlNetModel` of Stable Diffusion 1; None: text alone.
    """

    def __init__(
        self,
        parts: Sd15Parts,
        machine: Machine,
        checker: SafetyChecker | None = None,
        controlnet: Any = None,
    ) -> None:
        from diffusers import StableDiffusionControlNetPipeline, StableDiffusionPipeline

        if controlnet is None:
            built = without_device_hooks(StableDiffusionPipeline)(**parts.components)
            networks = parts.modules
        else:
            pipeline = without_device_hooks(StableDiffusionControlNetPipeline)
            built = pipeline(**parts.components, controlnet=controlnet)
            networks = (*parts.modules, controlnet)
        super().__init__(built, networks, machine, checker)
        self._parts = parts

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Sd15TextToImage":
        """Load from the checkpoint's folder; that of a safety checker may follow."""
        root, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        return cls(load_sd15(root, machine), machine, checker)

    @torch.inference_mode()
    def _run(self, batch: Sequence[Any]) -> list[Tensor]:
        first, unet = batch[0], self._parts.unet
        like = torch.empty(0, device=device_of(unet), dtype=dtype_of(unet))
        shape = (LATENT_CHANNELS, first.height // CELL, first.width // CELL)
        noise = noise_like(shape, [generator(request.seed) for request in batch], like)
        self._pipeline.scheduler = sd15_scheduler(first.scheduler, self._parts.schedule)
        texts = {"prompt_embeds": self._parts.embed([request.prompt for request in batch])}
        if first.is_guided:
            negatives = [request.negative for request in batch]
            texts["negative_prompt_embeds"] = self._parts.embed(negatives)
        latents = self._pipeline(
            **run_arguments(first, texts, unet),
            **self._control_arguments(batch),
            latents=noise,
            height=first.height,
            width=first.width,
        ).images
        # This VAE does not overflow in half precision, whatever its settings say.
        return decode(self._parts.vae, latents, overflows=False)

    def _control_arguments(self, _batch: Sequence[Any]) -> dict[str, Any]:
        """The arguments of a ControlNet's pipeline; none for text alone."""
        return {}


class Sd15ControlNet(Sd15TextToImage):
    """Stable Diffusion 1.5 from text and a condition; see `Sd15TextToImage`."""

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "Sd15ControlNet":
        """Load from the folders of the checkpoint and the ControlNet; a safety checker may follow.

        Raises:
            WrongCheckpointError: the ControlNet is one of another Stable Diffusion.
        """
        from diffusers import ControlNetModel

        root, control, *others = folders
        checker = SafetyChecker.load(others[0], machine=machine) if others else None
        parts = load_sd15(root, machine)
        controlnet = load_strictly(ControlNetModel, control, machine)
        theirs, needed = (net.config.cross_attention_dim for net in (controlnet, parts.unet))
        if theirs != needed:
            raise WrongCheckpointError(
                f"{control}: a ControlNet for texts of {theirs} numbers where {root.name} has "
                f"{needed}; give one of Stable Diffusion 1.5"
            )
        return cls(parts, machine, checker, controlnet)

    def _control_arguments(self, batch: Sequence[Sd15ControlRequest]) -> dict[str, Any]:
        first = batch[0]
        return {
            "image": as_tensor([request.condition for request in batch], self._parts.unet),
            "controlnet_conditioning_scale": first.control_scale,
            "control_guidance_end": first.control_end,
        }

"""Generate scenes around an object of known depth: SDXL with a depth ControlNet.

Sources: Podell et al., ICLR 2024; Zhang et al., "Adding Conditional Control to Text-to-Image
Diffusion Models", ICCV 2023. Both halves of the guidance, with and without the prompt, get the
depth map. With the U-Net of SDXL-Lightning (Lin et al., "SDXL-Lightning: Progressive Adversarial
Diffusion Distillation", 2024) an image takes 4 or 8 steps and no guidance.
"""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.diffusion.grid import check_size
from models.diffusion.safety import SafetyChecker
from models.diffusion.sdxl.generator import SdxlGenerator, SdxlRequest
from models.diffusion.sdxl.parts import SdxlParts, load_sdxl, sdxl_scheduler
from models.diffusion.vae import decode
from models.runtime.batching import device_of, dtype_of, generator, noise_like
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, fill, load_strictly

_FEW_STEPS = re.compile(r"sdxl_lightning_(\d+)step_unet\.safetensors")


@dataclass(frozen=True, kw_only=True)
class SdxlBackgroundRequest(SdxlRequest):
    """One scene to generate.

    Args:
        depth: uint16 height x width, nearer is larger, 0 outside the object.
        width, height: px, multiples of 64.
        control_scale: how strictly the depth is followed, 0 .. 2.
        control_end: share of the steps that get the depth, 0 .. 1.
        few_step: use the few-step U-Net for this number of ``steps``; guidance is off.

    Raises:
        ValueError: a size is no multiple of 64, or the depth has another size or type.
    """

    depth: npt.NDArray[np.uint16]
    width: int
    height: int
    control_scale: float = 1.0
    control_end: float = 1.0
    few_step: bool = False

    def __post_init__(self) -> None:
        check_size(self.width, self.height)
        if self.depth.shape != (self.height, self.width) or self.depth.dtype != np.uint16:
            raise ValueError(
                f"depth of {self.depth.dtype} and shape {self.depth.shape}: give uint16 of "
                f"{(self.height, self.width)}"
            )

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt counts."""
        return super().is_guided and not self.few_step

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        control = self.control_scale, self.control_end
        return *super().batch_key, self.width, self.height, *control, self.few_step


class SdxlBackground(SdxlGenerator):
    """SDXL with a depth ControlNet, optionally a few-step U-Net and a safety checker.

    Args:
        parts, machine, checker: see `SdxlGenerator`.
        controlnet: a `ControlNetModel` for SDXL.
        few_step: folder with ``sdxl_lightning_<n>step_unet.safetensors``; these weights replace
            those of the base's U-Net.
    """

    def __init__(
        self,
        parts: SdxlParts,
        controlnet: Any,
        machine: Machine,
        few_step: Path | None = None,
        checker: SafetyChecker | None = None,
    ) -> None:
        from diffusers import StableDiffusionXLControlNetPipeline

        super().__init__(
            StableDiffusionXLControlNetPipeline, parts, machine, checker, controlnet=controlnet
        )
        self._few_step = few_step
        # The number of steps that the U-Net's weights are for; 0 for the base's weights.
        self._unet_steps = 0

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlBackground":
        """Load from the folders of SDXL, of the ControlNet and of the VAE, and optional others.

        The others, in any order, are a folder with few-step U-Nets and a safety checker. Their
        files show which is which.
        """
        from diffusers import ControlNetModel

        base, controlnet, vae, *others = folders
        few_step = next((folder for folder in others if _few_steps_in(folder)), None)
        checkers = [
            SafetyChecker.load(folder, machine=machine) for folder in others if folder != few_step
        ]
        control = load_strictly(ControlNetModel, controlnet, machine)
        parts = load_sdxl(base, vae, machine, own_unet=few_step is not None)
        return cls(parts, control, machine, few_step, next(iter(checkers), None))

    @torch.inference_mode()
    def _run(self, batch: Sequence[SdxlBackgroundRequest]) -> list[Tensor]:
        first, unet = batch[0], self._parts.unet
        control = torch.stack([_control(request.depth, device_of(unet)) for request in batch])
        control = control.to(dtype_of(unet))
        shape = (unet.config.in_channels, first.height // 8, first.width // 8)
        seeds = [generator(request.seed) for request in batch]
        self._pipeline.scheduler = sdxl_scheduler(
            "euler" if first.few_step else first.scheduler,
            self._parts.schedule,
            trailing=first.few_step,
        )
        latents = self._pipeline(
            **self._text_arguments(batch),
            image=control,
            latents=noise_like(shape, seeds, control),
            height=first.height,
            width=first.width,
            controlnet_conditioning_scale=first.control_scale,
            control_guidance_end=first.control_end,
        ).images
        return decode(self._parts.vae, latents)

    def _prepare(self, request: SdxlBackgroundRequest) -> None:
        """Load the few-step weights that the request needs into the U-Net.

        There is one file per number of steps, all with the base's architecture.
        """
        if not request.few_step:
            if self._unet_steps:
                raise ValueError("this network was loaded for few steps; set few_step in requests")
            return
        if self._unet_steps == request.steps:
            return
        files = _few_steps_in(self._few_step) if self._few_step else {}
        if request.steps not in files:
            available = ", ".join(map(str, sorted(files))) or "none"
            raise WrongCheckpointError(
                f"{self._few_step or 'no few-step checkpoint'}: no U-Net for {request.steps} "
                f"steps; set steps to one of: {available}"
            )
        file = files[request.steps]
        fill(self._parts.unet, load_file(file), file)
        self._unet_steps = request.steps


def _control(depth: npt.NDArray[np.uint16], device: torch.device) -> Tensor:
    """The depth as a control image [3, H, W] in 0..1, float32."""
    levels = torch.from_numpy(depth.astype(np.int32)).to(device)
    return (levels.float() / 65535.0).expand(3, -1, -1)


def _few_steps_in(folder: Path) -> dict[int, Path]:
    """The weight files of few-step U-Nets in a folder, by number of steps."""
    matches = ((_FEW_STEPS.fullmatch(path.name), path) for path in folder.glob("*.safetensors"))
    return {int(match[1]): path for match, path in matches if match}

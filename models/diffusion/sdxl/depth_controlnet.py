"""Generate scenes around an object of known depth: SDXL with a depth ControlNet.

Sources: Podell et al., ICLR 2024; Zhang et al., "Adding Conditional Control to Text-to-Image
Diffusion Models", ICCV 2023. Both halves of the guidance, with and without the prompt, get the
depth map. With the U-Net of SDXL-Lightning (Lin et al., "SDXL-Lightning: Progressive Adversarial
Diffusion Distillation", 2024) an image takes 4 or 8 steps and no guidance.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.diffusion.safety import Flags, SafetyChecker, generate_with_safety_check, retry_seed
from models.diffusion.sdxl.parts import (
    Scheduler,
    SdxlParts,
    check_size,
    decode,
    embed_prompts,
    generate_in_batches,
    load_sdxl,
    sdxl_scheduler,
    without_device_hooks,
)
from models.runtime.batching import InvalidOutput, device_of, dtype_of, generator, noise_like
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly

_FEW_STEPS = re.compile(r"sdxl_lightning_(\d+)step_unet\.safetensors")


@dataclass(frozen=True)
class SdxlBackgroundRequest:
    """One scene to generate.

    Args:
        depth: uint16 height x width, nearer is larger, 0 outside the object.
        prompt, negative: final prompts in Compel's syntax (models/diffusion/prompts.py). An empty
            prompt is embedded like any other; it does not give zeros.
        seed: 0 .. 2**63 - 1.
        width, height: px, multiples of 64.
        steps: denoising steps, 1 or more.
        guidance_scale: how strictly the prompt is followed; 1 or less ignores the negative prompt.
        control_scale: how strictly the depth is followed, 0 .. 2.
        control_end: share of the steps that get the depth, 0 .. 1.
        scheduler: sampler.
        few_step: use the few-step U-Net for this number of ``steps``; guidance is off.
        nsfw_retries: how often a flagged image is generated again with another seed.

    Raises:
        ValueError: a size is no multiple of 64, or the depth has another size or type.
    """

    depth: npt.NDArray[np.uint16]
    prompt: str
    negative: str
    seed: int
    width: int
    height: int
    steps: int = 30
    guidance_scale: float = 5.0
    control_scale: float = 1.0
    control_end: float = 1.0
    scheduler: Scheduler = "unipc"
    few_step: bool = False
    nsfw_retries: int = 3

    def __post_init__(self) -> None:
        check_size(self.width, self.height)
        if self.depth.shape != (self.height, self.width) or self.depth.dtype != np.uint16:
            raise ValueError(
                f"depth of {self.depth.dtype} and shape {self.depth.shape}: give uint16 of "
                f"{(self.height, self.width)}"
            )
        if self.steps < 1:
            raise ValueError(f"steps {self.steps}: give 1 or more")

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt counts."""
        return self.guidance_scale > 1 and not self.few_step

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """What the images of a batch have in common."""
        return (
            self.width,
            self.height,
            self.steps,
            self.guidance_scale if self.is_guided else None,
            self.control_scale,
            self.control_end,
            self.scheduler,
            self.few_step,
        )


@dataclass(frozen=True)
class SdxlBackgroundResult:
    """The scene, uint8 RGB height x width, and how many safety retries it took."""

    image: Pixels
    retries: int = 0


class SdxlBackground:
    """SDXL with a depth ControlNet, optionally a few-step U-Net and a safety checker.

    Args:
        parts: SDXL, with the VAE that decodes.
        controlnet: a `ControlNetModel` for SDXL.
        machine: gives the batch size.
        few_step: folder with ``sdxl_lightning_<n>step_unet.safetensors``; these weights replace
            those of the base's U-Net.
        flags: finds images that are not safe for work; None: no image is checked.
        checker_modules: the networks behind ``flags``.
    """

    def __init__(
        self,
        parts: SdxlParts,
        controlnet: Any,
        machine: Machine,
        few_step: Path | None = None,
        flags: Flags | None = None,
        checker_modules: tuple[nn.Module, ...] = (),
    ) -> None:
        from diffusers import StableDiffusionXLControlNetPipeline

        self.modules: tuple[nn.Module, ...] = (
            *parts.modules,
            controlnet,
            *checker_modules,
        )
        self._parts, self._controlnet, self._machine = parts, controlnet, machine
        self._few_step, self._flags = few_step, flags
        # The number of steps that the U-Net's weights are for; 0 for the base's weights.
        self._unet_steps = 0
        self._pipeline = without_device_hooks(StableDiffusionXLControlNetPipeline)(
            **parts.components, controlnet=controlnet, add_watermarker=False
        )
        self._pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlBackground":
        """Load from the folders of SDXL, of the ControlNet and of the VAE, and optional others.

        The others, in any order, are a folder with few-step U-Nets and a safety checker. Their
        files show which is which.

        Raises:
            WrongCheckpointError: a folder lacks a part.
        """
        from diffusers import ControlNetModel

        base, controlnet, vae, *others = folders
        few_step = next((folder for folder in others if _few_steps_in(folder)), None)
        checkers = [
            SafetyChecker.load(folder, machine=machine) for folder in others if folder != few_step
        ]
        control = load_strictly(ControlNetModel, controlnet, machine)
        return cls(
            load_sdxl(base, vae, machine, own_unet=few_step is not None),
            control,
            machine,
            few_step,
            checkers[0].flags if checkers else None,
            checkers[0].modules if checkers else (),
        )

    def compute(
        self, requests: Sequence[SdxlBackgroundRequest]
    ) -> Iterator[SdxlBackgroundResult | InvalidOutput]:
        """Yield a scene per request, in order.

        A flagged image is generated again with the seed plus 1, 2, ... The result is
        `InvalidOutput` if all retries are flagged or the numbers are not finite.

        Raises:
            PromptError: a prompt can't be parsed.
            WrongCheckpointError: a request wants few steps and there is no U-Net for their number.
        """

        def generate(indices: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
            chosen = (requests[index] for index in indices)
            return generate_in_batches(
                self._run,
                [replace(request, seed=retry_seed(request.seed, attempt)) for request in chosen],
                text=self._parts.text,
                at_most=self._machine.batch,
                modules=self.modules,
                prepare=self._load_unet,
            )

        retries = [request.nsfw_retries for request in requests]
        for result in generate_with_safety_check(generate, retries, self._flags):
            if isinstance(result, InvalidOutput):
                yield result
            else:
                yield SdxlBackgroundResult(result.image, result.retries)

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
            **embed_prompts(self._parts, batch),
            image=control,
            latents=noise_like(shape, seeds, control),
            height=first.height,
            width=first.width,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale if first.is_guided else 0.0,
            controlnet_conditioning_scale=first.control_scale,
            control_guidance_end=first.control_end,
            output_type="latent",
        ).images
        return decode(self._parts.vae, latents)

    def _load_unet(self, request: SdxlBackgroundRequest) -> None:
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
                f"steps; there is one for {available}"
            )
        _load_weights(self._parts.unet, files[request.steps])
        self._unet_steps = request.steps


def _control(depth: npt.NDArray[np.uint16], device: torch.device) -> Tensor:
    """The depth as a control image [3, H, W] in 0..1, float32."""
    levels = torch.from_numpy(depth.astype(np.int32)).to(device)
    return (levels.float() / 65535.0).expand(3, -1, -1)


def _few_steps_in(folder: Path) -> dict[int, Path]:
    """The weight files of few-step U-Nets in a folder, by number of steps."""
    matches = ((_FEW_STEPS.fullmatch(path.name), path) for path in folder.glob("*.safetensors"))
    return {int(match[1]): path for match, path in matches if match}


def _load_weights(unet: nn.Module, file: Path) -> None:
    from safetensors.torch import load_file

    try:
        unet.load_state_dict(load_file(file))
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WrongCheckpointError(
            f"{file}: its weights do not fit SDXL's U-Net ({reason}); fetch the checkpoint again"
        ) from error

"""Scenes around an object of known depth: SDXL with a depth ControlNet (Podell et al., ICLR 2024;
Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023).

The depth map is shown to both halves of the guidance, with and without the prompt. With the U-Net
of SDXL-Lightning (Lin et al., "SDXL-Lightning: Progressive Adversarial Diffusion Distillation",
2024) an image takes 4 or 8 steps and no guidance.
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
from models.diffusion.safety import Flags, SafetyChecker, generate_with_safety_check, seed_at
from models.diffusion.sdxl.parts import (
    Scheduler,
    SdxlParts,
    check_size,
    decode,
    embeddings,
    groups,
    load_sdxl,
    quick,
    scheduler,
)
from models.runtime.batching import (
    InvalidOutput,
    as_uint8,
    device_of,
    dtype_of,
    generator,
    noise_like,
    run_batched,
)
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly

_FEW_STEPS = re.compile(r"sdxl_lightning_(\d+)step_unet\.safetensors")


@dataclass(frozen=True)
class SdxlBackgroundRequest:
    """One scene to draw.

    Args:
        depth: uint16 height x width, the object nearer is brighter, 0 where it is not.
        prompt, negative: final prompts in Compel's syntax (models/diffusion/prompts.py). An empty
        one is
            embedded like any other; it does not stand for zeros.
        seed: 0 .. 2**63 - 1.
        width, height: px, multiples of 64.
        steps: denoising steps, 1 or more.
        guidance_scale: how strictly the prompt is followed; 1 or less reads no negative prompt.
        control_scale: how strictly the depth is followed, 0 .. 2.
        control_end: share of the steps that see the depth, 0 .. 1.
        scheduler: sampler.
        few_step: the U-Net of the few-step checkpoint: ``steps`` says which, guidance is off.
        nsfw_retries: how often an image that the safety checker flags is drawn anew.

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
    def guided(self) -> bool:
        """Whether the negative prompt counts."""
        return self.guidance_scale > 1 and not self.few_step

    @property
    def together(self) -> tuple[Any, ...]:
        """What the images of a batch must have in common."""
        guidance = self.guidance_scale if self.guided else None
        return (
            *(self.width, self.height, self.steps, guidance, self.control_scale),
            *(self.control_end, self.scheduler, self.few_step),
        )


@dataclass(frozen=True)
class SdxlBackgroundResult:
    """The scene, uint8 RGB height x width, and how often it was drawn anew because of what it
    showed."""

    image: Pixels
    retries: int = 0


class SdxlBackground:
    """SDXL, its depth ControlNet, and if wanted a few-step U-Net and a safety checker.

    Args:
        parts: SDXL with the VAE to decode by.
        controlnet: a `ControlNetModel` for SDXL.
        machine: batch size.
        few_step: folder with ``sdxl_lightning_<n>step_unet.safetensors``; its U-Net takes the place
            of the base's.
        flags: tells the images that are not safe for work; none: nothing is checked.
        more: networks behind ``flags``.
    """

    def __init__(
        self,
        parts: SdxlParts,
        controlnet: Any,
        machine: Machine,
        few_step: Path | None = None,
        flags: Flags | None = None,
        more: tuple[nn.Module, ...] = (),
    ) -> None:
        from diffusers import StableDiffusionXLControlNetPipeline

        self.modules: tuple[nn.Module, ...] = (*parts.modules, controlnet, *more)
        self._parts, self._controlnet, self._machine = parts, controlnet, machine
        self._few_step, self._few_step_now, self._flags = few_step, 0, flags
        self._pipeline = quick(StableDiffusionXLControlNetPipeline)(
            **parts.components, controlnet=controlnet, add_watermarker=False
        )
        self._pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlBackground":
        """From the folders of SDXL, of the ControlNet and of the VAE. Others may follow in any
        order: one with few-step U-Nets, and one of a safety checker, told apart by their files.

        Raises:
            WrongCheckpointError: a folder lacks a part.
        """
        from diffusers import ControlNetModel

        base, controlnet, vae, *others = folders
        few_step = next((folder for folder in others if _few_steps_in(folder)), None)
        checkers = [SafetyChecker.load(one, machine=machine) for one in others if one != few_step]
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
        """A scene per request, in order. What the safety checker flags is drawn anew with the seed
        plus 1, 2, ...; `InvalidOutput` when that does not help, or the numbers are not finite.

        Raises:
            PromptError: a prompt can't be read.
            WrongCheckpointError: few-step images are asked for and there is no U-Net for the steps.
        """

        def draw(places: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
            asked = (requests[at] for at in places)
            return self._draw([replace(one, seed=seed_at(one.seed, attempt)) for one in asked])

        bounds = [request.nsfw_retries for request in requests]
        for one in generate_with_safety_check(draw, bounds, self._flags):
            yield (
                one
                if isinstance(one, InvalidOutput)
                else SdxlBackgroundResult(one.image, one.retries)
            )

    def _draw(self, requests: Sequence[SdxlBackgroundRequest]) -> list[Pixels | InvalidOutput]:
        blocks = [self._blocks(request) for request in requests]
        keys = [(one.together, count) for one, count in zip(requests, blocks, strict=True)]
        drawn: list[Pixels | InvalidOutput] = [InvalidOutput("not drawn")] * len(requests)
        for positions in groups(keys):
            self._use_unet(requests[positions[0]])
            images = run_batched(
                self._run,
                [requests[at] for at in positions],
                at_most=self._machine.batch,
                modules=self.modules,
            )
            for at, image in zip(positions, images, strict=True):
                drawn[at] = image if isinstance(image, InvalidOutput) else as_uint8(image)
        return drawn

    def _blocks(self, request: SdxlBackgroundRequest) -> int:
        """Blocks of 77 tokens of one request's prompts. Only equals share a batch: blocks that are
        there for the neighbour's sake would change an image."""
        prompts = [request.prompt, *([request.negative] if request.guided else [])]
        return max(self._parts.text.embed(prompt).blocks for prompt in prompts)

    @torch.inference_mode()
    def _run(self, batch: Sequence[SdxlBackgroundRequest]) -> list[Tensor]:
        first, unet = batch[0], self._parts.unet
        control = torch.stack([_control(one.depth, device_of(unet)) for one in batch])
        dtype = dtype_of(unet)
        shape = (unet.config.in_channels, first.height // 8, first.width // 8)
        seeds = [generator(one.seed) for one in batch]
        prompts, negatives = [one.prompt for one in batch], [one.negative for one in batch]
        control = control.to(dtype)
        self._pipeline.scheduler = scheduler(
            "euler" if first.few_step else first.scheduler,
            self._parts.schedule,
            trailing=first.few_step,
        )
        latents = self._pipeline(
            **embeddings(self._parts, prompts, negatives, self._blocks(first), first.guided),
            image=control,
            latents=noise_like(shape, seeds, control),
            height=first.height,
            width=first.width,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale if first.guided else 0.0,
            controlnet_conditioning_scale=first.control_scale,
            control_guidance_end=first.control_end,
            output_type="latent",
        ).images
        return decode(self._parts.vae, latents)

    def _use_unet(self, request: SdxlBackgroundRequest) -> None:
        """Put the weights in place that the request wants: few-step U-Nets have one file per count
        of steps, and the base's architecture."""
        if not request.few_step:
            if self._few_step_now:
                raise ValueError("this network was loaded for few steps; ask with few_step set")
            return
        if self._few_step_now == request.steps:
            return
        known = _few_steps_in(self._few_step) if self._few_step else {}
        if request.steps not in known:
            there = ", ".join(map(str, sorted(known))) or "none"
            raise WrongCheckpointError(
                f"{self._few_step or 'no few-step checkpoint'}: no U-Net for {request.steps} "
                f"steps; there is one for {there}"
            )
        _fill(self._parts.unet, known[request.steps])
        self._few_step_now = request.steps


def _control(depth: npt.NDArray[np.uint16], device: torch.device) -> Tensor:
    """[3, H, W] in 0..1, float32."""
    levels = torch.from_numpy(depth.astype(np.int32)).to(device)
    return (levels.float() / 65535.0).expand(3, -1, -1)


def _few_steps_in(folder: Path) -> dict[int, Path]:
    """The few-step U-Nets of a folder by their count of steps."""
    found = ((_FEW_STEPS.fullmatch(path.name), path) for path in folder.glob("*.safetensors"))
    return {int(name[1]): path for name, path in found if name}


def _fill(unet: nn.Module, file: Path) -> None:
    from safetensors.torch import load_file

    try:
        unet.load_state_dict(load_file(file))
    except (RuntimeError, OSError) as error:
        told = " ".join(str(error).split())[:160]
        raise WrongCheckpointError(f"{file}: no U-Net of the SDXL beside it ({told})") from error

"""Image to image with SDXL: add noise to a photo, and remove it again under a prompt.

Source: Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential
Equations", ICLR 2022.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.diffusion.safety import (
    Flags,
    SafeImage,
    SafetyChecker,
    UnsafeImage,
    generate_with_safety_check,
    retry_seed,
)
from models.diffusion.sdxl.parts import (
    DECODED_AT_ONCE,
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
from models.runtime.batching import (
    InvalidOutput,
    as_tensor,
    device_of,
    dtype_of,
    generator,
    in_float32,
    noise_like,
)
from models.runtime.hardware import Machine


@dataclass(frozen=True)
class SdxlImg2ImgRequest:
    """One photo to vary.

    Args:
        image: uint8 RGB, sides multiples of 64 px.
        prompt, negative: final prompts in Compel's syntax (models/diffusion/prompts.py).
        seed: 0 .. 2**63 - 1.
        strength: how far from the photo, above 0 up to 1; at 1 nothing of the photo remains.
        steps: number of steps from pure noise to an image; ``steps * strength`` of them are run.
        guidance_scale: how strictly the prompt is followed; 1 or less ignores the negative prompt.
        scheduler: sampler.
        nsfw_retries: how often a flagged image is generated again with another seed.

    Raises:
        ValueError: a side is no multiple of 64, or no step remains to run.
    """

    image: Pixels
    prompt: str
    negative: str
    seed: int
    strength: float = 0.5
    steps: int = 30
    guidance_scale: float = 5.0
    scheduler: Scheduler = "euler"
    nsfw_retries: int = 3

    def __post_init__(self) -> None:
        check_size(self.image.shape[1], self.image.shape[0])
        if not 0 < self.strength <= 1 or int(self.steps * self.strength) < 1:
            raise ValueError(
                f"strength {self.strength} of {self.steps} steps leaves none: raise one of them"
            )

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt counts."""
        return self.guidance_scale > 1

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """What the images of a batch have in common."""
        return (
            self.image.shape[:2],
            self.strength,
            self.steps,
            self.guidance_scale if self.is_guided else None,
            self.scheduler,
        )


class SdxlImg2Img:
    """SDXL from image to image, optionally with a safety checker.

    Args:
        parts: SDXL, with the VAE that encodes and decodes.
        machine: gives the batch size.
        flags: finds images that are not safe for work; None: no image is checked.
        checker_modules: the networks behind ``flags``.
    """

    def __init__(
        self,
        parts: SdxlParts,
        machine: Machine,
        flags: Flags | None = None,
        checker_modules: tuple[nn.Module, ...] = (),
    ) -> None:
        from diffusers import StableDiffusionXLImg2ImgPipeline

        self.modules: tuple[nn.Module, ...] = (*parts.modules, *checker_modules)
        self._parts, self._machine, self._flags = parts, machine, flags
        self._pipeline = without_device_hooks(StableDiffusionXLImg2ImgPipeline)(
            **parts.components, add_watermarker=False
        )
        self._pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlImg2Img":
        """Load from the folders of SDXL and of the VAE; that of a safety checker may follow.

        Raises:
            WrongCheckpointError: a folder lacks a part.
        """
        base, vae, *others = folders
        checkers = [SafetyChecker.load(folder, machine=machine) for folder in others[:1]]
        return cls(
            load_sdxl(base, vae, machine),
            machine,
            checkers[0].flags if checkers else None,
            checkers[0].modules if checkers else (),
        )

    def compute(self, requests: Sequence[SdxlImg2ImgRequest]) -> Iterator[SafeImage | UnsafeImage]:
        """Yield a uint8 RGB image of the photo's size per request, in order.

        A flagged image is generated again with the seed plus 1, 2, ... The result is `UnsafeImage`
        if all retries are flagged or the numbers are not finite.

        Raises:
            PromptError: a prompt can't be parsed.
        """

        def generate(indices: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
            chosen = (requests[index] for index in indices)
            return generate_in_batches(
                self._run,
                [replace(request, seed=retry_seed(request.seed, attempt)) for request in chosen],
                text=self._parts.text,
                at_most=self._machine.batch,
                modules=self.modules,
            )

        retries = [request.nsfw_retries for request in requests]
        return generate_with_safety_check(generate, retries, self._flags)

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
            **embed_prompts(self._parts, batch),
            image=clean,
            latents=noisy,
            strength=first.strength,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale if first.is_guided else 0.0,
            output_type="latent",
        ).images
        return decode(self._parts.vae, latents)

    def _encode(
        self, batch: Sequence[SdxlImg2ImgRequest], seeds: Sequence[torch.Generator]
    ) -> Tensor:
        """Latents [B, 4, h, w] of the photos, sampled from the VAE's distribution."""
        vae, unet = self._parts.vae, self._parts.unet
        images = as_tensor([request.image for request in batch], vae) * 2 - 1
        parts = torch.split(images, DECODED_AT_ONCE)
        if dtype_of(vae) is torch.float16 and vae.config.force_upcast:
            with in_float32([vae]):
                encoded = [vae.encode(part.float()) for part in parts]
        else:
            encoded = [vae.encode(part) for part in parts]
        mean = torch.cat([output.latent_dist.mean for output in encoded])
        deviation = torch.cat([output.latent_dist.std for output in encoded])
        sampled = mean + deviation * noise_like(mean.shape[1:], seeds, mean)
        scaled: Tensor = sampled * vae.config.scaling_factor
        return scaled.to(device_of(unet), dtype_of(unet))

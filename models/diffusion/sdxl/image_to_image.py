"""A photo drawn anew by SDXL: noise is added to it, and taken away again under a prompt (Meng et
al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR
2022).
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
    seed_at,
)
from models.diffusion.sdxl.parts import (
    DECODED_AT_ONCE,
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
    as_tensor,
    as_uint8,
    device_of,
    dtype_of,
    generator,
    in_float32,
    noise_like,
    run_batched,
)
from models.runtime.hardware import Machine


@dataclass(frozen=True)
class SdxlImg2ImgRequest:
    """One photo to draw anew.

    Args:
        image: uint8 RGB, sides multiples of 64 px.
        prompt, negative: final prompts in Compel's syntax (models/diffusion/prompts.py).
        seed: 0 .. 2**63 - 1.
        strength: share of the steps that are gone back, above 0 up to 1; at 1 nothing of the photo
            is left.
        steps: of a whole way from noise to image; ``steps * strength`` are gone.
        guidance_scale: how strictly the prompt is followed; 1 or less reads no negative prompt.
        scheduler: sampler.
        nsfw_retries: how often an image that the safety checker flags is drawn anew.

    Raises:
        ValueError: a side is no multiple of 64, or no step is left to go.
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
    def guided(self) -> bool:
        """Whether the negative prompt counts."""
        return self.guidance_scale > 1

    @property
    def together(self) -> tuple[Any, ...]:
        """What the images of a batch must have in common."""
        return (
            *(self.image.shape[:2], self.strength, self.steps),
            *(self.guidance_scale if self.guided else None, self.scheduler),
        )


class SdxlImg2Img:
    """SDXL from image to image, and if wanted a safety checker.

    Args:
        parts: SDXL with the VAE to encode and decode by.
        machine: batch size.
        flags: tells the images that are not safe for work; none: nothing is checked.
        more: networks behind ``flags``.
    """

    def __init__(
        self,
        parts: SdxlParts,
        machine: Machine,
        flags: Flags | None = None,
        more: tuple[nn.Module, ...] = (),
    ) -> None:
        from diffusers import StableDiffusionXLImg2ImgPipeline

        self.modules: tuple[nn.Module, ...] = (*parts.modules, *more)
        self._parts, self._machine, self._flags = parts, machine, flags
        self._pipeline = quick(StableDiffusionXLImg2ImgPipeline)(
            **parts.components, add_watermarker=False
        )
        self._pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, *folders: Path, machine: Machine) -> "SdxlImg2Img":
        """From the folders of SDXL and of the VAE; that of a safety checker may follow.

        Raises:
            WrongCheckpointError: a folder lacks a part.
        """
        base, vae, *others = folders
        checkers = [SafetyChecker.load(one, machine=machine) for one in others[:1]]
        return cls(
            load_sdxl(base, vae, machine),
            machine,
            checkers[0].flags if checkers else None,
            checkers[0].modules if checkers else (),
        )

    def compute(self, requests: Sequence[SdxlImg2ImgRequest]) -> Iterator[SafeImage | UnsafeImage]:
        """A uint8 RGB image of the photo's size per request, in order. What the safety checker
        flags is drawn anew with the seed plus 1, 2, ...; `Rejected` when that does not help, or the
        numbers are not finite.

        Raises:
            PromptError: a prompt can't be read.
        """

        def draw(places: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
            asked = (requests[at] for at in places)
            return self._draw([replace(one, seed=seed_at(one.seed, attempt)) for one in asked])

        return generate_with_safety_check(draw, [one.nsfw_retries for one in requests], self._flags)

    def _draw(self, requests: Sequence[SdxlImg2ImgRequest]) -> list[Pixels | InvalidOutput]:
        keys = [(one.together, self._blocks(one)) for one in requests]
        drawn: list[Pixels | InvalidOutput] = [InvalidOutput("not drawn")] * len(requests)
        for positions in groups(keys):
            images = run_batched(
                self._run,
                [requests[at] for at in positions],
                at_most=self._machine.batch,
                modules=self.modules,
            )
            for at, image in zip(positions, images, strict=True):
                drawn[at] = image if isinstance(image, InvalidOutput) else as_uint8(image)
        return drawn

    def _blocks(self, request: SdxlImg2ImgRequest) -> int:
        prompts = [request.prompt, *([request.negative] if request.guided else [])]
        return max(self._parts.text.embed(prompt).blocks for prompt in prompts)

    @torch.inference_mode()
    def _run(self, batch: Sequence[SdxlImg2ImgRequest]) -> list[Tensor]:
        first, steps = batch[0], scheduler(batch[0].scheduler, self._parts.schedule)
        seeds = [generator(one.seed) for one in batch]
        prompts, negatives = [one.prompt for one in batch], [one.negative for one in batch]
        clean = self._encode(batch, seeds)
        noise = noise_like(clean.shape[1:], seeds, clean)
        steps.set_timesteps(first.steps, device=clean.device)
        # As the pipeline counts: it goes the last `steps * strength` of the steps.
        start = first.steps - min(int(first.steps * first.strength), first.steps)
        since = steps.timesteps[start * steps.order :][:1].repeat(len(batch))
        noisy = steps.add_noise(clean, noise, since)
        self._pipeline.scheduler = scheduler(first.scheduler, self._parts.schedule)
        latents = self._pipeline(
            **embeddings(self._parts, prompts, negatives, self._blocks(first), first.guided),
            image=clean,
            latents=noisy,
            strength=first.strength,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale if first.guided else 0.0,
            output_type="latent",
        ).images
        return decode(self._parts.vae, latents)

    def _encode(
        self, batch: Sequence[SdxlImg2ImgRequest], seeds: Sequence[torch.Generator]
    ) -> Tensor:
        """Latents [B, 4, h, w] of the photos, drawn from what the VAE holds likely."""
        vae, unet = self._parts.vae, self._parts.unet
        images = as_tensor([one.image for one in batch], vae) * 2 - 1
        if dtype_of(vae) is torch.float16 and vae.config.force_upcast:
            with in_float32([vae]):
                found = [vae.encode(one.float()) for one in torch.split(images, DECODED_AT_ONCE)]
        else:
            found = [vae.encode(one) for one in torch.split(images, DECODED_AT_ONCE)]
        mean = torch.cat([one.latent_dist.mean for one in found])
        spread = torch.cat([one.latent_dist.std for one in found])
        drawn = mean + spread * noise_like(mean.shape[1:], seeds, mean)
        scaled: Tensor = drawn * vae.config.scaling_factor
        return scaled.to(device_of(unet), dtype_of(unet))

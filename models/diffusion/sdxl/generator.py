"""Generate images with SDXL: batches of equal settings, safety checks and retries."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.diffusion.safety import (
    SafeImage,
    SafetyChecker,
    UnsafeImage,
    generate_with_safety_check,
    retry_seed,
)
from models.diffusion.sdxl.parts import Scheduler, SdxlParts
from models.runtime.batching import (
    InvalidOutput,
    as_uint8,
    compute_in_groups,
    device_of,
    dtype_of,
    run_batched,
)
from models.runtime.hardware import Machine

GRID = 64


@dataclass(frozen=True)
class SdxlRequest:
    """An image to generate.

    Args:
        prompt, negative: final prompts in Compel's syntax (models/diffusion/prompts.py). An empty
            prompt is embedded like any other; it does not give zeros.
        seed: 0 .. 2**63 - 1.
        steps: denoising steps from pure noise, 1 or more.
        guidance_scale: how strictly the prompt is followed; 1 or less ignores the negative prompt.
        scheduler: sampler.
        nsfw_retries: how often a flagged image is generated again with another seed.
    """

    prompt: str
    negative: str
    seed: int
    steps: int = 30
    guidance_scale: float = 5.0
    scheduler: Scheduler = "unipc"
    nsfw_retries: int = 3

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt counts."""
        return self.guidance_scale > 1

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return self.steps, self.guidance_scale if self.is_guided else None, self.scheduler


class SdxlGenerator(ABC):
    """A pipeline of diffusers around SDXL's parts, optionally with a safety checker.

    Args:
        pipeline: its class.
        parts: SDXL, with the VAE that decodes.
        machine: gives the batch size.
        checker: finds images that are not safe for work; None: no image is checked.
        networks: further arguments of the pipeline.
    """

    def __init__(
        self,
        pipeline: Any,
        parts: SdxlParts,
        machine: Machine,
        checker: SafetyChecker | None,
        **networks: nn.Module,
    ) -> None:
        checkers = checker.modules if checker else ()
        self.modules: tuple[nn.Module, ...] = (*parts.modules, *networks.values(), *checkers)
        self._parts, self._machine, self._checker = parts, machine, checker
        self._pipeline = _without_device_hooks(pipeline)(
            **parts.components, **networks, add_watermarker=False
        )
        self._pipeline.set_progress_bar_config(disable=True)

    def compute(self, requests: Sequence[Any]) -> Iterator[SafeImage | UnsafeImage]:
        """Yield a uint8 RGB image per request, in order.

        A flagged image is generated again with the seed plus 1, 2, ... The result is `UnsafeImage`
        if all retries are flagged or the numbers are not finite.

        Raises:
            PromptError: a prompt can't be parsed.
            WrongCheckpointError: a request wants few steps and there is no U-Net for their number.
        """

        def generate(indices: Sequence[int], attempt: int) -> list[Pixels | InvalidOutput]:
            chosen = (requests[index] for index in indices)
            return self._generate(
                [replace(request, seed=retry_seed(request.seed, attempt)) for request in chosen]
            )

        flags = self._checker.flags if self._checker else None
        retries = [request.nsfw_retries for request in requests]
        return generate_with_safety_check(generate, retries, flags)

    def _generate(self, requests: Sequence[Any]) -> list[Pixels | InvalidOutput]:
        """An image per request, in order.

        Only requests with equal text blocks share a batch, because padding a prompt to another's
        blocks would change its image.
        """

        def compute(_: Hashable, indices: list[int]) -> Iterator[Pixels | InvalidOutput]:
            group = [requests[index] for index in indices]
            self._prepare(group[0])
            at_most = self._machine.batch
            for image in run_batched(self._run, group, at_most=at_most, modules=self.modules):
                yield image if isinstance(image, InvalidOutput) else as_uint8(image)

        keys = [(request.batch_key, self._count_blocks(request)) for request in requests]
        return compute_in_groups(keys, compute)

    def _prepare(self, request: Any) -> None:  # noqa: B027  # few need it
        """Called with one request of each group before its batches."""

    @abstractmethod
    def _run(self, batch: Sequence[Any]) -> list[Tensor]:
        """Images [3, H, W] in 0..1 of requests of one group."""

    def _count_blocks(self, request: SdxlRequest) -> int:
        """The number of blocks of 77 tokens that the prompts of a request need."""
        prompts = [request.prompt, *([request.negative] if request.is_guided else [])]
        return max(self._parts.text.embed(prompt).blocks for prompt in prompts)

    def _text_arguments(self, batch: Sequence[SdxlRequest]) -> dict[str, Any]:
        """The arguments of a pipeline that say what to draw, and how strictly."""
        first, unet = batch[0], self._parts.unet
        blocks = self._count_blocks(first)
        tokens, pooled = self._parts.text.batch([request.prompt for request in batch], blocks)
        embeddings = {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
        if first.is_guided:
            negatives = [request.negative for request in batch]
            tokens, pooled = self._parts.text.batch(negatives, blocks)
            embeddings |= {
                "negative_prompt_embeds": tokens,
                "negative_pooled_prompt_embeds": pooled,
            }
        return {
            **{
                name: tensor.to(device_of(unet), dtype_of(unet))
                for name, tensor in embeddings.items()
            },
            "num_inference_steps": first.steps,
            "guidance_scale": first.guidance_scale if first.is_guided else 0.0,
            "output_type": "latent",
        }


def check_size(width: int, height: int) -> None:
    """Refuse a size that the pipelines would silently crop.

    Raises:
        ValueError: a side is no multiple of 64.
    """
    if min(width, height) < GRID or width % GRID or height % GRID:
        raise ValueError(f"size {width}x{height}: give multiples of {GRID} px")


def _without_device_hooks(pipeline: Any) -> Any:
    """A subclass of a pipeline class that runs on its U-Net's device.

    In each call, diffusers' own searches all modules for hooks that move them; there are none here.
    """

    class WithoutDeviceHooks(pipeline):  # type: ignore[misc]  # a class of diffusers
        @property
        def _execution_device(self) -> torch.device:
            return device_of(self.unet)

        def maybe_free_model_hooks(self) -> None:
            pass

    return WithoutDeviceHooks

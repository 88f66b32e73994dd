"""Generate images with pipelines of diffusers: equal settings share batches; safety checks."""

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
from models.diffusion.schedulers import Sampler
from models.runtime.batching import (
    InvalidOutput,
    as_uint8,
    compute_in_groups,
    device_of,
    dtype_of,
    run_batched,
)
from models.runtime.hardware import Machine


@dataclass(frozen=True)
class GenerationRequest:
    """An image to generate.

    Args:
        prompt, negative: final prompts, as the text encoder of the network reads them.
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
    scheduler: Sampler = "unipc"
    nsfw_retries: int = 3

    @property
    def is_guided(self) -> bool:
        """Whether the negative prompt counts."""
        return self.guidance_scale > 1

    @property
    def batch_key(self) -> tuple[Hashable, ...]:
        """What the images of a batch have in common."""
        return self.steps, self.guidance_scale if self.is_guided else None, self.scheduler


class PipelineGenerator(ABC):
    """A pipeline of diffusers around networks, optionally with a safety checker.

    Args:
        pipeline: the pipeline, of a class without device hooks (`without_device_hooks`).
        networks: all that the pipeline uses.
        machine: gives the batch size.
        checker: finds images that are not safe for work; None: no image is checked.
    """

    def __init__(
        self,
        pipeline: Any,
        networks: Sequence[nn.Module],
        machine: Machine,
        checker: SafetyChecker | None,
    ) -> None:
        checkers = checker.modules if checker else ()
        self.modules: tuple[nn.Module, ...] = (*networks, *checkers)
        self._pipeline, self._machine, self._checker = pipeline, machine, checker
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
        """An image per request, in order."""

        def compute(_: Hashable, indices: list[int]) -> Iterator[Pixels | InvalidOutput]:
            group = [requests[index] for index in indices]
            self._prepare(group[0])
            at_most = self._machine.batch
            for image in run_batched(self._run, group, at_most=at_most, modules=self.modules):
                yield image if isinstance(image, InvalidOutput) else as_uint8(image)

        return compute_in_groups([self._group_key(request) for request in requests], compute)

    def _group_key(self, request: Any) -> Hashable:
        """What requests that share a batch have in common."""
        key: Hashable = request.batch_key
        return key

    def _prepare(self, request: Any) -> None:  # noqa: B027  # few need it
        """Called with one request of each group before its batches."""

    @abstractmethod
    def _run(self, batch: Sequence[Any]) -> list[Tensor]:
        """Images [3, H, W] in 0..1 of requests of one group."""


def run_arguments(
    request: GenerationRequest, texts: dict[str, Tensor], unet: Any
) -> dict[str, Any]:
    """The arguments of a pipeline that say what to draw, and how strictly.

    Args:
        request: the first of a batch.
        texts: embeddings by the name of their argument; moved to the U-Net's device and dtype.
    """
    return {
        **{name: tensor.to(device_of(unet), dtype_of(unet)) for name, tensor in texts.items()},
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale if request.is_guided else 0.0,
        "output_type": "latent",
    }


def without_device_hooks(pipeline: Any) -> Any:
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

"""Generate images with SDXL: what all its pipelines share."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.diffusion.generator import (
    GenerationRequest,
    PipelineGenerator,
    run_arguments,
    without_device_hooks,
)
from models.diffusion.safety import SafetyChecker
from models.diffusion.sdxl.parts import SdxlParts
from models.runtime.hardware import Machine


@dataclass(frozen=True)
class SdxlRequest(GenerationRequest):
    """An image to generate with SDXL.

    The prompts are in Compel's syntax (models/diffusion/prompts.py). An empty prompt is embedded
    like any other; it does not give zeros.
    """


class SdxlGenerator(PipelineGenerator):
    """A pipeline of diffusers around SDXL's parts, optionally with a safety checker.

    Only requests with equal text blocks share a batch, because padding a prompt to another's blocks
    would change its image.

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
        built = without_device_hooks(pipeline)(
            **parts.components, **networks, add_watermarker=False
        )
        super().__init__(built, (*parts.modules, *networks.values()), machine, checker)
        self._parts = parts

    def _group_key(self, request: Any) -> Hashable:
        return request.batch_key, self._count_blocks(request)

    def _count_blocks(self, request: GenerationRequest) -> int:
        """The number of blocks of 77 tokens that the prompts of a request need."""
        prompts = [request.prompt, *([request.negative] if request.is_guided else [])]
        return max(self._parts.text.embed(prompt).blocks for prompt in prompts)

    def _text_arguments(self, batch: Sequence[GenerationRequest]) -> dict[str, Any]:
        """The arguments of a pipeline that say what to draw, and how strictly."""
        blocks = self._count_blocks(batch[0])
        tokens, pooled = self._parts.text.batch([request.prompt for request in batch], blocks)
        texts = {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
        if batch[0].is_guided:
            negatives = [request.negative for request in batch]
            tokens, pooled = self._parts.text.batch(negatives, blocks)
            texts |= {"negative_prompt_embeds": tokens, "negative_pooled_prompt_embeds": pooled}
        return run_arguments(batch[0], texts, self._parts.unet)

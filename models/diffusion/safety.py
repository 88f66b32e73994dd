"""Detect images that are not safe for work, and generate them again with another seed.

The detector is the checker that was published with Stable Diffusion 1. It compares CLIP's embedding
of an image with those of 17 concepts (described by Rando et al., "Red-Teaming the Stable Diffusion
Safety Filter", 2022). It errs in both directions: it may flag skin tones in a product photo, and it
does not flag violence.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.data.pixels import Pixels
from models.runtime.batching import InvalidOutput, device_of, dtype_of, run_batched
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_shared, silence_loggers

log = logging.getLogger("synthset.models")

# Per uint8 RGB image, whether it is not safe for work.
Flags = Callable[[Sequence[Pixels]], Sequence[bool]]
_SEEDS = 2**63


@dataclass(frozen=True)
class SafeImage:
    """A usable image, and how many safety retries it took."""

    image: Pixels
    retries: int = 0


@dataclass(frozen=True)
class UnsafeImage(InvalidOutput):
    """The reason why there is no usable image, and how many safety retries were made."""

    retries: int = 0


def generate_with_safety_check(
    generate: Callable[[Sequence[int], int], Sequence[Pixels | InvalidOutput]],
    retries: Sequence[int],
    flags: Flags | None,
) -> Iterator[SafeImage | UnsafeImage]:
    """Generate images, and flagged ones again with another seed, up to a number of retries.

    Args:
        generate: returns an image or `InvalidOutput` for each of some indices, at an attempt from 0
            on. The attempt changes the image's seed (`retry_seed`).
        retries: per index, how often its image may be generated again.
        flags: says which uint8 RGB images are not safe for work; None: no image is checked.
    """
    results: list[SafeImage | UnsafeImage] = [UnsafeImage("not generated")] * len(retries)
    waiting, attempt = list(range(len(retries))), 0
    while waiting:
        outputs = dict(zip(waiting, generate(waiting, attempt), strict=True))
        flagged = _find_flagged(outputs, flags)
        for index, output in outputs.items():
            if isinstance(output, InvalidOutput):
                results[index] = UnsafeImage(output.reason, attempt)
            elif index not in flagged:
                results[index] = SafeImage(output, attempt)
            elif attempt >= retries[index]:
                times = "once" if attempt == 0 else f"{attempt + 1} times"
                results[index] = UnsafeImage(f"flagged as not safe for work {times}", attempt)
        attempt += 1
        waiting = [index for index in flagged if attempt <= retries[index]]
        if waiting:
            log.info("generating %d images again: flagged as not safe for work", len(waiting))
    yield from results


def retry_seed(seed: int, attempt: int) -> int:
    """The seed of an attempt from 0 on: seed + attempt, wrapped to 0 .. 2**63 - 1."""
    return (seed + attempt) % _SEEDS


def _find_flagged(outputs: dict[int, Pixels | InvalidOutput], flags: Flags | None) -> list[int]:
    images = {
        index: output for index, output in outputs.items() if not isinstance(output, InvalidOutput)
    }
    if flags is None or not images:
        return []
    results = flags([image[..., :3] for image in images.values()])
    return [index for index, is_flagged in zip(images, results, strict=True) if is_flagged]


class SafetyChecker:
    """CompVis/stable-diffusion-safety-checker, or the ``safety_checker`` of an SD 1.5 checkpoint.

    Args:
        network: a `StableDiffusionSafetyChecker`.
        processor: its `CLIPImageProcessor`.
        batch: images per batch.
    """

    def __init__(self, network: Any, processor: Any, batch: int) -> None:
        self.modules: tuple[nn.Module, ...] = (network,)
        self._network, self._processor, self._batch = network, processor, batch

    @classmethod
    def load(cls, folder: Path, *, machine: Machine) -> "SafetyChecker":
        """Load from a folder with config, weights and ``preprocessor_config.json``.

        They may also lie in its folders ``safety_checker/`` and ``feature_extractor/``.

        Raises:
            WrongCheckpointError: the folder holds no such network.
        """
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from transformers import CLIPImageProcessor

        inner = folder / "safety_checker"
        network = load_shared(
            StableDiffusionSafetyChecker, inner if inner.is_dir() else folder, machine
        )
        settings = folder / "feature_extractor" if inner.is_dir() else folder
        if not (settings / "preprocessor_config.json").is_file():
            raise WrongCheckpointError(f"{settings}: no preprocessor_config.json; fetch it again")
        processor = CLIPImageProcessor.from_pretrained(settings, local_files_only=True)
        return cls(network, processor, machine.batch)

    def flags(self, images: Sequence[Pixels]) -> list[bool]:
        """Per uint8 RGB image of any size, whether it is not safe for work.

        An image on which the network gives no finite numbers is flagged.
        """
        scores = run_batched(self._score, images, at_most=self._batch, modules=self.modules)
        return [isinstance(score, InvalidOutput) or bool(score > 0.5) for score in scores]

    @torch.inference_mode()
    def _score(self, images: Sequence[Pixels]) -> list[Tensor]:
        """Per image 1 if it is flagged, 0 if not, NaN if the network's numbers are not finite."""
        pixels = self._processor(images=list(images), return_tensors="pt").pixel_values
        pixels = pixels.to(device=device_of(self._network), dtype=dtype_of(self._network))
        # The network blackens the images that it flags, so it gets placeholders.
        placeholders = [np.zeros(1) for _ in images]
        embedded: list[Tensor] = []
        hook = self._network.visual_projection.register_forward_hook(
            lambda _module, _inputs, output: embedded.append(output)
        )
        # The network logs that it returns a black image, which is not the case here.
        with silence_loggers("diffusers.pipelines.stable_diffusion.safety_checker"):
            try:
                _, flagged = self._network(clip_input=pixels, images=placeholders)
            finally:
                hook.remove()
        # The network does not flag images whose embedding is not finite.
        finite = torch.isfinite(embedded[0]).all(dim=1).tolist()
        return [
            torch.tensor(float(is_flagged) if is_finite else np.nan)
            for is_flagged, is_finite in zip(flagged, finite, strict=True)
        ]

"""Which images are not safe for work: the checker that Stable Diffusion 1 was published with.

It compares CLIP's embedding of an image with those of 17 concepts (Rando et al., "Red-Teaming the
Stable Diffusion Safety Filter", 2022, describe it). It errs to both sides: skin tones in a product
photo may be flagged, violence is not.
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

Flags = Callable[[Sequence[Pixels]], Sequence[bool]]
_SEEDS = 2**63


@dataclass(frozen=True)
class SafeImage:
    """An image that may be used, and how often it was drawn anew for that."""

    image: Pixels
    retries: int


@dataclass(frozen=True)
class UnsafeImage(InvalidOutput):
    """An image that may not be used, and how often it was drawn anew all the same."""

    retries: int = 0


def generate_with_safety_check(
    draw: Callable[[Sequence[int], int], Sequence[Pixels | InvalidOutput]],
    retries: Sequence[int],
    flags: Flags | None,
) -> Iterator[SafeImage | UnsafeImage]:
    """Draw images, and those that are flagged once more with another seed, up to a bound.

    Args:
        draw: an image, or why there is none, for each of some places, at an attempt from 0 on; the
            attempt changes the image's seed (`seed_at`).
        retries: per place, how often it may be drawn anew.
        flags: which of some uint8 RGB images are not safe for work; None: none is looked at.
    """
    results: list[SafeImage | UnsafeImage] = [UnsafeImage("not drawn")] * len(retries)
    waiting, attempt = list(range(len(retries))), 0
    while waiting:
        drawn = dict(zip(waiting, draw(waiting, attempt), strict=True))
        flagged = _flagged(drawn, flags)
        for at, image in drawn.items():
            if isinstance(image, InvalidOutput):
                results[at] = UnsafeImage(image.reason, attempt)
            elif at not in flagged:
                results[at] = SafeImage(image, attempt)
            elif attempt >= retries[at]:
                times = "once" if attempt == 0 else f"{attempt + 1} times"
                results[at] = UnsafeImage(f"flagged as not safe for work {times}", attempt)
        attempt += 1
        waiting = [at for at in flagged if attempt <= retries[at]]
        if waiting:
            log.info("%d images drawn anew: flagged as not safe for work", len(waiting))
    yield from results


def seed_at(seed: int, attempt: int) -> int:
    """The seed of an image's attempt from 0 on: the next one each time, within 0 .. 2**63 - 1."""
    return (seed + attempt) % _SEEDS


def _flagged(drawn: dict[int, Pixels | InvalidOutput], flags: Flags | None) -> list[int]:
    images = {at: one for at, one in drawn.items() if not isinstance(one, InvalidOutput)}
    if flags is None or not images:
        return []
    found = flags([image[..., :3] for image in images.values()])
    return [at for at, flag in zip(images, found, strict=True) if flag]


class SafetyChecker:
    """CompVis/stable-diffusion-safety-checker, or the ``safety_checker`` of an SD 1.5 checkpoint.

    Args:
        network: a `StableDiffusionSafetyChecker`.
        processor: its `CLIPImageProcessor`.
        batch: images at a time.
    """

    def __init__(self, network: Any, processor: Any, batch: int) -> None:
        self.modules: tuple[nn.Module, ...] = (network,)
        self._network, self._processor, self._batch = network, processor, batch

    @classmethod
    def load(cls, folder: Path, *, machine: Machine) -> "SafetyChecker":
        """From a folder with config, weights and ``preprocessor_config.json``; or with them in
        ``safety_checker/`` and ``feature_extractor/``.

        Raises:
            WrongCheckpointError: the folder holds no such network.
        """
        from diffusers.pipelines.stable_diffusion.safety_checker import (
            StableDiffusionSafetyChecker,
        )
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
        """For uint8 RGB images of any sizes, which are not safe for work. An image on which the
        network gives no finite numbers is flagged.
        """
        checked = run_batched(self._run, images, at_most=self._batch, modules=self.modules)
        return [isinstance(one, InvalidOutput) or bool(one > 0.5) for one in checked]

    @torch.inference_mode()
    def _run(self, images: Sequence[Pixels]) -> list[Tensor]:
        pixels = self._processor(images=list(images), return_tensors="pt").pixel_values
        pixels = pixels.to(device=device_of(self._network), dtype=dtype_of(self._network))
        # It blackens the images it flags; ours are only told of.
        decoys = [np.zeros(1) for _ in images]
        embedded: list[Tensor] = []
        watch = self._network.visual_projection.register_forward_hook(
            lambda _module, _given, made: embedded.append(made)
        )
        # Its own line says that a black image is returned: none is.
        with silence_loggers("diffusers.pipelines.stable_diffusion.safety_checker"):
            try:
                _, flagged = self._network(clip_input=pixels, images=decoys)
            finally:
                watch.remove()
        # It takes numbers that are not finite for a harmless image.
        sound = torch.isfinite(embedded[0]).all(dim=1).tolist()
        scores = [float(one) if fit else np.nan for one, fit in zip(flagged, sound, strict=True)]
        return [torch.tensor(score) for score in scores]

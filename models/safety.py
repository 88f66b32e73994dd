"""Which images are not safe for work: the checker that Stable Diffusion 1 was published with.

It compares CLIP's embedding of an image with those of 17 concepts (Rando et al., "Red-Teaming the
Stable Diffusion Safety Filter", 2022, describe it). It errs to both sides: skin tones in a product
photo may be flagged, violence is not.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.batches import Unusable, device_of, dtype_of, guarded
from models.hardware import Machine
from models.pixels import Pixels
from models.pretrained import WrongCheckpoint, load_strictly
from models.quiet import quiet


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
            WrongCheckpoint: the folder holds no such network.
        """
        from diffusers.pipelines.stable_diffusion.safety_checker import (
            StableDiffusionSafetyChecker,
        )
        from transformers import CLIPImageProcessor

        inner = folder / "safety_checker"
        network = load_strictly(
            StableDiffusionSafetyChecker, inner if inner.is_dir() else folder, machine
        )
        settings = folder / "feature_extractor" if inner.is_dir() else folder
        if not (settings / "preprocessor_config.json").is_file():
            raise WrongCheckpoint(f"{settings}: no preprocessor_config.json; fetch it again")
        processor = CLIPImageProcessor.from_pretrained(settings, local_files_only=True)
        return cls(network, processor, machine.batch)

    def flags(self, images: Sequence[Pixels]) -> list[bool]:
        """For uint8 RGB images of any sizes, which are not safe for work. An image on which the
        network gives no finite numbers is flagged.
        """
        checked = guarded(self._run, images, at_most=self._batch, modules=self.modules)
        return [isinstance(one, Unusable) or bool(one > 0.5) for one in checked]

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
        with quiet("diffusers.pipelines.stable_diffusion.safety_checker"):
            try:
                _, flagged = self._network(clip_input=pixels, images=decoys)
            finally:
                watch.remove()
        # It takes numbers that are not finite for a harmless image.
        sound = torch.isfinite(embedded[0]).all(dim=1).tolist()
        scores = [float(one) if fit else np.nan for one, fit in zip(flagged, sound, strict=True)]
        return [torch.tensor(score) for score in scores]

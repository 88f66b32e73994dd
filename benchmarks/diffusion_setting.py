"""Sizes, device and networks of the benchmarks of the diffusion profile."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.random_weights import write
from flows.config.recipe import load_recipe
from models.runtime.hardware import Machine

PROMPT = "a photo of a mug on a wooden table by a window"
NEGATIVE = "blurry, cropped"
# Per photo: seven views, one scene of each, and its four shifts. Networks with random weights find
# no objects, so no mask may be rejected.
REFERENCE = (
    "generators.multiview.augment.n_augmentations=1",
    "generators.multiview.background.n_backgrounds=1",
    "generators.multiview.outpaint.grid_size=2",
    "generators.multiview.segment.min_score=0",
    "generators.multiview.segment.min_compactness=0",
    "generators.multiview.segment.min_confidence=0",
)
TINY_REFERENCE = (
    *REFERENCE,
    "generators.multiview.multiview.size=64",
    "generators.multiview.multiview.paint_size=64",
    "generators.multiview.multiview.steps=2",
    "generators.multiview.background.width=128",
    "generators.multiview.background.height=128",
    "generators.multiview.background.steps=2",
    "generators.multiview.outpaint.steps=2",
)


@dataclass(frozen=True)
class Sizes:
    """Inputs of the networks: sides in px, sampling steps, and tokens of a caption."""

    small: int
    large: int
    scene: tuple[int, int]
    sheet: tuple[int, int]
    steps: dict[str, int]
    tokens: int


FULL = Sizes(
    320, 1280, (768, 1024), (960, 640), {"background": 30, "outpaint": 25, "multiview": 28}, 30
)
TINY = Sizes(32, 64, (128, 128), (192, 128), {"background": 2, "outpaint": 2, "multiview": 2}, 5)


@dataclass(frozen=True)
class Setting:
    """Sizes and device; random weights are written to the folder ``checkpoints``."""

    checkpoints: Path
    machine: Machine
    tiny: bool

    @property
    def sizes(self) -> Sizes:
        """The published sizes, or the tiny ones."""
        return TINY if self.tiny else FULL

    @property
    def settings(self) -> Any:
        """Settings of the recipe ``multiview`` with one copy and one scene."""
        recipe = load_recipe("multiview", list(TINY_REFERENCE if self.tiny else REFERENCE))
        return recipe.generators["multiview"]

    def folder(self, name: str) -> Path:
        """Return the folder of a checkpoint; write the checkpoint if it is missing."""
        device = None if self.tiny else self.machine.device
        return write(name, self.checkpoints, device, self.machine.dtype)

    def image(self, height: int, width: int, seed: int = 0) -> Any:
        """Return a smooth random image with a dark disc, uint8 RGB."""
        return draw_image(height, width, seed)


@dataclass(frozen=True)
class Loaded:
    """The loaded networks of a stage; ``compute`` returns a result per request, in order."""

    compute: Callable[[Sequence[Any]], Iterable[Any]]
    modules: tuple[Any, ...] = ()


Loader = Callable[[Setting], Loaded]


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds until the device has finished all that ``work`` started."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def draw_image(height: int, width: int, seed: int = 0) -> Any:
    """Return a smooth random image with a dark disc, uint8 RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 255, (8, 8, 3), dtype=np.uint8)
    drawn = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    drawn[disc(height, width)] = 20
    return drawn


def disc(height: int, width: int) -> Any:
    """Return the mask of the disc of `draw_image`, bool."""
    rows, columns = np.mgrid[:height, :width]
    return (rows / height - 0.5) ** 2 + (columns / width - 0.5) ** 2 < 0.06


def silence_libraries() -> None:
    """Switch off progress bars and warnings of diffusers and transformers."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()

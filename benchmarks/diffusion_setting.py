"""Where the benchmarks of the diffusion profile run, and at what sizes."""

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
# no objects, and their masks must be mended like any other.
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
    """What the networks are given: sides in px, steps, and tokens of a caption."""

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
    """Where and how large: ``checkpoints`` is a folder that fills up with random weights."""

    checkpoints: Path
    machine: Machine
    tiny: bool

    @property
    def sizes(self) -> Sizes:
        """The published sizes, or tiny ones."""
        return TINY if self.tiny else FULL

    @property
    def settings(self) -> Any:
        """What is made of a photo: the recipe ``multiview`` with one copy and one scene."""
        recipe = load_recipe("multiview", list(TINY_REFERENCE if self.tiny else REFERENCE))
        return recipe.generators["multiview"]

    def folder(self, name: str) -> Path:
        """A checkpoint's folder."""
        device = None if self.tiny else self.machine.device
        return write(name, self.checkpoints, device, self.machine.dtype)

    def image(self, height: int, width: int, seed: int = 0) -> Any:
        """A smooth random picture with a dark disc, uint8 RGB."""
        return picture(height, width, seed)


@dataclass(frozen=True)
class Loaded:
    """A stage's networks in place: ``compute`` gives a result per request, in order."""

    compute: Callable[[Sequence[Any]], Iterable[Any]]
    modules: tuple[Any, ...] = ()


Loader = Callable[[Setting], Loaded]


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds until all that ``work`` has asked of the device is done."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def picture(height: int, width: int, seed: int = 0) -> Any:
    """A smooth random picture with a dark disc, uint8 RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 255, (8, 8, 3), dtype=np.uint8)
    drawn = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    drawn[disc(height, width)] = 20
    return drawn


def disc(height: int, width: int) -> Any:
    """Where the disc of a `picture` is, bool."""
    rows, columns = np.mgrid[:height, :width]
    return (rows / height - 0.5) ** 2 + (columns / width - 0.5) ** 2 < 0.06


def without_reports() -> None:
    """The libraries' progress bars and remarks on settings do not belong between figures."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()

"""Where the benchmarks of the diffusion profile run, and at what sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.random_weights import write
from models.hardware import Machine

PROMPT = "a photo of a mug on a wooden table by a window"
NEGATIVE = "blurry, cropped"


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

    def folder(self, name: str) -> Path:
        """A checkpoint's folder."""
        device = None if self.tiny else self.machine.device
        return write(name, self.checkpoints, device, self.machine.dtype)

    def image(self, height: int, width: int, seed: int = 0) -> Any:
        """A smooth random picture with a dark disc, uint8 RGB."""
        rng = np.random.default_rng(seed)
        coarse = rng.integers(90, 255, (8, 8, 3), dtype=np.uint8)
        picture = np.array(
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        )
        rows, columns = np.mgrid[:height, :width]
        inside = (rows / height - 0.5) ** 2 + (columns / width - 0.5) ** 2 < 0.06
        picture[inside] = 20
        return picture


@dataclass(frozen=True)
class Loaded:
    """A stage with its networks in place: ``run`` makes as many results as it is told."""

    run: Callable[[int], None]
    modules: tuple[Any, ...] = ()


Loader = Callable[[Setting], Loaded]


def without_reports() -> None:
    """The libraries' progress bars and remarks on settings do not belong between figures."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()

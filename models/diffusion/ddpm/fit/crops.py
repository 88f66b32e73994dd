"""Crops of a class as a training reads them: in which order, how often, and with what pictures.

Source of the edges: Canny, "A Computational Approach to Edge Detection", PAMI 1986.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from models.data.pixels import Pixels
from models.diffusion.ddpm.chain import as_signed
from models.diffusion.finetuning.loop import photo_of

# How crops are changed in a draw: not at all, mirrored at random, or also turned by 90 degrees.
Turns = Literal["none", "mirrored", "all"]

# The range of the random thresholds of the edges.
LEAST_THRESHOLD, LARGEST_THRESHOLD = 1, 255


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of a class in the network's size.

    Args:
        images: uint8 SxSx3.
        maps: what the images follow, such as segmentation maps, uint8 SxSxC, one per image; empty:
            nothing, or edges.
        edges: the images follow their edges, which are found with other thresholds in each draw.
        repeats: how often a crop is drawn before all are drawn again; empty: once.
        turns: how crops and their maps are changed, with other turns in each draw.

    Raises:
        ValueError: there are no crops, or the lists have different lengths.
    """

    images: Sequence[Pixels]
    maps: Sequence[Pixels] = ()
    edges: bool = False
    repeats: Sequence[int] = ()
    turns: Turns = "none"

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("crops: there are none; give photos that show the class")
        for name, entries in (("maps", self.maps), ("repeats", self.repeats)):
            if len(entries) not in (0, len(self.images)):
                raise ValueError(
                    f"{name}: {len(entries)} for {len(self.images)} crops; give one for each"
                )
        if self.edges and self.maps:
            raise ValueError("crops: both maps and edges; choose what the images follow")

    @property
    def picture_channels(self) -> int | None:
        """Channels of what the images follow; None if they follow nothing."""
        if self.edges:
            return 1
        return self.maps[0].shape[2] if self.maps else None

    @cached_property
    def drawn(self) -> list[int]:
        """The index of each crop, as often as it is drawn."""
        repeats = self.repeats or [1] * len(self.images)
        return [index for index, count in enumerate(repeats) for _ in range(count)]

    def chosen(self, seed: int, draw: int, size: int) -> list[int]:
        """The indices of the crops of a draw; see `batch`."""
        places = range(draw * size, (draw + 1) * size)
        return [self.drawn[photo_of(seed, place, len(self.drawn))] for place in places]

    def batch(self, seed: int, draw: int, size: int) -> tuple[Tensor, Tensor | None]:
        """Crops and pictures of a draw in -1..1: [B, 3, S, S], and [B, C, S, S] or None.

        Args:
            seed: of the training.
            draw: 0, 1, ...
            size: crops per draw.
        """
        images, pictures = [], []
        for place, index in enumerate(self.chosen(seed, draw, size)):
            rng = np.random.default_rng((seed, draw * size + place))
            image, *maps = self._turned(index, rng)
            images.append(as_signed(image))
            if self.picture_channels is not None:
                pictures.append(as_signed(maps[0] if maps else random_edges(image, rng)))
        return torch.stack(images), torch.stack(pictures) if pictures else None

    def _turned(self, index: int, rng: np.random.Generator) -> list[Pixels]:
        """A crop, and its map if there are maps, changed in the same way."""
        found = [self.images[index], *([self.maps[index]] if self.maps else [])]
        if self.turns == "none":
            return found
        mirrored, quarters = int(rng.integers(2)), int(rng.integers(4))
        if mirrored:
            found = [pixels[:, ::-1] for pixels in found]
        if self.turns == "all":
            found = [np.rot90(pixels, quarters) for pixels in found]
        return [np.ascontiguousarray(pixels) for pixels in found]

    def picture(self, index: int, rng: np.random.Generator) -> Pixels:
        """What an image follows, uint8 SxSxC."""
        if self.maps:
            return self.maps[index]
        return random_edges(self.images[index], rng)


def random_edges(image: Pixels, rng: np.random.Generator) -> Pixels:
    """White edges on black, uint8 HxWx1, found with two random thresholds in 1..255.

    Args:
        image: uint8 HxWx3 RGB.
        rng: draws the thresholds.
    """
    low, high = sorted(rng.integers(LEAST_THRESHOLD, LARGEST_THRESHOLD + 1, 2).tolist())
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.Canny(grey, low, high), np.uint8)[..., None]


def repeat_small(sides: Sequence[float], below: float, times: int) -> list[int]:
    """How often each crop is drawn: ``times`` if its object is small, else once.

    Args:
        sides: mean of height and width of each object's box, px of the crop.
        below: objects with smaller sides are small.
        times: 1 or more.
    """
    return [times if side < below else 1 for side in sides]

"""A bank of shapes that new objects follow: masks and edges of the crops of a class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.data.pixels import Bools, Pixels
from models.diffusion.ddpm.fit.crops import random_edges


@dataclass(frozen=True, eq=False)
class Shape:
    """What a new object follows.

    ``edges`` are white on black, uint8 SxSx1; ``mask`` is the object, bool SxS; ``crop`` is the
    index of the crop that both are of, ``flipped`` whether they are its mirror image.
    """

    edges: Pixels
    mask: Bools
    crop: int
    flipped: bool


@dataclass(frozen=True, eq=False)
class ShapeBank:
    """Crops of a class, and the masks of their objects.

    Args:
        images: uint8 SxSx3, one or more.
        masks: bool SxS, one per image; they may be of Segment Anything, GrabCut, or given.
    """

    images: Sequence[Pixels]
    masks: Sequence[Bools]

    def draw(self, rng: np.random.Generator) -> Shape:
        """A shape of a random crop, with edges of random thresholds, mirrored in half of all draws.

        The edges are those of the whole crop, as in the training.
        """
        crop = int(rng.integers(len(self.images)))
        edges, mask = random_edges(self.images[crop], rng), self.masks[crop]
        flipped = bool(rng.integers(2))
        if flipped:
            edges, mask = edges[:, ::-1].copy(), mask[:, ::-1].copy()
        return Shape(edges, mask, crop, flipped)

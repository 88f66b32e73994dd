"""What every detector of a training can do, whichever library it is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of an image.

    ``boxes`` is float32 [N, 4]: left, top, right, bottom in px of the network's input. ``labels``
    is int64 [N]: indices of classes, from 0.
    """

    boxes: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Detections(Objects):
    """Objects that a detector found; ``scores`` is float32 [N], 0..1, the highest first."""

    scores: Tensor


class Detector(Protocol):
    """A network that finds objects. All images of a batch have the same square size."""

    def losses(self, images: Tensor, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """The parts of the loss by name; their sum is minimised.

        Args:
            images: float32 [B, 3, S, S], 0..1.
            targets: one per image; an image without an object has 0 boxes.
        """

    def detect(self, images: Tensor) -> list[Detections]:
        """What is found in each image, float32 [B, 3, S, S], 0..1; at most 100 objects."""

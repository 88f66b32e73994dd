"""How a large image is cut for a convolutional network, and put together again."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """One piece of a side, in source pixels: read ``start:stop``, keep ``first:last`` of it.

    Over the first ``rise`` and the last ``fall`` kept pixels it fades into its neighbours.
    """

    start: int
    stop: int
    first: int
    last: int
    rise: int = 0
    fall: int = 0

    def weights(self, scale: int) -> Tensor:
        """float32 [(last - first) * scale]: this piece's share of each target pixel, 0..1."""
        weights = torch.ones((self.last - self.first) * scale)
        for length, end in ((self.rise * scale, 1), (self.fall * scale, -1)):
            if length:
                ramp = (torch.arange(length) + 0.5) / length
                if end > 0:
                    weights[:length] = ramp
                else:
                    weights[-length:] = ramp.flip(0)
        return weights


@dataclass(frozen=True)
class Tile:
    """A rectangle of the source."""

    rows: Cut
    columns: Cut

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the network reads."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def add_to(self, canvas: Tensor, result: Tensor, scale: int) -> None:
        """Add the kept part of ``result`` [C, h*scale, w*scale], by its shares, to ``canvas``."""
        rows, columns = self.rows, self.columns
        kept = result[
            :,
            (rows.first - rows.start) * scale : (rows.last - rows.start) * scale,
            (columns.first - columns.start) * scale : (columns.last - columns.start) * scale,
        ].to(canvas)
        if rows.rise or rows.fall:
            kept = kept * rows.weights(scale).to(canvas)[:, None]
        if columns.rise or columns.fall:
            kept = kept * columns.weights(scale).to(canvas)
        canvas[
            :,
            rows.first * scale : rows.last * scale,
            columns.first * scale : columns.last * scale,
        ] += kept


def whole(height: int, width: int) -> list[Tile]:
    """The image as one piece."""
    return [Tile(Cut(0, height, 0, height), Cut(0, width, 0, width))]


def hard_tiles(height: int, width: int, tile: int, pad: int) -> list[Tile]:
    """Real-ESRGAN's own cut: squares of ``tile`` from the top left, each read with up to ``pad``
    neighbouring pixels and pasted without blending. Shows seams where ``pad`` is small.
    """
    return _product(_hard_cuts(height, tile, pad), _hard_cuts(width, tile, pad))


def soft_tiles(
    height: int, width: int, tile: int, pad: int, feather: int, multiple: int
) -> list[Tile]:
    """Pieces of equal size, about ``tile`` plus their surroundings, that fade into one another.

    Every kept pixel has ``pad`` real neighbours (less at the image's border), and over ``feather``
    pixels on both sides of a joint two pieces share. All edges lie on multiples of ``multiple``, as
    ``height`` and ``width`` must.
    """
    rows = _soft_cuts(height, tile, pad, feather, multiple)
    return _product(rows, _soft_cuts(width, tile, pad, feather, multiple))


def _product(rows: Sequence[Cut], columns: Sequence[Cut]) -> list[Tile]:
    return [Tile(row, column) for row in rows for column in columns]


def _hard_cuts(length: int, tile: int, pad: int) -> list[Cut]:
    cuts = []
    for first in range(0, length, tile):
        last = min(first + tile, length)
        cuts.append(Cut(max(0, first - pad), min(length, last + pad), first, last))
    return cuts


def _soft_cuts(length: int, tile: int, pad: int, feather: int, multiple: int) -> list[Cut]:
    margin = pad + feather
    window = -(-(tile + 2 * margin) // multiple) * multiple
    if window >= length:
        return [Cut(0, length, 0, length)]
    step = max(multiple, (window - 2 * margin) // multiple * multiple)
    count = -(-(length - window) // step) + 1
    starts = [
        round((length - window) / multiple * k / (count - 1)) * multiple for k in range(count)
    ]
    joints = [(starts[k] + window + starts[k + 1]) // 2 for k in range(count - 1)]
    gaps = [b - a for a, b in zip([0, *joints], [*joints, length], strict=True)]
    blend = min(feather, min(gaps) // 2)
    cuts = []
    for k, start in enumerate(starts):
        first = joints[k - 1] - blend if k else 0
        last = joints[k] + blend if k < count - 1 else length
        rise, fall = (2 * blend if k else 0), (2 * blend if k < count - 1 else 0)
        cuts.append(Cut(start, start + window, first, last, rise, fall))
    return cuts

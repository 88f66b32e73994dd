"""Cut a large image into overlapping tiles for a convolutional network, and blend the results."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in source pixels.

    The network reads ``start:stop``; ``first:last`` of its result is kept. Over the first ``rise``
    and the last ``fall`` kept pixels the tile fades into its neighbours.
    """

    start: int
    stop: int
    first: int
    last: int
    rise: int = 0
    fall: int = 0

    def weights(self, scale: int) -> Tensor:
        """Return the tile's share of each target pixel, float32 [(last - first) * scale], 0..1."""
        weights = torch.ones((self.last - self.first) * scale)
        if self.rise:
            weights[: self.rise * scale] = _ramp(self.rise * scale)
        if self.fall:
            weights[-self.fall * scale :] = _ramp(self.fall * scale).flip(0)
        return weights


@dataclass(frozen=True)
class Tile:
    """A rectangle of the source image."""

    rows: Span
    columns: Span

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the network reads."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def add_to(self, canvas: Tensor, result: Tensor, scale: int) -> None:
        """Add the weighted kept part of ``result`` [C, h*scale, w*scale] to ``canvas``."""
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
            :, rows.first * scale : rows.last * scale, columns.first * scale : columns.last * scale
        ] += kept


def whole_image(height: int, width: int) -> list[Tile]:
    """Return one tile that covers the image."""
    return [Tile(Span(0, height, 0, height), Span(0, width, 0, width))]


def blended_tiles(
    height: int, width: int, tile: int, pad: int, feather: int, multiple: int
) -> list[Tile]:
    """Return tiles of equal size that overlap and fade into one another.

    Args:
        height: of the image, a multiple of ``multiple``, as is ``width``.
        width: of the image.
        tile: side of a tile in pixels, without its surroundings.
        pad: real neighbours that every kept pixel has, except at the image's border.
        feather: two tiles share this many pixels on both sides of their joint.
        multiple: all tile edges lie on multiples of it.
    """
    return [
        Tile(rows, columns)
        for rows in _spans(height, tile, pad, feather, multiple)
        for columns in _spans(width, tile, pad, feather, multiple)
    ]


def _spans(length: int, tile: int, pad: int, feather: int, multiple: int) -> list[Span]:
    margin = pad + feather
    window = -(-(tile + 2 * margin) // multiple) * multiple
    if window >= length:
        return [Span(0, length, 0, length)]
    step = max(multiple, (window - 2 * margin) // multiple * multiple)
    count = -(-(length - window) // step) + 1
    starts = [
        round((length - window) / multiple * k / (count - 1)) * multiple for k in range(count)
    ]
    joints = [(starts[k] + window + starts[k + 1]) // 2 for k in range(count - 1)]
    gaps = [b - a for a, b in zip([0, *joints], [*joints, length], strict=True)]
    blend = min(feather, min(gaps) // 2)
    spans = []
    for k, start in enumerate(starts):
        first = joints[k - 1] - blend if k else 0
        last = joints[k] + blend if k < count - 1 else length
        rise, fall = (2 * blend if k else 0), (2 * blend if k < count - 1 else 0)
        spans.append(Span(start, start + window, first, last, rise, fall))
    return spans


def _ramp(length: int) -> Tensor:
    return (torch.arange(length) + 0.5) / length

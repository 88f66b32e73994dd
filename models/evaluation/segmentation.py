"""Figures of a segmentation network on a set of photos, from its confusion counts.

Pixels are added up over the photos first. The mean IoU leaves out the classes without a pixel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from models.data.records import Record
from models.evaluation.classification import ClassFigure, Metric, Values, metric_of_counts
from models.evaluation.predictions import CountedPredictions


class SegmentScores(Record):
    """Scores of one class of pixels; null where the set has no pixel of it."""

    iou: float | None = Field(description="Jaccard index: hits over pixels of it or seen as it.")
    precision: float
    recall: float | None
    pixels: int


class SegmentationScores(Record):
    """Scores of a network, or means over the networks of several seeds, on the same photos."""

    headline: ClassVar[Metric] = "miou"
    shown: ClassVar[Metric] = "accuracy"

    accuracy: float = Field(description="Share of pixels that are right.")
    miou: float = Field(description="Mean of the Jaccard index of the classes.")
    per_class: dict[str, SegmentScores]
    confusion: tuple[tuple[float, ...], ...] = Field(
        description="Share of the pixels of class i (row) that are seen as class j (column)."
    )
    classes: tuple[str, ...] = Field(description="Classes of pixels, background first.")
    images: int

    def class_figures(self) -> dict[str, dict[str, ClassFigure]]:
        """The Jaccard index of each class of pixels, and the number of its pixels in words."""
        rows = {
            name: ClassFigure(row.iou, f"{row.pixels:,} pixels")
            for name, row in self.per_class.items()
        }
        return {"Jaccard index": rows}

    def of_training(self) -> Self:
        """The scores: those of a training have the same fields as those of a dataset."""
        return self


@dataclass(frozen=True)
class SegmentationPredictions(CountedPredictions):
    """Confusion counts of the test photos by the networks that were trained on one dataset.

    ``confusion`` (seeds, photos, segments, segments) counts pixels of segment i seen as segment j;
    ``segments`` are their names. ``y_true`` and ``classes`` are those of whole photos, which decide
    the strata of the jackknife.
    """

    figures: ClassVar[tuple[Metric, ...]] = ("miou",)
    shown_metric: ClassVar[Metric] = "miou"

    confusion: Values = field(kw_only=True)
    segments: tuple[str, ...] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        expected = (len(self.y_true), len(self.segments), len(self.segments))
        if self.confusion.ndim != 4 or self.confusion.shape[1:] != expected:
            raise ValueError(
                f"dataset {self.name}: confusion has shape {self.confusion.shape}; give (seeds, "
                "photos, segments, segments)"
            )

    @property
    def seeds(self) -> int:
        """The number of trainings."""
        return len(self.confusion)

    def least_change(self, metric: Metric) -> float:
        """0: trainings that agree in all pixels are equal."""
        return 0.0

    def family_counts(self) -> Iterator[Values]:
        """Per seed, counts (3, families, segments): pixels of a segment, hits, predicted pixels."""
        for photos in self.confusion.astype(np.float64):
            counts = np.stack(
                [photos.sum(axis=2), np.diagonal(photos, axis1=1, axis2=2), photos.sum(axis=1)]
            )
            summed = np.zeros((self.family_count, 3, len(self.segments)))
            np.add.at(summed, self.family_rows, counts.transpose(1, 0, 2))
            yield summed.transpose(1, 0, 2)


def score_segmentation(
    confusion: npt.NDArray[np.int64], classes: Sequence[str]
) -> SegmentationScores:
    """All figures of the networks of a dataset; means over the seeds.

    Args:
        confusion: (seeds, photos, classes, classes) pixels of class i that are seen as class j.
        classes: names of the classes of pixels.

    Raises:
        ValueError: there is no seed or no photo, or the shape does not fit the classes.
    """
    if confusion.ndim != 4 or 0 in confusion.shape or confusion.shape[2] != len(classes):
        raise ValueError(
            f"confusion: shape {confusion.shape} does not fit {len(classes)} classes; give one "
            "square per seed and photo"
        )
    totals = confusion.sum(axis=1).astype(np.float64)
    support, predicted = totals.sum(axis=2), totals.sum(axis=1)
    hits = np.diagonal(totals, axis1=1, axis2=2)
    return SegmentationScores(
        accuracy=float(metric_of_counts("accuracy", support, hits, predicted).mean()),
        miou=float(metric_of_counts("miou", support, hits, predicted).mean()),
        per_class={
            name: _score_segment(support[:, index], hits[:, index], predicted[:, index])
            for index, name in enumerate(classes)
        },
        confusion=(totals / np.maximum(support[..., None], 1)).mean(axis=0).tolist(),
        classes=tuple(classes),
        images=confusion.shape[1],
    )


def _score_segment(support: Values, hits: Values, predicted: Values) -> SegmentScores:
    has_pixels = bool(support[0] > 0)
    union = np.maximum(support + predicted - hits, 1)
    return SegmentScores(
        iou=float((hits / union).mean()) if has_pixels else None,
        precision=float((hits / np.maximum(predicted, 1)).mean()),
        recall=float((hits / np.maximum(support, 1)).mean()) if has_pixels else None,
        pixels=int(support[0]),
    )

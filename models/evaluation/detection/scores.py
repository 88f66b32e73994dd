"""Figures of detectors on a set of photos: average precision by the protocol of COCO.

Means over classes leave out the classes without an object in the set.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from models.data.records import Record
from models.evaluation.classification import ClassFigure, Labels, Metric, Values, round_curve
from models.evaluation.detection.average_precision import precision_curves
from models.evaluation.detection.matching import Matches
from models.evaluation.detection.predictions import mean_precisions


class DetectedClassScores(Record):
    """Average precision of one class: means over the seeds; null where the set has no object."""

    ap_50_95: float | None = Field(description="Mean over the IoU 0.50, 0.55, ..., 0.95.")
    ap_50: float | None = Field(description="At an IoU of 0.5.")
    ap_50_95_spread: float | None = Field(None, description="Standard deviation over the seeds.")
    ap_50_spread: float | None = Field(None, description="The same at an IoU of 0.5.")
    objects: int
    images: int = Field(description="Photos that show the class.")


class DetectionScores(Record):
    """Scores of a detector, or means over the detectors of several seeds, on the same photos.

    Spreads are standard deviations over the seeds, null with one.
    """

    headline: ClassVar[Metric] = "map_50_95"
    shown: ClassVar[Metric] = "map_50"

    map_50_95: float = Field(description="Mean average precision over the IoU 0.50 to 0.95.")
    map_50: float = Field(description="Mean average precision at an IoU of 0.5.")
    map_50_95_spread: float | None = None
    map_50_spread: float | None = None
    per_class: dict[str, DetectedClassScores]
    curves: dict[str, tuple[float, ...]] = Field(
        description="Precision of each class at an IoU of 0.5, at recall 0, 0.01, ..., 1."
    )
    classes: tuple[str, ...] = Field(description="Classes that have boxes.")
    images: int

    def class_figures(self) -> dict[str, dict[str, ClassFigure]]:
        """Average precision of each class, and the number of its objects in words."""
        notes = {
            name: f"{row.objects:,} objects in {row.images:,} photos"
            for name, row in self.per_class.items()
        }
        return {
            "AP50:95": {
                name: ClassFigure(row.ap_50_95, notes[name], row.ap_50_95_spread)
                for name, row in self.per_class.items()
            },
            "AP50": {
                name: ClassFigure(row.ap_50, notes[name], row.ap_50_spread)
                for name, row in self.per_class.items()
            },
        }

    def of_training(self) -> Self:
        """The scores without what is shown of a dataset alone: its curves."""
        return self.model_copy(update={"curves": {}})


def score_detection(matches: Sequence[Matches], classes: Sequence[str]) -> DetectionScores:
    """All figures of the detectors of a dataset; means and spreads over the seeds.

    Args:
        matches: those of each seed, on the same photos.
        classes: names of the classes that have boxes.

    Raises:
        ValueError: there is no seed.
    """
    if not matches:
        raise ValueError("matches: give those of at least one seed")
    curves = np.stack([precision_curves(found) for found in matches])
    means = np.stack([mean_precisions(found) for found in curves])
    objects = matches[0].objects
    return DetectionScores(
        map_50_95=float(means[:, 0].mean()),
        map_50=float(means[:, 1].mean()),
        map_50_95_spread=_spread(means[:, 0]),
        map_50_spread=_spread(means[:, 1]),
        per_class={
            name: _score_class(curves[:, index], objects[:, index])
            for index, name in enumerate(classes)
        },
        curves={
            name: round_curve(curves[:, index, 0].mean(axis=0))
            for index, name in enumerate(classes)
            if objects[:, index].any()
        },
        classes=tuple(classes),
        images=len(objects),
    )


def best_threshold(matches: Matches) -> float:
    """The score above which boxes have the best F1 at an IoU of 0.5, all classes together.

    0.5 where nothing is found rightly.
    """
    order = np.argsort(-matches.scores, kind="stable")
    hits = matches.is_hit[0, order].cumsum()
    if not len(hits) or not hits[-1]:
        return 0.5
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + matches.objects.sum())
    return float(matches.scores[order][int(f1.argmax())])


def _score_class(curves: Values, objects: Labels) -> DetectedClassScores:
    """The scores of one class: ``curves`` (seeds, 10, 101), ``objects`` (photos,)."""
    counts = {"objects": int(objects.sum()), "images": int(np.count_nonzero(objects))}
    if not counts["objects"]:
        return DetectedClassScores(ap_50_95=None, ap_50=None, **counts)
    all_levels, first = curves.mean(axis=(1, 2)), curves[:, 0].mean(axis=1)
    return DetectedClassScores(
        ap_50_95=float(all_levels.mean()),
        ap_50=float(first.mean()),
        ap_50_95_spread=_spread(all_levels),
        ap_50_spread=_spread(first),
        **counts,
    )


def _spread(values: Values) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None

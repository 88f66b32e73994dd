"""Scores of a study by numbers of photos and images, and the best share, chosen on val alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from models.data.records import Record
from models.evaluation.classification import Metric
from models.evaluation.comparison import Difference, Interval, compare, dataset_interval
from models.evaluation.predictions import DatasetPredictions
from models.evaluation.settings import VerdictSettings
from models.evaluation.study_point import Point


@dataclass(frozen=True)
class ScoredPoint:
    """A point with its predictions for val and test photos, a row per replicate."""

    point: Point
    val: DatasetPredictions
    test: DatasetPredictions


class PointFigure(Record):
    """A figure of a point on one split, with its interval over photos and replicates."""

    split: Literal["val", "test"]
    figure: Metric
    interval: Interval


class PointScores(Record):
    """The scores of a point: mean over replicates on val, mean with interval on test.

    ``gain`` is over the best point without generated images; none for that point itself.
    ``figures`` has all figures of the task, on val and test.
    """

    point: Point
    replicates: int
    val_photos: int
    test_photos: int
    val: float
    test: Interval
    gain: Difference | None
    figures: tuple[PointFigure, ...] = ()


class Choice(Record):
    """The best point of a method with a number of photos, and the best one of photos alone.

    Val chooses both: see `choose_best`.
    """

    method: str
    photos_per_class: str
    best: PointScores
    rival: PointScores


class StudyScores(Record):
    """All points, and the choice per method with generated images and number of photos.

    A number of photos for which a method has no point has no choice of that method.
    Images do not help where their gain is below ``margin``, 0 to 1, with confidence.
    """

    metric: Metric
    margin: float
    points: tuple[PointScores, ...]
    choices: tuple[Choice, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have a choice, in their order."""
        return tuple(dict.fromkeys(choice.method for choice in self.choices))

    def of(self, method: str) -> list[PointScores]:
        """The points of a method, and those without generated images."""
        return [
            found
            for found in self.points
            if not found.point.has_images or found.point.method == method
        ]


def evaluate_study(
    scored: Sequence[ScoredPoint],
    methods: Sequence[str],
    settings: VerdictSettings = VerdictSettings(),
) -> StudyScores:
    """The scores of all points, and what val chooses; test decides nothing.

    Args:
        methods: those with generated images.

    Raises:
        ValueError: a number of photos has no point without generated images.
    """
    metric = settings.metric
    points: list[PointScores] = []
    choices: list[Choice] = []
    for photos in dict.fromkeys(found.point.photos_name for found in scored):
        same = [found for found in scored if found.point.photos_name == photos]
        alone = [found for found in same if not found.point.has_images]
        rival = choose_best(alone, metric)
        scores = {found.point: _score(found, rival, metric) for found in same}
        points += scores.values()
        for method in methods:
            made = [
                found for found in same if found.point.has_images and found.point.method == method
            ]
            if not made:
                continue
            best = choose_best([*alone, *made], metric)
            choices.append(
                Choice(
                    method=method,
                    photos_per_class=rival.point.photos_label,
                    best=scores[best.point],
                    rival=scores[rival.point],
                )
            )
    return StudyScores(
        metric=metric, margin=settings.margin, points=tuple(points), choices=tuple(choices)
    )


def choose_best(candidates: Sequence[ScoredPoint], metric: Metric) -> ScoredPoint:
    """The point with the highest mean on val; of equal ones, that with the lowest log loss on val.

    Of points that are equal in both, the first with fewest images is chosen.

    Raises:
        ValueError: there is no candidate.
    """
    if not candidates:
        raise ValueError("study: a number of photos has no points to choose from; add share 0")
    return max(
        candidates,
        key=lambda found: (
            round(_val_mean(found, metric), 9),
            round(-found.val.log_loss, 9),
            -found.point.synthetic,
        ),
    )


def figure_rows(scored: Sequence[ScoredPoint]) -> Iterator[dict[str, str | int | float]]:
    """A row per point, replicate, split and figure, for a table."""
    for found in scored:
        for split, predictions in (("val", found.val), ("test", found.test)):
            for metric in predictions.figures:
                for replicate, value in enumerate(predictions.values(metric)):
                    yield {
                        **found.point.model_dump(),
                        "replicate": replicate,
                        "split": split,
                        "photos": len(predictions.y_true),
                        "figure": metric,
                        "value": float(value),
                    }


def _val_mean(found: ScoredPoint, metric: Metric) -> float:
    return float(found.val.values(metric).mean())


def _score(found: ScoredPoint, rival: ScoredPoint, metric: Metric) -> PointScores:
    splits: tuple[tuple[Literal["val", "test"], DatasetPredictions], ...] = (
        ("val", found.val),
        ("test", found.test),
    )
    return PointScores(
        point=found.point,
        replicates=found.test.seeds,
        val_photos=len(found.val.y_true),
        test_photos=len(found.test.y_true),
        val=_val_mean(found, metric),
        test=dataset_interval(found.test, metric),
        gain=None if found is rival else compare(found.test, rival.test, metric),
        figures=tuple(
            PointFigure(split=split, figure=figure, interval=dataset_interval(predictions, figure))
            for split, predictions in splits
            for figure in predictions.figures
        ),
    )

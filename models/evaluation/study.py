"""Scores of a study by numbers of photos and images, and the best share, chosen on val alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models.data.records import Record
from models.evaluation.classification import LEAST_PROBABILITY, Metric, as_probabilities
from models.evaluation.comparison import Difference, Interval, compare, dataset_interval
from models.evaluation.predictions import DatasetPredictions
from models.evaluation.settings import VerdictSettings

# The content of a ``score`` artifact.
ScoreContent = Mapping[str, Any]


class Point(Record):
    """A point of the grid: what its classifiers are trained on.

    ``share`` is the number of generated images per real photo; 0 has no generator. ``real`` and
    ``synthetic`` count the train images of all classes.
    """

    photos_per_class: str
    real: int
    generator: str = ""
    share: float = 0.0
    synthetic: int = 0
    augment: str

    @property
    def photos_name(self) -> str:
        """``5 photos per class``."""
        noun = "photo" if self.photos_per_class == "1" else "photos"
        return f"{self.photos_per_class} {noun} per class"

    @property
    def images_name(self) -> str:
        """What names its images: photos per class, share and generator."""
        if not self.share:
            return self.photos_name
        return f"{self.photos_name} + {self.share:g} {self.generator}"


@dataclass(frozen=True)
class ScoredPoint:
    """A point with its predictions for val and test photos, a row per replicate."""

    point: Point
    val: DatasetPredictions
    test: DatasetPredictions


def join_replicates(
    contents: Sequence[ScoreContent], split: Literal["val", "test"], families: Mapping[str, str]
) -> DatasetPredictions:
    """The predictions of a point for one split, from the ``score`` content of each replicate.

    ``families`` has the near-duplicate family of images by their id; an image without an entry is a
    family of its own.
    """
    first = contents[0]
    names = [families.get(image, image) for image in first[split]["images"]]
    return DatasetPredictions(
        split,
        np.array(first[split]["truth"], np.int64),
        np.stack([as_probabilities(content[split]) for content in contents]),
        tuple(first["classes"]),
        families=np.unique(names, return_inverse=True)[1],
    )


class PointScores(Record):
    """The scores of a point: mean over replicates on val, mean with interval on test.

    ``gain`` is over the best point without generated images; none for that point itself.
    """

    point: Point
    replicates: int
    val_photos: int
    test_photos: int
    val: float
    test: Interval
    gain: Difference | None


class Choice(Record):
    """The best point of a number of photos, and the best one without generated images.

    Val chooses both: see `choose_best`.
    """

    generator: str
    photos_per_class: str
    best: PointScores
    rival: PointScores


class StudyScores(Record):
    """All points, and the choice per generator and number of photos.

    Images do not help where their gain is below ``margin``, 0 to 1, with confidence.
    """

    metric: Metric
    margin: float
    points: tuple[PointScores, ...]
    choices: tuple[Choice, ...]

    @property
    def generators(self) -> tuple[str, ...]:
        """The generators that have a choice, in their order."""
        return tuple(dict.fromkeys(choice.generator for choice in self.choices))

    def of(self, generator: str) -> list[PointScores]:
        """The points of a generator, and those without generated images."""
        return [found for found in self.points if found.point.generator in ("", generator)]


def evaluate_study(
    scored: Sequence[ScoredPoint],
    generators: Sequence[str],
    settings: VerdictSettings = VerdictSettings(),
) -> StudyScores:
    """The scores of all points, and what val chooses; test decides nothing.

    Raises:
        ValueError: a number of photos has no point without generated images.
    """
    metric = settings.metric
    points: list[PointScores] = []
    choices: list[Choice] = []
    for photos in dict.fromkeys(found.point.photos_per_class for found in scored):
        same = [found for found in scored if found.point.photos_per_class == photos]
        rival = choose_best([found for found in same if not found.point.share], metric)
        scores = {found.point: _score(found, rival, metric) for found in same}
        points += scores.values()
        for generator in generators:
            candidates = [found for found in same if found.point.generator in ("", generator)]
            best = choose_best(candidates, metric)
            choices.append(
                Choice(
                    generator=generator,
                    photos_per_class=photos,
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
            round(-_log_loss(found.val), 9),
            -found.point.synthetic,
        ),
    )


def figure_rows(
    scored: Sequence[ScoredPoint], metrics: Sequence[Metric]
) -> Iterator[dict[str, str | int | float]]:
    """A row per point, replicate, split and metric, for a table."""
    for found in scored:
        for split, predictions in (("val", found.val), ("test", found.test)):
            for metric in metrics:
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


def _log_loss(predictions: DatasetPredictions) -> float:
    """The mean over replicates and photos, in nats."""
    own = predictions.probabilities[:, np.arange(len(predictions.y_true)), predictions.y_true]
    return float(-np.log(np.maximum(own.astype(np.float64), LEAST_PROBABILITY)).mean())


def _score(found: ScoredPoint, rival: ScoredPoint, metric: Metric) -> PointScores:
    return PointScores(
        point=found.point,
        replicates=len(found.test.probabilities),
        val_photos=len(found.val.y_true),
        test_photos=len(found.test.y_true),
        val=_val_mean(found, metric),
        test=dataset_interval(found.test, metric),
        gain=None if found is rival else compare(found.test, rival.test, metric),
    )

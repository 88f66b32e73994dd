"""The figures of ``metrics.json`` as the rows and words of the report and the dataset card.

A missing figure is shown as a dash, never as zero: a run without training has no test scores, a
run with one class no ROC-AUC.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from models.data.records import Record
from models.evaluation.answers import Conclusion
from models.reporting.metrics import DatasetMetrics, Metrics, TrainingMetrics

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SPLITS = ("train", "val", "test")
# Colours of the page's style sheet: --t0 to --t7.
COLOURS = 8
SCORES = (
    ("accuracy", "Accuracy", "share of correct predictions"),
    ("f1_macro", "Macro F1", "every class counts the same"),
    ("f1_weighted", "Weighted F1", "every photo counts the same"),
    ("miou", "Mean IoU", "every class of pixels counts the same"),
    ("map_50_95", "Mean AP", "mean over the IoU 0.50 to 0.95; every class counts the same"),
    ("map_50", "Mean AP50", "a box is right from an IoU of 0.5 on"),
    ("roc_auc", "ROC-AUC", "one class against the rest, macro average"),
    ("calibration_error", "Calibration error", "how far confidence is from accuracy"),
    ("brier", "Brier score", "0 is best, 2 is worst"),
)
TITLES = {metric: title for metric, title, _ in SCORES}
DECIMALS = ("roc_auc", "brier")


@dataclass(frozen=True)
class Dataset:
    """One training set with its trainings. ``colour`` is its position among the page's colours."""

    name: str
    colour: int
    metrics: DatasetMetrics
    trainings: tuple[TrainingMetrics, ...] = ()

    @property
    def images(self) -> int:
        """Train images over all classes."""
        return sum(self.metrics.train.values())

    @property
    def synthetic_images(self) -> int:
        """Generated train images over all classes."""
        return sum(self.metrics.synthetic.values())

    def composition(self, label: str) -> str:
        """Real and generated train images of a class: ``51 + 51``."""
        synthetic = self.metrics.synthetic.get(label, 0)
        return f"{count(self.metrics.train.get(label, 0) - synthetic)} + {count(synthetic)}"

    @property
    def val_images(self) -> int:
        """Val images over all classes."""
        return sum(self.metrics.val.values())

    @property
    def has_seeds(self) -> bool:
        """Whether there was more than one training."""
        return len(self.trainings) > 1

    def score(self, metric: str) -> float | None:
        """A test score by its field name, or None."""
        return score_of(self.metrics.test, metric)

    def seed_scores(self, metric: str) -> tuple[float, ...]:
        """The test score of each training that has it."""
        scores = (score_of(training.test, metric) for training in self.trainings)
        return tuple(score for score in scores if score is not None)


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, its share of the row (0..1, for shading), whether it is the best."""

    text: str
    share: float = 0.0
    is_best: bool = False


@dataclass(frozen=True)
class TableRow:
    """A named row of cells."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""


@dataclass(frozen=True)
class Generated:
    """Generated images over all reference photos; ``failed`` counts photos without images."""

    images: int
    accepted: int
    rejected: int
    failed: int


def score_of(scores: Record | None, metric: str) -> float | None:
    """The score of that field name, or None where it is missing or no finite number."""
    value = getattr(scores, metric, None)
    return float(value) if _is_number(value) else None


def percent(share: float | None, decimals: int = 1) -> str:
    """``0.8234`` as ``82.3%``."""
    return DASH if not _is_number(share) else f"{share * 100:.{decimals}f}%"


def points(share: float | None) -> str:
    """A difference of shares in percentage points with its sign: ``+4.2``."""
    return DASH if not _is_number(share) else f"{share * 100:+.1f}".replace("-", MINUS)


def decimal(share: float | None) -> str:
    """A share with three decimals: ``0.914``."""
    return DASH if not _is_number(share) else f"{share:.3f}"


def lower_first(title: str) -> str:
    """The title within a sentence: ``mean IoU``."""
    return title[:1].lower() + title[1:]


def count(amount: int | None) -> str:
    """A count with a comma after every three digits: ``1,680``."""
    return DASH if amount is None else f"{amount:,}"


def mean_count(amount: float) -> str:
    """A mean of counts, with a decimal where it is no whole number: ``24`` or ``23.7``."""
    return f"{amount:,.{0 if abs(amount - round(amount)) < 0.05 else 1}f}"


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that fit: ``3 min 12 s``."""
    if not _is_number(seconds):
        return DASH
    if seconds < 60:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def list_datasets(metrics: Metrics) -> tuple[Dataset, ...]:
    """Every dataset of the run, in the order of the metrics."""
    return tuple(
        Dataset(
            name,
            position % COLOURS,
            dataset,
            tuple(run for run in metrics.runs if run.dataset == name),
        )
        for position, (name, dataset) in enumerate(metrics.datasets.items())
    )


def score_rows(datasets: Sequence[Dataset], verdict: Conclusion | None) -> tuple[TableRow, ...]:
    """One row per score and one cell per dataset.

    The score that decides marks the dataset that is ahead of all others beyond doubt, if any.
    """
    rows = []
    for metric, title, note in SCORES:
        values = [dataset.score(metric) for dataset in datasets]
        if any(value is not None for value in values):
            write = decimal if metric in DECIMALS else percent
            best = verdict.best if verdict and verdict.metric == metric else None
            cells = [
                Cell(write(value), is_best=dataset.name == best)
                for dataset, value in zip(datasets, values, strict=True)
            ]
            rows.append(TableRow(title, tuple(cells), note))
    return tuple(rows)


def count_generated(metrics: Metrics) -> Generated:
    """Images that were made, accepted and rejected, over all reference photos."""
    used = [photo for photo in metrics.references if photo.status != "failed"]
    return Generated(
        images=sum(photo.accepted + photo.rejected for photo in used),
        accepted=sum(photo.accepted for photo in used),
        rejected=sum(photo.rejected for photo in used),
        failed=len(metrics.references) - len(used),
    )


def composition_rows(
    metrics: Metrics, datasets: Sequence[Dataset]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Per class, real and generated train images: first all there are, then of each dataset."""
    accepted: Counter[str] = Counter()
    for photo in metrics.references:
        accepted[photo.label] += photo.accepted
    photos = metrics.photos.get("train", {})
    rows = []
    for label in _counted_classes(metrics) if datasets else ():
        available = f"{count(photos.get(label, 0))} + {count(accepted[label])}"
        rows.append((label, (available, *(dataset.composition(label) for dataset in datasets))))
    return tuple(rows)


def photo_rows(metrics: Metrics) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Per class, its photos in train, val and test; the last row adds them up."""
    rows = [
        (label, tuple(metrics.photos.get(split, {}).get(label, 0) for split in SPLITS))
        for label in _counted_classes(metrics)
    ]
    totals = tuple(sum(row[1][index] for row in rows) for index in range(len(SPLITS)))
    return (*rows, ("all classes", totals)) if rows else ()


def _counted_classes(metrics: Metrics) -> list[str]:
    """The classes, and what photos without an object are counted as."""
    counted = (label for split in SPLITS for label in metrics.photos.get(split, {}))
    return list(dict.fromkeys([*metrics.classes, *counted]))


def _is_number(value: float | None) -> TypeGuard[float]:
    """Whether the value is a finite number."""
    return value is not None and math.isfinite(value)

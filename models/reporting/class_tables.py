"""The rows and words of the report about single classes: scores, shares and confusions."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.evaluation.classification import ClassFigure, DatasetScores
from models.reporting.tables import DASH, Cell, Dataset, TableRow, decimal, mean_count

_MISTAKES = 5


@dataclass(frozen=True)
class Share:
    """How often a class is predicted and how often it occurs, 0..1.

    ``width`` and ``mark`` are the same in percent of the largest share.
    """

    label: str
    predicted: float
    true: float
    width: float
    mark: float


@dataclass(frozen=True)
class Confusion:
    """Rows are true classes, columns predicted ones; ``mistakes`` are the most frequent ones."""

    classes: tuple[str, ...]
    rows: tuple[TableRow, ...]
    mistakes: tuple[str, ...]


def class_tables(datasets: Sequence[Dataset]) -> dict[str, tuple[TableRow, ...]]:
    """Tables of a figure of each class on the test photos: a row per class, a cell per dataset.

    The figure is F1, the Jaccard index of a class of pixels, or average precision; means over the
    seeds. Without any test scores there are no tables.
    """
    tests = [found.metrics.test for found in datasets]
    figures = [{} if test is None else test.class_figures() for test in tests]
    titles = next((found for found in figures if found), {})
    return {title: _class_rows([found.get(title) for found in figures]) for title in titles}


def _class_rows(figures: Sequence[dict[str, ClassFigure] | None]) -> tuple[TableRow, ...]:
    first = next(found for found in figures if found is not None)
    return tuple(
        TableRow(
            label,
            tuple(Cell(DASH if found is None else _say_figure(found[label])) for found in figures),
            shown.note,
        )
        for label, shown in first.items()
    )


def _say_figure(figure: ClassFigure) -> str:
    """``0.914``, or ``0.914 ± 0.020`` where the spread over the seeds is known."""
    spread = "" if figure.spread is None else f" ± {decimal(figure.spread)}"
    return f"{decimal(figure.value)}{spread}"


def class_score_rows(scores: DatasetScores) -> tuple[TableRow, ...]:
    """Precision, recall, F1 and average precision of each class."""
    return tuple(
        TableRow(
            label,
            tuple(
                Cell(decimal(value))
                for value in (row.precision, row.recall, row.f1, row.average_precision)
            ),
        )
        for label, row in scores.per_class.items()
    )


def share_rows(scores: DatasetScores) -> tuple[Share, ...]:
    """How often the networks predict each class, scaled to the largest share."""
    true = {label: row.support / scores.images for label, row in scores.per_class.items()}
    predicted = scores.prediction_share
    scale = 100.0 / max(*predicted.values(), *true.values(), 1e-9)
    return tuple(
        Share(label, share, true[label], share * scale, true[label] * scale)
        for label, share in predicted.items()
    )


def confusion_of(scores: DatasetScores) -> Confusion:
    """The confusion matrix, each cell with its share of its row, and the most frequent mistakes.

    Counts are means over the seeds.
    """
    rows, mistakes = [], []
    for label, counts in zip(scores.classes, scores.confusion, strict=True):
        total = sum(counts) or 1
        cells = tuple(Cell(mean_count(amount), amount / total) for amount in counts)
        rows.append(TableRow(label, cells))
        mistakes += [
            (amount, f"{label} predicted as {other}: {mean_count(amount)} of {total:.0f}")
            for other, amount in zip(scores.classes, counts, strict=True)
            if other != label and amount
        ]
    mistakes.sort(key=lambda mistake: -mistake[0])
    return Confusion(scores.classes, tuple(rows), tuple(text for _, text in mistakes[:_MISTAKES]))

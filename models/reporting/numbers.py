"""The numbers of `metrics.json` in the order and the words in which the report shows them.

Every part may be missing: a run without training has no test scores, a run on one class no ROC-AUC.
What is missing is shown as a dash and never as a zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.reporting.charts import is_number

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TONES = 8
# The same dataset has the same colour in every report.
_TONE_OF = ("real", "synthetic", "mixed")
EXPLAINED = {
    "real": "real photos only",
    "synthetic": "generated images only",
    "mixed": "real and generated, one to one",
    "few_shot": "the reference photos alone",
    "baseline": "each photo drawn anew, image to image",
}


@dataclass(frozen=True)
class Arm:
    """One dataset that was built, and what its networks scored on the test photos, if they did."""

    name: str
    tone: int
    note: str
    train: Mapping[str, int]
    val: Mapping[str, int]
    test: Mapping[str, Any]
    runs: tuple[Mapping[str, Any], ...] = ()

    @property
    def images(self) -> int:
        """Train images over all classes."""
        return total_of(self.train)

    @property
    def many_seeds(self) -> bool:
        """Whether there was more than one training."""
        return len(self.runs) > 1

    @property
    def text(self) -> str:
        """The classification report as scikit-learn prints it, or nothing."""
        return str(self.test.get("text") or self.test.get("report") or "")

    def score(self, name: str) -> float | None:
        """A test score by its name in ``metrics.json``, or None."""
        return number(self.test.get(name))

    def per_seed(self, name: str) -> tuple[float, ...]:
        """A test score of each training that has one."""
        found = [number((run.get("test") or {}).get(name)) for run in self.runs]
        return tuple(one for one in found if one is not None)


@dataclass(frozen=True)
class Cell:
    """A number in a table, its share of the darkest cell (0..1), and whether it is the best."""

    text: str
    share: float = 0.0
    best: bool = False


@dataclass(frozen=True)
class TableRow:
    """A named row of cells. ``tone`` colours its name's mark, where it has one."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    tone: int | None = None


@dataclass(frozen=True)
class Share:
    """How often the networks name a class, beside how often it is right, both 0..1."""

    label: str
    predicted: float
    true: float | None
    width: float
    mark: float | None


@dataclass(frozen=True)
class Confusion:
    """Rows are true classes, columns predicted ones; ``pairs`` are the most frequent mistakes."""

    classes: tuple[str, ...]
    rows: tuple[TableRow, ...]
    pairs: tuple[str, ...] = field(default=())


def number(value: Any) -> float | None:
    """The value as a float, or None when it is no finite number."""
    return float(value) if is_number(value) else None


def total_of(counts: Mapping[str, Any] | None) -> int:
    """The sum of a mapping's counts."""
    return sum(int(value) for value in (counts or {}).values() if is_number(value))


def percent(value: Any, decimals: int = 1) -> str:
    """``0.8234`` as ``82.3%``; a dash when there is no number."""
    share = number(value)
    return DASH if share is None else f"{share * 100:.{decimals}f}%"


def points(value: Any) -> str:
    """A difference of shares in percentage points with its sign, such as ``+4.2``."""
    share = number(value)
    return DASH if share is None else f"{share * 100:+.1f}".replace("-", MINUS)


def count(value: Any) -> str:
    """A count with thousands parted by commas."""
    amount = number(value)
    return DASH if amount is None else f"{amount:,.0f}"


def duration(value: Any) -> str:
    """Seconds in the two largest units that fit, such as ``3 min 12 s``."""
    seconds = number(value)
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def arms_of(metrics: Mapping[str, Any]) -> tuple[Arm, ...]:
    """Every dataset of the run in the order of ``metrics.json``, with its networks' test scores."""
    datasets = metrics.get("datasets") or {}
    others = [name for name in datasets if name not in _TONE_OF]
    return tuple(
        _arm(name, content, (*_TONE_OF, *others).index(name) % TONES, metrics)
        for name, content in datasets.items()
    )


def classes_of(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes of the run, from its list or else from its photos."""
    photos = metrics.get("photos") or {}
    named = metrics.get("classes") or sorted({one for split in photos.values() for one in split})
    return tuple(str(one) for one in named)


def leaderboard(arms: Sequence[Arm]) -> tuple[TableRow, ...]:
    """One row per score and one cell per arm, the best of each row marked."""
    named = (
        ("accuracy", "Accuracy", "share of test photos named rightly"),
        ("f1_macro", "F1, macro", "every class counts the same"),
        ("f1_weighted", "F1, weighted", "every photo counts the same"),
        ("roc_auc", "ROC-AUC", "one class against the rest, macro"),
    )
    rows = []
    for key, title, note in named:
        values = [arm.score(key) for arm in arms]
        if any(value is not None for value in values):
            texts = [percent(one) if key != "roc_auc" else decimal(one) for one in values]
            rows.append(TableRow(title, _mark_best(values, texts), note))
    return tuple(rows)


def decimal(value: Any) -> str:
    """A share with three decimals, such as ``0.914``."""
    share = number(value)
    return DASH if share is None else f"{share:.3f}"


def class_table(arms: Sequence[Arm], classes: Sequence[str]) -> tuple[TableRow, ...]:
    """F1 on the test photos: a row per class and a cell per arm, the best of each row marked."""
    rows = []
    for label in classes:
        scored = [_of_class(arm, label) for arm in arms]
        values = [number(one.get("f1")) for one in scored]
        support = next((one["support"] for one in scored if is_number(one.get("support"))), None)
        note = "" if support is None else f"{count(support)} photos"
        rows.append(TableRow(label, _mark_best(values, [decimal(one) for one in values]), note))
    return tuple(rows)


def arm_class_table(arm: Arm, classes: Sequence[str]) -> tuple[TableRow, ...]:
    """Precision, recall, F1 and average precision of each class, for one arm."""
    rows = []
    for label in classes:
        scored = _of_class(arm, label)
        shares = [scored.get(key) for key in ("precision", "recall", "f1", "average_precision")]
        cells = [Cell(decimal(one), number(one) or 0.0) for one in shares]
        rows.append(TableRow(label, tuple(cells)))
    return tuple(rows)


def prediction_shares(arm: Arm, classes: Sequence[str]) -> tuple[Share, ...]:
    """How often the arm's networks name each class, scaled to the largest share."""
    predicted = arm.test.get("prediction_share") or {}
    support = {label: number(_of_class(arm, label).get("support")) for label in classes}
    known = [value for value in support.values() if value is not None]
    photos = sum(known) if len(known) == len(support) and known else None
    shares = {label: number(predicted.get(label)) for label in classes}
    if not photos and all(share is None for share in shares.values()):
        return ()
    true = {label: (support[label] or 0.0) / photos if photos else None for label in classes}
    top = max([*(one or 0.0 for one in shares.values()), *(one or 0.0 for one in true.values())])
    scale = 100.0 / (top or 1.0)
    return tuple(
        Share(label, share or 0.0, of, (share or 0.0) * scale, None if of is None else of * scale)
        for label, share, of in ((label, shares[label], true[label]) for label in classes)
    )


def confusion_of(arm: Arm, classes: Sequence[str]) -> Confusion | None:
    """The arm's confusion matrix with each cell's share of its row, or None when there is none."""
    matrix = arm.test.get("confusion")
    if not matrix or len(matrix) != len(classes):
        return None
    rows, mistakes = [], []
    for label, counts in zip(classes, matrix, strict=True):
        row_total = sum(counts) or 1
        cells = tuple(Cell(count(one), one / row_total) for one in counts)
        rows.append(TableRow(label, cells))
        for other, amount in zip(classes, counts, strict=True):
            if other != label and amount:
                mistakes.append((amount, f"{label} taken for {other}: {amount:g} of {row_total:g}"))
    mistakes.sort(key=lambda mistake: -mistake[0])
    return Confusion(tuple(classes), tuple(rows), tuple(text for _, text in mistakes[:5]))


def _arm(name: str, content: Mapping[str, Any], tone: int, metrics: Mapping[str, Any]) -> Arm:
    runs = tuple(run for run in metrics.get("runs") or [] if run.get("arm") == name)
    return Arm(
        name=name,
        tone=tone,
        note=EXPLAINED.get(name, ""),
        train=content.get("train") or {},
        val=content.get("val") or {},
        test=content.get("test") or {},
        runs=runs,
    )


def _of_class(arm: Arm, label: str) -> Mapping[str, Any]:
    return (arm.test.get("per_class") or {}).get(label) or {}


def _mark_best(values: Sequence[float | None], texts: Iterable[str]) -> tuple[Cell, ...]:
    known = [value for value in values if value is not None]
    best = max(known) if len(known) > 1 and max(known) > min(known) else None
    return tuple(
        Cell(text, value or 0.0, value is not None and value == best)
        for value, text in zip(values, texts, strict=True)
    )

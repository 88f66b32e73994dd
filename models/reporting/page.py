"""The report: one HTML page that holds everything a run is judged by, and nothing from outside.

It runs no script and loads nothing, so that it can be mailed, archived and opened years later; it
follows the reader's light or dark setting and is as wide as the screen. Text from the run (class
and file names) is always escaped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader

from models.reporting import numbers
from models.reporting.charts import LineChart
from models.reporting.contact_sheet import contact_sheet
from models.reporting.curves import (
    class_tones,
    learning_charts,
    precision_recall_chart,
    threshold_chart,
)
from models.reporting.headline import headline_of
from models.reporting.input import Gap, RejectGroup, ReportInput, Sheet, SheetRow, Thumb
from models.reporting.making import licence_rows, made_of, photo_rows, stage_rows
from models.reporting.text import TEMPLATES, as_yaml
from models.reporting.thumbnails import Shown, show_thumbs

__all__ = [
    "Gap",
    "RejectGroup",
    "ReportInput",
    "Sheet",
    "SheetRow",
    "Thumb",
    "contact_sheet",
    "render_report",
]

# References whose sheets are open when the page is.
OPEN_SHEETS = 2


@dataclass(frozen=True)
class ShownRow:
    """A row of a contact sheet with its pictures as the page needs them; ``heads`` says that the
    names of the columns stand above it."""

    row: SheetRow
    thumbs: tuple[Shown | Gap, ...]
    heads: bool


@dataclass(frozen=True)
class ArmDetail:
    """Everything the page says about one arm's test scores."""

    arm: numbers.Arm
    confusion: numbers.Confusion | None
    precision_recall: LineChart | None
    threshold: LineChart | None
    shares: tuple[numbers.Share, ...]
    per_class: tuple[numbers.TableRow, ...]


def render_report(report: ReportInput) -> str:
    """The report as one self-contained HTML page.

    Raises:
        ValueError: a picture is none that can be drawn.
    """
    template = _environment().get_template("report.html.j2")
    return template.render(
        title=report.title, m=report.metrics, **_numbers(report.metrics), **_pictures(report)
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.count,
        decimal=numbers.decimal,
        duration=numbers.duration,
        percent=numbers.percent,
        points=numbers.points,
    )
    return environment


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    arms, classes = numbers.arms_of(metrics), numbers.classes_of(metrics)
    tones = class_tones(arms, classes)
    return {
        "arms": arms,
        "classes": classes,
        "tones": tones,
        "headline": headline_of(metrics, arms, classes),
        "leaderboard": numbers.leaderboard(arms),
        "class_table": numbers.class_table(arms, classes),
        "many_seeds": any(arm.many_seeds for arm in arms),
        "learning": learning_charts(arms),
        "details": [_detail(arm, classes, tones) for arm in arms if arm.test],
        "stages": stage_rows(metrics),
        "made": made_of(metrics),
        "photo_rows": photo_rows(metrics, classes),
        "licences": licence_rows(metrics),
        "recipe_yaml": as_yaml(metrics.get("recipe")),
    }


def _detail(arm: numbers.Arm, classes: Sequence[str], tones: Mapping[str, int]) -> ArmDetail:
    return ArmDetail(
        arm,
        numbers.confusion_of(arm, classes),
        precision_recall_chart(arm, tones),
        threshold_chart(arm, tones),
        numbers.prediction_shares(arm, classes),
        numbers.arm_class_table(arm, classes),
    )


def _pictures(report: ReportInput) -> dict[str, Any]:
    """All pictures, scaled together so that they share one budget, back in their places."""
    shown = iter(show_thumbs(_every_thumb(report)))

    def take(thumbs: Sequence[Thumb]) -> tuple[Shown, ...]:
        return tuple(next(shown) for _ in thumbs)

    def take_rows(rows: Sequence[SheetRow]) -> Iterator[ShownRow]:
        first = next((row for row in rows if row.aligned), None)
        for row in rows:
            cells = (one if isinstance(one, Gap) else next(shown) for one in row.thumbs)
            yield ShownRow(row, tuple(cells), row is first)

    outcomes = {one.get("name"): one for one in report.metrics.get("references") or []}
    return {
        "sheets": [
            (sheet, list(take_rows(sheet.rows)), outcomes.get(sheet.reference))
            for sheet in report.sheets
        ],
        "rejects": [(group, take(group.thumbs)) for group in report.rejects],
        "dataset_samples": [(arm, take(one)) for arm, one in report.dataset_samples.items()],
        "test_samples": take(report.test_samples),
        "misclassified": take(report.misclassified),
        "open_sheets": OPEN_SHEETS,
    }  # fmt: skip


def _every_thumb(report: ReportInput) -> Iterator[Thumb]:
    for sheet in report.sheets:
        for row in sheet.rows:
            yield from row.shown
    for group in report.rejects:
        yield from group.thumbs
    for samples in report.dataset_samples.values():
        yield from samples
    yield from report.test_samples
    yield from report.misclassified

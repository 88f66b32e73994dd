"""The report: one HTML page with everything about a run.

The page runs no script and loads nothing, so it can be mailed and archived. It follows the
reader's light or dark setting and the width of the screen. Text from the run (class names, file
names) is always escaped.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import JsonValue

from models.evaluation.classification import DatasetScores
from models.reporting import class_tables, tables
from models.reporting.figures import NEAREST_PHOTOS, inline_svg
from models.reporting.headline import headline_of
from models.reporting.input import Gap, ReportInput, SheetRow, Thumb
from models.reporting.metrics import Metrics
from models.reporting.quality import describe_quality, quality_labels, quality_tables
from models.reporting.thumbnails import Shown, show_thumbs

TEMPLATES = Path(__file__).resolve().parent / "templates"
# Contact sheets that are unfolded when the page opens.
OPEN_SHEETS = 2


@dataclass(frozen=True)
class ShownRow:
    """A row of a contact sheet with its pictures encoded. ``has_head``: column names above it."""

    row: SheetRow
    cells: tuple[Shown | Gap, ...]
    has_head: bool


@dataclass(frozen=True)
class DatasetDetail:
    """The test scores of one dataset in full."""

    dataset: tables.Dataset
    test: DatasetScores
    confusion: class_tables.Confusion
    shares: tuple[class_tables.Share, ...]
    class_scores: tuple[tables.TableRow, ...]


def render_report(report: ReportInput) -> str:
    """The report as one self-contained HTML page.

    Raises:
        ValueError: a picture has a shape or type that can't be drawn.
    """
    template = template_environment().get_template("report.html.j2")
    return template.render(
        title=report.title,
        m=report.metrics,
        figures=[(figure, inline_svg(figure)) for figure in report.figures if figure.on_page],
        **_tables(report.metrics),
        **_quality(report),
        **_pictures(report),
    )


def template_environment(*, keep_trailing_newline: bool = False) -> Environment:
    """The templates of this package, with the number formats as filters."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=keep_trailing_newline,
    )
    environment.filters.update(
        count=tables.count,
        decimal=tables.decimal,
        duration=tables.duration,
        percent=tables.percent,
        points=tables.points,
        breakable=_breakable,
    )
    return environment


def _breakable(name: str) -> Markup:
    """A name that a narrow column breaks after an underscore, and not within a word."""
    return Markup("_<wbr>").join(name.split("_"))


def recipe_as_yaml(recipe: Mapping[str, JsonValue]) -> str:
    """The recipe as YAML in its own order, or an empty text where there is none."""
    if not recipe:
        return ""
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=88)


def _tables(metrics: Metrics) -> dict[str, Any]:
    datasets = tables.list_datasets(metrics)
    return {
        "datasets": datasets,
        "headline": headline_of(metrics, datasets),
        "score_rows": tables.score_rows(datasets, metrics.verdict),
        "class_tables": class_tables.class_tables(datasets),
        "training_titles": _training_titles(metrics),
        "has_seeds": any(dataset.has_seeds for dataset in datasets),
        "details": [
            _detail(dataset, dataset.metrics.test)
            for dataset in datasets
            if isinstance(dataset.metrics.test, DatasetScores)
        ],
        "most_cpu_s": max([1e-9, *(stage.cpu_s for stage in metrics.stages.values())]),
        "generated": tables.count_generated(metrics),
        "photo_rows": tables.photo_rows(metrics),
        "composition_rows": tables.composition_rows(metrics, datasets),
        "recipe_yaml": recipe_as_yaml(metrics.recipe),
    }


def _training_titles(metrics: Metrics) -> tuple[str, str]:
    """Names of the val score and the test score that the table of trainings shows."""
    if not metrics.runs:
        return "", ""
    run = metrics.runs[0]
    val, test = tables.TITLES[run.val.headline], tables.TITLES[run.test.shown]
    return tables.lower_first(val), tables.lower_first(test)


def _quality(report: ReportInput) -> dict[str, Any]:
    quality = report.metrics.quality
    if quality is None:
        return {"quality_sentence": ""}
    return {
        "quality_sentence": describe_quality(quality),
        "quality_tables": quality_tables(quality),
        "quality_classes": [
            (label, quality_tables(quality, label)) for label in quality_labels(quality)
        ],
        "quality_figures": [
            (figure, inline_svg(figure))
            for figure in report.figures
            if figure.name == NEAREST_PHOTOS
        ],
    }


def _detail(dataset: tables.Dataset, test: DatasetScores) -> DatasetDetail:
    return DatasetDetail(
        dataset,
        test,
        class_tables.confusion_of(test),
        class_tables.share_rows(test),
        class_tables.class_score_rows(test),
    )


def _pictures(report: ReportInput) -> dict[str, Any]:
    """All pictures, encoded together so that they share one size budget, then sorted back."""
    shown = iter(show_thumbs(_every_thumb(report)))

    def take(thumbs: Sequence[Thumb]) -> tuple[Shown, ...]:
        return tuple(next(shown) for _ in thumbs)

    def take_rows(rows: Sequence[SheetRow]) -> Iterator[ShownRow]:
        columns: tuple[str, ...] = ()
        for row in rows:
            cells = tuple(cell if isinstance(cell, Gap) else next(shown) for cell in row.cells)
            yield ShownRow(row, cells, has_head=row.columns not in ((), columns))
            columns = row.columns or columns

    references = {photo.name: photo for photo in report.metrics.references}
    return {
        "sheets": [
            (sheet, list(take_rows(sheet.rows)), references.get(sheet.reference))
            for sheet in report.sheets
        ],
        "rejects": [(group, take(group.thumbs)) for group in report.rejects],
        "dataset_samples": [
            (name, take(thumbs)) for name, thumbs in report.dataset_samples.items()
        ],
        "test_samples": take(report.test_samples),
        "misclassified": take(report.misclassified),
        "segmented": [take(row) for row in report.segmented],
        "detected": [take(row) for row in report.detected],
        "near_pairs": [take(pair) for pair in report.near_pairs],
        "open_sheets": OPEN_SHEETS,
    }


def _every_thumb(report: ReportInput) -> Iterator[Thumb]:
    """All pictures in the order in which `_pictures` takes them back."""
    for sheet in report.sheets:
        for row in sheet.rows:
            yield from row.thumbs
    for group in report.rejects:
        yield from group.thumbs
    for samples in report.dataset_samples.values():
        yield from samples
    yield from report.test_samples
    yield from report.misclassified
    for pictures in (*report.segmented, *report.detected):
        yield from pictures
    for pair in report.near_pairs:
        yield from pair

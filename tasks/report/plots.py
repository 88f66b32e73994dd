"""The plots of a run as files beside its report, for slides and papers: ``plots/*.svg``."""

from collections.abc import Iterator, Mapping
from typing import Any

from models.evaluation.comparison import Interval
from models.reporting.figure_style import Style
from models.reporting.plots import (
    draw_comparison,
    draw_confusion_matrix,
    draw_learning_curves,
    draw_pr_curves,
    draw_prediction_share,
    draw_threshold_curves,
)


def draw_plots(metrics: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """File names and SVGs: learning curves, the comparison, and five plots per dataset."""
    trained = _trained(metrics)
    if not trained:
        return
    histories = {
        arm: [_rows(run["history"]) for run in metrics["runs"] if run["arm"] == arm]
        for arm in trained
    }
    yield "learning-curves.svg", draw_learning_curves(histories)
    yield "comparison.svg", draw_scoreboard(metrics, Style())
    for arm, test in trained.items():
        yield f"{arm}-precision-recall.svg", draw_pr_curves({arm: test})
        yield f"{arm}-thresholds.svg", draw_threshold_curves(test)
        yield f"{arm}-prediction-share.svg", draw_prediction_share(test)
        yield f"{arm}-confusion.svg", draw_confusion_matrix(test)


def draw_scoreboard(metrics: Mapping[str, Any], style: Style) -> bytes:
    """The comparison of the datasets with its intervals; there must be a verdict."""
    found = {
        arm: Interval.model_validate(one) for arm, one in metrics["verdict"]["intervals"].items()
    }
    return draw_comparison({"macro F1 on test photos": found}, style)


def _trained(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {arm: one["test"] for arm, one in metrics["datasets"].items() if one.get("test")}


def _rows(columns: Mapping[str, list[float]]) -> list[dict[str, float]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

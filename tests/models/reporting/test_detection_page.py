"""The report and the card of a run that trained detectors."""

from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.detection.scores import DetectionScores
from models.reporting.class_tables import class_tables
from models.reporting.dataset_card import render_card
from models.reporting.figures import draw_figures
from models.reporting.input import Thumb
from models.reporting.metrics import Metrics
from models.reporting.page import render_report
from models.reporting.tables import list_datasets
from tests.models.reporting.detection_report import make_detection_metrics
from tests.models.reporting.report_case import make_report


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return make_detection_metrics()


def test_metrics_are_read_back_as_they_were_written(metrics: Metrics) -> None:
    again = Metrics.model_validate_json(metrics.model_dump_json())
    assert isinstance(again.datasets["real"].test, DetectionScores)
    assert isinstance(again.runs[0].val, DetectionScores)
    assert again == metrics


def test_each_class_has_both_figures_with_their_spread(metrics: Metrics) -> None:
    tables = class_tables(list_datasets(metrics))
    assert list(tables) == ["AP50:95", "AP50"]
    cat, _, fish = tables["AP50"]
    test = metrics.datasets["added"].test
    assert isinstance(test, DetectionScores)
    own = test.per_class["cat"]
    assert cat.cells[1].text == f"{own.ap_50:.3f} ± {own.ap_50_spread:.3f}"
    assert cat.note == f"{own.objects} objects in {own.images} photos"
    assert fish.cells[0].text == "\N{EN DASH}"


def test_figures_are_those_of_detection(metrics: Metrics) -> None:
    figures = {figure.name: figure for figure in draw_figures(metrics)}
    assert "real-confusion" not in figures
    assert "Mean AP50" in figures["learning-curves"].svg.decode()
    curves = figures["precision-recall"]
    assert curves.title == "Precision by recall at an IoU of 0.5"
    assert "fish" not in curves.svg.decode()
    test = metrics.datasets["real"].test
    assert isinstance(test, DetectionScores)
    assert f"cat {test.per_class['cat'].ap_50:.3f}" in curves.description


def test_the_page_shows_boxes_and_mean_ap(metrics: Metrics) -> None:
    picture = Thumb(np.zeros((40, 60, 3), np.uint8), "cat 1 of 1", "added", scale=1.6)
    page = render_report(replace(make_report(metrics), detected=((picture,),), misclassified=()))
    for words in ("Mean AP on real test photos", "AP50:95 of each class", "false alarm"):
        assert words in page
    assert "Val mean AP" in page
    assert "Confusion matrix" not in page


def test_the_card_has_the_scores_of_detection_alone(metrics: Metrics) -> None:
    card = render_card(metrics)
    assert "| Dataset | Mean AP | 95 % interval | Mean AP50 |" in card
    assert "ROC-AUC" not in card

"""A study of detectors: its page and its figure are of mean AP."""

from typing import get_args

from models.evaluation.classification import Metric
from models.evaluation.prediction_file.score_content import join_seeds
from models.evaluation.settings import VerdictSettings
from models.evaluation.study import ScoredPoint, evaluate_study, figure_rows
from models.evaluation.study_description import Description
from models.evaluation.study_point import Point
from models.reporting.studies.figure import draw_study
from models.reporting.studies.page import render_study
from models.reporting.studies.plots import METRIC_NAMES
from tests.models.evaluation.detection.detection_case import make_content

SKILLS = {("5", 0.0): 0.4, ("5", 1.0): 0.8, ("all", 0.0): 0.7, ("all", 1.0): 0.7}


def make_points() -> list[ScoredPoint]:
    scored = []
    for (photos, share), skill in SKILLS.items():
        contents = [make_content(skill, seed) for seed in range(3)]
        point = Point(
            photos_per_class=photos,
            real=10,
            method="copy_paste" if share else "photos alone",
            share=share,
            synthetic=int(10 * share),
            augment="flip",
        )
        val, test = join_seeds(contents, "val", {}), join_seeds(contents, "test", {})
        scored.append(ScoredPoint(point, val, test))
    return scored


def test_a_study_of_detectors_shows_mean_ap() -> None:
    scored = make_points()
    scores = evaluate_study(scored, ["copy_paste"], VerdictSettings(metric="map_50_95"))
    few, _ = scores.choices
    assert few.best.point.has_images
    assert few.best.replicates == 3
    page = render_study("rare class", Description(), scores, ())
    assert "Generated images help with 5 (" in page
    assert "mean AP, test" in page
    assert b"mean AP on test photos" in draw_study(scores, Description())
    assert {row["figure"] for row in figure_rows(scored)} == {"map_50_95", "map_50"}


def test_every_figure_has_a_name() -> None:
    assert set(METRIC_NAMES) == set(get_args(Metric))

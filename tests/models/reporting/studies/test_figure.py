"""The figure of a study: its axis, its lines, and published figures beside them."""

import re

import pytest

from models.evaluation.study import evaluate_study
from models.evaluation.study_description import Axis, Description, PublishedFigure
from models.reporting.figure_style import PNG, SVG
from models.reporting.studies.figure import draw_study
from tests.models.evaluation.study_case import make_points

DIAMOND = "published"


def draw(x: Axis, *published: PublishedFigure) -> str:
    scores = evaluate_study(make_points(), ["cut"])
    return draw_study(scores, Description(x=x, published=published), SVG).decode()


@pytest.mark.parametrize(
    ("x", "texts"),
    [
        ("photos", ["photos alone, randaugment", "2 per photo", "5 photos", "macro F1"]),
        ("generated", ["0%", "100%", "200%", "5 photos per class", "cut", "macro F1"]),
        ("images", ["5 photos per class", "generated images per class", "10", "20"]),
        ("method", ["cut, 5, 2 per photo", "photos alone, flip, all", "weighted F1", "val photos"]),
    ],
)
def test_each_axis_has_its_ticks_and_lines(x: Axis, texts: list[str]) -> None:
    svg = draw(x)
    assert not [text for text in texts if text not in svg]
    assert svg == draw(x)
    assert DIAMOND not in svg


def test_one_amount_per_method_gives_a_line_per_method() -> None:
    points = [found for found in make_points() if found.point.share != 2]
    scores = evaluate_study(points, ["cut"])
    svg = draw_study(scores, Description(x="photos"), SVG).decode()
    assert "real photos per class" in svg
    assert "generated images per real photo" not in svg


def test_published_figures_stand_beside_the_measured_ones() -> None:
    known = PublishedFigure(series="cut", x="200%", photos="5", figure="f1_macro", value=0.5)
    plain, marked = draw("generated"), draw("generated", known)
    assert DIAMOND in marked
    markers = len(re.findall("<use", marked)) - len(re.findall("<use", plain))
    assert markers == 2, "one beside the line, one in the legend"
    elsewhere = known.model_copy(update={"x": "300%"})
    assert (
        len(re.findall("<use", draw("generated", elsewhere))) == len(re.findall("<use", plain)) + 1
    )


def test_a_figure_is_written_as_png() -> None:
    scores = evaluate_study(make_points(), ["cut"])
    assert draw_study(scores, Description(x="generated"), PNG).startswith(b"\x89PNG")

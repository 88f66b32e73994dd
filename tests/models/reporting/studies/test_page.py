"""The page of a study: the answer first, the charts, every point, and what is left out."""

import re

from models.evaluation.study import PointScores, StudyScores, evaluate_study
from models.evaluation.study_description import Description, PublishedFigure
from models.reporting.studies.page import render_study, say_answer, say_choice
from tests.models.evaluation.study_case import make_points


def make_scores() -> StudyScores:
    return evaluate_study(make_points(), ["cut"])


def with_gain(scores: StudyScores, low: float, high: float) -> StudyScores:
    """The scores with another interval of the first choice's gain."""
    choice, other = scores.choices
    assert choice.best.gain is not None
    gain = choice.best.gain.model_copy(update={"low": low, "high": high})
    best: PointScores = choice.best.model_copy(update={"gain": gain})
    return scores.model_copy(update={"choices": (choice.model_copy(update={"best": best}), other)})


def test_the_answer_follows_from_the_intervals_of_the_choices() -> None:
    scores = make_scores()
    for low, high, pattern in (
        (
            0.01,
            0.3,
            r"Generated images help with 5 \([\d.]+% instead of [\d.]+%\) photos per class",
        ),
        (
            -0.3,
            -0.01,
            r"Generated images lower the test score with 5 \(.+ instead of .+\) photos per class",
        ),
        (
            -0.02,
            0.02,
            "Generated images do not help with 5 photos per class: a gain of 3 points is excluded",
        ),
        (-0.1, 0.1, "This test cannot tell whether generated images help with 5 photos per class"),
    ):
        rest = r"; with all photos per class, val prefers the photos alone\."
        assert re.fullmatch(pattern + rest, say_answer(with_gain(scores, low, high)))


def test_a_choice_names_share_scores_and_gain() -> None:
    first, second = make_scores().choices
    pattern = (
        r"5 photos per class: val chooses 1 per photo, [\d.]+% on test against [\d.]+% of photos "
        r"alone, randaugment: \+[\d.]+ points \(.+ to .+\)"
    )
    assert re.fullmatch(pattern, say_choice(first))
    assert "val chooses photos alone, flip" in say_choice(second)


def test_the_page_has_every_point_and_escapes_names() -> None:
    scores = make_scores()
    page = render_study("<b>garments", Description(), scores, ["9 photos per class: left out"])
    assert "<b>garments" not in page
    assert "&lt;b&gt;garments" in page
    assert page.index(say_answer(scores)) < page.index("<svg")
    assert page.count("<svg") == 2
    assert page.count("<tr>") == 2 * (1 + len(scores.points))
    assert "9 photos per class: left out" in page
    assert page == render_study(
        "<b>garments", Description(), make_scores(), ["9 photos per class: left out"]
    )


def test_published_figures_have_a_column() -> None:
    known = PublishedFigure(
        series="cut", x="2 per photo", photos="5", figure="accuracy", value=0.91
    )
    page = render_study("garments", Description(published=(known,)), make_scores(), [])
    assert page.count("test accuracy 91.0%") == 1
    assert "Published" in page
    assert "Published" not in render_study("garments", Description(), make_scores(), [])

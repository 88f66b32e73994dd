"""The verdict, with the false verdicts that an earlier method gave."""

from typing import Any

import numpy as np
import pytest

from models.evaluation.answers import Conclusion
from models.evaluation.conclusion import DEFAULTS, conclude
from models.evaluation.predictions import ClassifierPredictions
from models.evaluation.settings import VerdictSettings
from tests.models.evaluation.prediction_case import (
    ADDED,
    ALL_REAL,
    CLASSES,
    FEW_REAL,
    FEW_SYNTHETIC,
    MIXED,
    make_dataset,
    predict,
)

ORIGINS = {
    "few_shot": FEW_REAL,
    "few_shot_crop": FEW_REAL,
    "synthetic": FEW_SYNTHETIC,
    "real": ALL_REAL,
    "real_crop": ALL_REAL,
    "added": ADDED,
    "mixed": MIXED,
}


def conclude_on(settings: VerdictSettings = DEFAULTS, **accuracies: Any) -> Conclusion:
    """The verdict on trainings of known accuracy, with five seeds."""
    options = {name: accuracies.pop(name) for name in ("seeds", "each") if name in accuracies}
    options = {"seeds": 5} | options
    return conclude(
        [
            make_dataset(name, accuracy, origin=ORIGINS[name], **options)
            for name, accuracy in accuracies.items()
        ],
        settings,
    )


def test_images_of_a_few_photos_help() -> None:
    verdict = conclude_on(few_shot=0.6, few_shot_crop=0.7, synthetic=0.9)
    (answer,) = verdict.answers
    assert (answer.question, answer.outcome) == ("few_photos", "helps")
    assert (answer.winner, answer.rival) == ("synthetic", "few_shot_crop")
    assert 0 < answer.low < answer.gain < answer.high
    first = "With 5 photos per class, synthetic images help: 9"
    assert verdict.text.startswith(first)
    assert " % of test photos right. The deciding score, macro F1, is " in verdict.text
    assert (
        " with few_shot_crop, the best of 2 trainings without synthetic images: gain +"
        in verdict.text
    )
    assert verdict.best == "synthetic"


def test_images_added_to_all_photos_do_not_help() -> None:
    verdict = conclude_on(real=0.9, added=0.8)
    (answer,) = verdict.answers
    assert (answer.question, answer.outcome, answer.winner) == ("adding", "no_help", "real")
    assert answer.high < 0.03
    assert verdict.text.startswith("Added to all train photos, synthetic images do not help")
    assert "a gain of 3 points or more is excluded" in verdict.text


def test_the_margin_decides_what_is_no_gain() -> None:
    equal = {"real": 0.8, "added": 0.8, "each": 120}
    assert conclude_on(**equal).answers[0].outcome == "no_help"
    strict = conclude_on(VerdictSettings(margin=0.001), **equal)
    assert strict.answers[0].outcome == "undecided"
    assert "cannot decide" in strict.text.partition(".")[0]


def test_a_stronger_training_without_images_prevents_help() -> None:
    weak = conclude_on(few_shot=0.5, synthetic=0.75)
    strong = conclude_on(few_shot=0.5, few_shot_crop=0.76, synthetic=0.75)
    assert weak.answers[0].outcome == "helps"
    assert strong.answers[0].outcome != "helps"


def test_trainings_without_synthetic_images_never_win_nor_prevent_an_answer() -> None:
    verdict = conclude_on(few_shot=0.87, real=0.86, added=0.7, mixed=0.75, synthetic=0.57)
    assert [answer.outcome for answer in verdict.answers] == ["no_help", "no_help"]
    assert {answer.candidate for answer in verdict.answers} == {"synthetic", "added"}


def test_replacing_photos_decides_nothing() -> None:
    verdict = conclude_on(real=0.6, mixed=0.9)
    assert verdict.answers == ()
    assert [(gap.dataset_a, gap.dataset_b) for gap in verdict.replacing] == [("mixed", "real")]
    assert verdict.text.startswith("No training answers whether synthetic images help")


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_give_no_verdict(seeds: int) -> None:
    verdict = conclude_on(few_shot=0.4, synthetic=0.95, real=0.5, added=0.9, seeds=seeds)
    assert {answer.outcome for answer in verdict.answers} == {"no_verdict"}
    assert {answer.winner for answer in verdict.answers} == {None}
    assert verdict.text.startswith("No verdict on synthetic images: ")
    assert "train with 3 or more" in verdict.text.partition(". ")[0]
    assert verdict.best is None


def test_each_question_needs_the_seeds_of_its_own_trainings() -> None:
    datasets = [
        make_dataset(name, accuracy, seeds, origin=ORIGINS[name])
        for name, accuracy, seeds in (
            ("few_shot", 0.5, 5),
            ("synthetic", 0.9, 5),
            ("real", 0.5, 1),
            ("added", 0.9, 5),
        )
    ]
    verdict = conclude(datasets)
    assert [answer.outcome for answer in verdict.answers] == ["helps", "no_verdict"]
    expected = "Added to all train photos, synthetic images have no verdict: 1 seed is too few"
    assert expected in verdict.text


def test_equal_trainings_rarely_get_help() -> None:
    truth = np.repeat(np.arange(3), 20)
    helped = 0
    for case in range(40):
        rng = np.random.default_rng(case)
        skill = rng.normal(0, 2, 15).repeat(4)
        families = np.arange(15).repeat(4)
        datasets = []
        for name in ("few_shot", "synthetic"):
            logits = 2 + skill + rng.normal(0, 1, 15).repeat(4) + rng.normal(0, 0.5, (3, 1))
            right = rng.random((3, 60)) < 1 / (1 + np.exp(-logits))
            datasets.append(predict(name, truth, right, ORIGINS[name], families))
        helped += conclude(datasets).answers[0].outcome == "helps"
    assert helped <= 4


def test_skill_is_judged_by_the_metric_that_decides() -> None:
    truth = np.repeat([0, 1], [180, 20])
    rng = np.random.default_rng(0)
    datasets = []
    for name, hits in (("real", 0.7), ("added", 0.75)):
        predicted = np.where(rng.random((5, 200)) < np.where(truth, hits, 0.9), truth, 1 - truth)
        probabilities = np.eye(2, dtype=np.float32)[predicted]
        datasets.append(
            ClassifierPredictions(
                name, truth, ("good", "broken"), ORIGINS[name], probabilities=probabilities
            )
        )
    assert max(dataset.values("accuracy").mean() for dataset in datasets) < 0.91
    assert conclude(datasets).answers[0].outcome != "no_verdict"
    assert conclude(datasets, VerdictSettings(metric="accuracy")).answers[0].outcome == "no_verdict"


def test_training_without_skill_is_named() -> None:
    verdict = conclude_on(few_shot=0.12, synthetic=0.13)
    assert verdict.answers[0].outcome == "no_verdict"
    assert "no training beats the best constant answer" in verdict.text.partition(". ")[0]


def test_says_how_many_photos_or_seeds_would_decide() -> None:
    verdict = conclude_on(few_shot=0.7, synthetic=0.73, each=12, seeds=3)
    answer = verdict.answers[0]
    assert answer.outcome == "undecided"
    (gap,) = answer.differences
    assert gap.difference > gap.standard_error
    assert "would show a true gain of this size in 4 of 5 runs" in verdict.text
    # A gain below its standard error may be of any size.
    assert "would show" not in conclude_on(few_shot=0.7, synthetic=0.71, each=12).text


def test_two_candidates_share_the_error() -> None:
    other = {"other": FEW_SYNTHETIC}
    datasets = [
        make_dataset(name, accuracy, origin=(ORIGINS | other)[name])
        for name, accuracy in (("few_shot", 0.6), ("synthetic", 0.8), ("other", 0.9))
    ]
    (answer,) = conclude(datasets).answers
    assert answer.winner == "other"
    assert all(gap.level == pytest.approx(0.975) for gap in answer.differences)


def test_verdict_names_its_limits() -> None:
    text = conclude_on(few_shot=0.6, synthetic=0.9, each=9).text
    assert "Intervals are over 27 test photos and 5 seeds." in text
    assert "another draw of references can move a figure" in text
    assert "Fewer than 10 test photos: apple, kiwi, plum." in text
    datasets = []
    for name in ("few_shot", "synthetic"):
        each = make_dataset(name, 0.8, origin=ORIGINS[name])
        kept = each.y_true != 2
        datasets.append(
            ClassifierPredictions(
                name,
                each.y_true[kept],
                CLASSES,
                each.origin,
                probabilities=each.probabilities[:, kept],
            )
        )
    assert "No test photo, so left out of the figures: plum." in conclude(datasets).text


def test_rejects_trainings_of_one_name_and_none() -> None:
    with pytest.raises(ValueError, match="give each once"):
        conclude([make_dataset("real", 0.7), make_dataset("real", 0.7)])
    with pytest.raises(ValueError, match="give each once"):
        conclude([])

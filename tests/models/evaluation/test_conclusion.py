from typing import Any

import pytest

from models.evaluation.conclusion import Conclusion, conclude
from models.evaluation.predictions import DatasetPredictions
from tests.models.evaluation.prediction_case import CLASSES, make_dataset


def conclude_on(real: float, mixed: float, synthetic: float, **settings: Any) -> Conclusion:
    figures = {"real": real, "mixed": mixed, "synthetic": synthetic}
    return conclude([make_dataset(name, figure, **settings) for name, figure in figures.items()])


def test_verdict_says_that_synthetic_images_help() -> None:
    answer = conclude_on(real=0.6, mixed=0.85, synthetic=0.4)
    assert (answer.winner, answer.helps) == ("mixed", True)
    assert answer.text.startswith("Use the mixed set: synthetic images help here.")
    gap = answer.differences["mixed"]
    assert gap.low > 0
    assert (
        f"({100 * gap.difference:+.1f} percentage points, interval {100 * gap.low:+.1f} to"
        in answer.text
    )
    assert f"reached {100 * answer.intervals['mixed'].value:.1f} macro F1" in answer.text
    assert "Synthetic images alone reached" in answer.text
    assert "worse than real photos alone" in answer.text
    assert "180 test photos and 3 seeds" in answer.text
    assert gap.level == pytest.approx(0.975)


def test_verdict_says_that_synthetic_images_do_not_help() -> None:
    answer = conclude_on(real=0.85, mixed=0.7, synthetic=0.5)
    assert (answer.winner, answer.helps) == ("real", False)
    assert answer.text.startswith("Use real photos alone, with ")
    assert "synthetic images do not help here" in answer.text
    assert all(gap.high < 0 for gap in answer.differences.values())


def test_verdict_says_when_the_test_cannot_decide() -> None:
    answer = conclude_on(real=0.7, mixed=0.73, synthetic=0.7, each=12)
    assert (answer.winner, answer.helps) == (None, None)
    assert answer.text.startswith("This test cannot decide whether synthetic images help.")
    assert "not significantly different from real photos alone" in answer.text
    assert "real photos alone are the safe choice" in answer.text


def test_verdict_names_the_number_of_photos_that_would_decide() -> None:
    answer = conclude_on(real=0.7, mixed=0.78, synthetic=0.5, each=12, seeds=1)
    assert answer.helps is None
    assert "such test photos would decide" in answer.text


def test_verdict_prefers_the_better_of_two_that_help() -> None:
    answer = conclude_on(real=0.5, mixed=0.7, synthetic=0.9)
    assert (answer.winner, answer.helps) == ("synthetic", True)
    assert "Use synthetic images alone" in answer.text
    assert "The mixed set reached" in answer.text
    assert "also better than real photos alone" in answer.text


def test_verdict_without_skill_names_the_training() -> None:
    answer = conclude_on(real=0.31, mixed=0.3, synthetic=0.3)
    assert (answer.winner, answer.helps) == (None, None)
    assert answer.text.startswith("No dataset beats the majority-class baseline")


def test_verdict_names_its_limits() -> None:
    answer = conclude_on(real=0.6, mixed=0.9, synthetic=0.4, seeds=1, each=9)
    assert "One seed does not show the training variance" in answer.text
    assert "Fewer than 10 test photos: apple, kiwi, plum." in answer.text
    real, mixed = make_dataset("real", 0.6), make_dataset("mixed", 0.9)
    kept = real.y_true != 2
    datasets = [
        DatasetPredictions(each.name, each.y_true[kept], each.probabilities[:, kept], CLASSES)
        for each in (real, mixed)
    ]
    assert "No test photo, so left out of the figures: plum." in conclude(datasets).text


def test_verdict_on_equal_datasets_is_no() -> None:
    real = make_dataset("real", 0.7, seeds=1)
    twin = DatasetPredictions("mixed", real.y_true, real.probabilities, CLASSES)
    answer = conclude([real, twin])
    assert (answer.winner, answer.helps) == ("real", False)
    assert "as good as real photos alone (+0.0 percentage points" in answer.text


def test_verdict_needs_real_and_another_dataset() -> None:
    with pytest.raises(ValueError, match="give 'real' and others"):
        conclude([make_dataset("mixed", 0.7), make_dataset("synthetic", 0.7)])
    with pytest.raises(ValueError, match="give 'real' and others"):
        conclude([make_dataset("real", 0.7)])
    with pytest.raises(ValueError, match="each once"):
        conclude([make_dataset("real", 0.7), make_dataset("real", 0.7)])

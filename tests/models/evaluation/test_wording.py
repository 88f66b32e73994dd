"""The number of test photos or seeds that would decide, with 80 percent power."""

import pytest

from models.evaluation.comparison import Difference
from models.evaluation.wording import say_needed_size


def make_difference(
    gain: float, photo_variance: float, seed_variance: float, level: float = 0.95
) -> Difference:
    error = (photo_variance + seed_variance) ** 0.5
    return Difference(
        dataset_a="synthetic",
        dataset_b="few_shot",
        metric="f1_macro",
        difference=gain,
        low=gain - 2 * error,
        high=gain + 2 * error,
        level=level,
        standard_error=error,
        degrees_of_freedom=50,
        seeds=5,
        photos=120,
        families=120,
        photo_variance=photo_variance,
        seed_variance=seed_variance,
    )


def test_photos_decide_where_photos_cause_the_variance() -> None:
    # (1.960 + 0.842) standard errors must be 0.05: 120 * 0.0009 / 0.0003185 = 339
    (text,) = say_needed_size(make_difference(0.05, 0.0009, 0.0))
    assert text == "About 340 test photos would show a true gain of this size in 4 of 5 runs."
    (stricter,) = say_needed_size(make_difference(0.05, 0.0009, 0.0, level=0.975))
    assert "About 420 test photos" in stricter


def test_seeds_decide_where_seeds_cause_the_variance() -> None:
    # 5 * 0.0006 / (0.0003185 - 0.0001) = 13.7
    (text,) = say_needed_size(make_difference(0.05, 0.0001, 0.0006))
    assert text == "About 14 seeds would show a true gain of this size in 4 of 5 runs."
    (both,) = say_needed_size(make_difference(0.05, 0.0002, 0.0002))
    assert "About 210 test photos or 9 seeds would show" in both


def test_neither_alone_decides_where_both_cause_much() -> None:
    (text,) = say_needed_size(make_difference(0.05, 0.0005, 0.0005))
    assert text == "A gain of this size needs both more test photos and more seeds."


@pytest.mark.parametrize("gain", [0.02, 0.0, -0.05])
def test_nothing_is_said_of_a_gain_below_its_standard_error(gain: float) -> None:
    assert list(say_needed_size(make_difference(gain, 0.0009, 0.0))) == []

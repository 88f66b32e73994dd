"""The simulation of the verdict draws trainings with the stated accuracy and spread."""

import numpy as np
import pytest

from benchmarks.calibration import (
    Setting,
    draw_trainings,
    share_of,
    share_that_hold,
    simulate,
)


def test_simulated_trainings_have_the_stated_accuracy_and_spread() -> None:
    rng = np.random.default_rng(0)
    real, synthetic = draw_trainings(Setting(40, 8000, 4), (0.8, 0.85), rng)
    assert real.family_count == 2000
    accuracy = real.values("accuracy")
    assert accuracy.mean() == pytest.approx(0.8, abs=0.025)
    assert accuracy.std(ddof=1) == pytest.approx(0.04, abs=0.012)
    assert (synthetic.values("accuracy").mean() - accuracy.mean()) == pytest.approx(0.05, abs=0.025)
    assert real.values("f1_macro") == pytest.approx(accuracy, abs=0.01)


def test_most_intervals_hold_and_large_gains_are_found() -> None:
    equal = simulate(Setting(3, 60, 2), 0.0, 60)
    assert share_that_hold(equal, 0.0) >= 0.85
    assert share_of(equal, "helps") <= 0.1
    assert share_of(simulate(Setting(5, 360, 0), 0.15, 5), "helps") == 1

"""A cherry-picker prefers real objects to background, and to drawn ones if it knows some."""

import numpy as np
import pytest

from models.data.pixels import Floats
from models.screening.cherry_picker import choose_best, fit_cherry_picker


def features(seed: int, shift: tuple[float, float], count: int = 100) -> Floats:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.3, (count, 2)) + shift).astype(np.float32)


REAL, BACKGROUND, DRAWN = features(0, (1, 1)), features(1, (-1, 1)), features(2, (1, -1))


def test_real_objects_score_higher_than_background() -> None:
    picker = fit_cherry_picker(REAL, BACKGROUND)
    assert picker.background.auc == 1.0
    unseen = [features(seed, shift).mean(axis=0) for seed, shift in ((3, (1, 1)), (4, (-1, 1)))]
    real, background = picker.scores(np.stack(unseen))
    assert 0 < background < 0.5 < real < 1
    assert choose_best([background, real, real]) == 1


def test_drawn_objects_score_lower_where_some_were_compared() -> None:
    pair = np.stack([REAL[0], DRAWN[0]])
    without = fit_cherry_picker(REAL, BACKGROUND).scores(pair)
    real, drawn = fit_cherry_picker(REAL, BACKGROUND, DRAWN).scores(pair) / without
    assert 0 < drawn < 0.4 < 0.6 < real < 1


def test_features_that_say_nothing_have_an_auc_near_chance() -> None:
    noise = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    assert 0.2 < fit_cherry_picker(noise[:40], noise[40:]).background.auc < 0.8


def test_too_few_squares_are_refused() -> None:
    with pytest.raises(ValueError, match="1 real and 100 background squares"):
        fit_cherry_picker(REAL[:1], BACKGROUND)

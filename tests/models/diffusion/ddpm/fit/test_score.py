"""The score is low for images like the class, and high for copies, strangers and repetitions."""

import numpy as np
import pytest

from models.diffusion.ddpm.fit.score import best_of, evaluate


def test_images_like_the_class_have_the_best_score() -> None:
    rng = np.random.default_rng(0)
    centre = np.zeros(16) + 3
    crops = (centre + rng.normal(size=(40, 16))).astype(np.float32)
    candidates = {
        "alike": centre + rng.normal(size=(30, 16)),
        "copies": crops[:30],
        "strangers": rng.normal(size=(30, 16)) - centre,
        "one image": np.repeat(centre[None] + rng.normal(size=(1, 16)), 30, axis=0),
    }
    found = [evaluate(1, 0.5, images.astype(np.float32), crops) for images in candidates.values()]
    assert best_of(found) is found[0]
    assert found[0].score < 0.3 < min(evaluation.score for evaluation in found[1:])
    assert found[1].nearest < 1e-6
    assert found[3].diversity < 1e-6


def test_a_single_crop_has_no_distance_to_compare_with() -> None:
    crop, images = np.ones((1, 4), np.float32), np.eye(4, dtype=np.float32)
    found = evaluate(1, 0.5, images, crop)
    assert found.score == found.nearest == pytest.approx(0.5)

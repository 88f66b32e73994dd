"""Surroundings without the object, and what tells real ones from random ones."""

import numpy as np
import pytest

from models.data.records import Box
from models.placement.context import (
    choose_evenly,
    crop_surroundings,
    learn_relevance,
    score_places,
)


def test_the_object_is_hidden_and_its_surroundings_stay() -> None:
    image = np.full((60, 80, 3), 50, np.uint8)
    plain = crop_surroundings(image, (30, 20, 10, 8), 3.0)
    image[20:28, 30:40] = (200, 10, 10)
    with_object = crop_surroundings(image, (30, 20, 10, 8), 3.0)
    assert with_object.shape == (30, 30, 3)
    np.testing.assert_array_equal(with_object, plain)
    image[12:14, 30:40] = (0, 90, 0)
    assert (crop_surroundings(image, (30, 20, 10, 8), 3.0) != plain).any()


@pytest.mark.parametrize(
    ("box", "size"),
    [((0, 0, 10, 8), (30, 30)), ((70, 52, 10, 8), (30, 30)), ((5, 5, 50, 50), (80, 60))],
)
def test_surroundings_move_into_the_frame(box: Box, size: tuple[int, int]) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    crop = crop_surroundings(image, box, 3.0)
    assert crop.shape[1::-1] == size


def test_places_like_real_ones_score_higher() -> None:
    rng = np.random.default_rng(0)
    real = rng.random((20, 30), np.float32) + np.arange(30, dtype=np.float32) / 10
    random = rng.random((30, 30), np.float32) + np.arange(30, dtype=np.float32)[::-1] / 10
    relevance = learn_relevance(real[:15], random[:20])
    scores = score_places(np.concatenate([real[15:], random[20:]]), relevance)
    assert scores[:5].min() > 0.8
    assert scores[5:].max() < 0.2


def test_items_are_chosen_at_even_distances() -> None:
    assert choose_evenly(range(10), 4) == [0, 2, 5, 7]
    assert choose_evenly(range(3), 4) == [0, 1, 2]

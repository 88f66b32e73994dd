"""Selection keeps the images that are like the photos, and says how far the sets are apart."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from models.quality.select import best_of, reduce_distance, similarity


def clouds(*centres: float, count: int = 12, seed: int = 0) -> np.ndarray:
    """Features around some centres, one after another."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(centre, 0.3, (count, 6)) for centre in centres])


def test_similarity_is_the_mean_over_the_three_nearest_photos() -> None:
    photos = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert similarity(np.array([[2.0, 0.0]]), photos) == pytest.approx([2 / 3])
    assert similarity(np.array([[2.0, 0.0]]), photos[:1]) == pytest.approx([1.0])


def test_the_best_of_every_two_is_kept_per_group() -> None:
    scores = np.array([0.1, 0.9, 0.8, 0.2, 0.5])
    assert best_of(scores, ["a", "a", "a", "b", "b"], 2).tolist() == [1, 2, 4]
    assert best_of(scores, ["a"] * 5, 5).tolist() == [1]


def test_images_unlike_the_photos_are_left_out_first() -> None:
    images, photos = clouds(1.0, 4.0), clouds(1.0, seed=1)
    reduced = reduce_distance(images, photos, clouds(1.0, seed=2), least=2)
    assert set(reduced.kept) <= set(range(12))
    assert len(reduced.kept) >= 4
    assert [step.images for step in reduced.curve] == list(range(24, 1, -1))


def test_a_set_that_is_like_the_photos_keeps_most_images() -> None:
    reduced = reduce_distance(clouds(1.0), clouds(1.0, seed=1), clouds(1.0, seed=2), least=2)
    kept = next(step for step in reduced.curve if step.images == len(reduced.kept))
    assert kept.val == min(step.val for step in reduced.curve if step.val is not None)


def test_the_curve_holds_the_discrepancy_of_each_set() -> None:
    images, photos = clouds(1.0, 2.0, count=4), clouds(1.0, count=8, seed=1)
    reduced = reduce_distance(images, photos, photos[:0], least=2)

    def discrepancy(kept: tuple[int, ...]) -> float:
        own = images[list(kept)]
        return float(
            polynomial_kernel(own).mean()
            + polynomial_kernel(photos).mean()
            - 2 * polynomial_kernel(own, photos).mean()
        )

    everything = tuple(range(8))
    without_one = [discrepancy(everything[:at] + everything[at + 1 :]) for at in range(8)]
    assert reduced.curve[0].train == pytest.approx(discrepancy(everything))
    assert reduced.curve[1].train == pytest.approx(min(without_one))
    assert reduced.curve[0].val is None


def test_without_val_photos_the_train_photos_decide() -> None:
    photos = clouds(1.0, seed=1)
    reduced = reduce_distance(clouds(1.0, 4.0), photos, photos[:1], least=6)
    best = min(reduced.curve, key=lambda step: step.train)
    assert len(reduced.kept) == best.images


def test_too_few_images_or_photos_are_refused() -> None:
    with pytest.raises(ValueError, match="1 images, 12 train photos, 2 to keep"):
        reduce_distance(clouds(1.0)[:1], clouds(1.0), clouds(1.0), least=2)
    with pytest.raises(ValueError, match="give at least one photo"):
        similarity(clouds(1.0), clouds(1.0)[:0])

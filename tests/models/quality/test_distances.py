"""Figures about sets of features against known answers and other implementations."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.kid import poly_mmd

from models.quality.distances import (
    Features,
    density_and_coverage,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest,
)


def gaussian(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> Features:
    return np.random.default_rng(seed).normal(shift, scale, (count, 8))


def test_frechet_distance_of_two_gaussians_is_the_known_one() -> None:
    # Per value: the squared shift, and the squared difference of the standard deviations.
    known = 8 * (2.0**2 + (3.0 - 1.0) ** 2)
    found = frechet_distance(gaussian(0, 20_000), gaussian(1, 20_000, 2.0, 3.0))
    assert found == pytest.approx(known, rel=0.02)


def test_frechet_distance_equals_the_root_of_the_covariances() -> None:
    first, second = gaussian(0, 60) @ gaussian(5, 8), gaussian(1, 40, 0.5)
    covariances = np.cov(first.T), np.cov(second.T)
    root = sqrtm(covariances[0] @ covariances[1]).real
    between = first.mean(0) - second.mean(0)
    expected = between @ between + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_is_that_of_torchmetrics() -> None:
    first, second = gaussian(0, 200, 0.3), gaussian(1, 200)
    whole = float(poly_mmd(torch.from_numpy(first), torch.from_numpy(second)))
    found = kernel_distance(first, second, np.random.default_rng(0))
    assert found.subset == 100
    assert found.mean == pytest.approx(whole, abs=3 * found.sd / np.sqrt(100) + 1e-3)


def test_kernel_distance_of_alike_sets_is_near_zero() -> None:
    same = kernel_distance(gaussian(0, 400), gaussian(1, 400), np.random.default_rng(0))
    other = kernel_distance(gaussian(0, 400), gaussian(1, 400, 1.0), np.random.default_rng(0))
    assert abs(same.mean) < same.sd < other.mean / 10


def test_kernel_distance_refuses_sets_that_it_can_not_split() -> None:
    with pytest.raises(ValueError, match="3 images; give at least 4"):
        kernel_distance(gaussian(0, 3), gaussian(1, 9), np.random.default_rng(0))


def test_equal_sets_have_coverage_1() -> None:
    photos = gaussian(0, 50)
    assert density_and_coverage(photos, photos, 5).coverage == 1.0


def test_images_far_away_cover_nothing() -> None:
    assert density_and_coverage(gaussian(0, 30, 100.0), gaussian(1, 30), 5) == (0.0, 0.0)


def test_density_and_coverage_equal_a_loop_over_photos_and_images() -> None:
    images, photos, neighbour = gaussian(0, 25, 0.5), gaussian(1, 18), 3
    inside = np.zeros((18, 25), bool)
    for row, photo in enumerate(photos):
        others = sorted(float(np.linalg.norm(photo - other)) for other in photos)
        for column, image in enumerate(images):
            inside[row, column] = np.linalg.norm(photo - image) <= others[neighbour]
    found = density_and_coverage(images, photos, neighbour)
    assert found.density == pytest.approx(inside.sum() / (neighbour * 25))
    assert found.coverage == pytest.approx(inside.any(axis=1).mean())


def test_a_copy_is_found_at_distance_0() -> None:
    photos = gaussian(0, 12)
    distances, indices = nearest(np.vstack([gaussian(1, 3), photos[7] * 2.0]), photos)
    assert indices[3] == 7
    assert distances[3] == pytest.approx(0.0, abs=1e-12)
    assert distances[:3].min() > 0.05


def test_mean_pairwise_distance_is_the_mean_over_all_pairs() -> None:
    # Two right angles and one pair of opposites.
    assert mean_pairwise_distance(np.array([[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]])) == pytest.approx(
        (1.0 + 1.0 + 2.0) / 3
    )

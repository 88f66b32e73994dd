"""Pairs that matter for a split are compared, and no others."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from models.data.records import Split
from models.leakage.shortlist import list_all_pairs, shortlist_pairs

ALL_GIVEN: list[Split | None] = ["train", "test", "train", "val", "test", "val"]


@pytest.mark.parametrize(
    ("splits", "left_out"),
    [
        (ALL_GIVEN, {(0, 2), (1, 4), (3, 5)}),
        (["train", "test", "train", "test"], {(1, 3)}),
        ([None] * 4, set()),
    ],
)
def test_lists_each_pair_that_can_leak_once(
    splits: Sequence[Split | None], left_out: set[tuple[int, int]]
) -> None:
    expected = [pair for pair in combinations(range(len(splits)), 2) if pair not in left_out]
    assert list_all_pairs(splits) == expected
    assert list_all_pairs(splits, most=len(expected) - 1) is None


def test_shortlists_the_nearest_also_of_turned_photos() -> None:
    rng = np.random.default_rng(0)
    upright = rng.random((90, 40)).astype(np.float32) ** 4
    turned = [rng.random((90, 40)).astype(np.float32) ** 4 for _ in range(3)]
    upright[7] = 3 * upright[2]  # the same picture at another scale of the features
    upright[80] = turned[1][5]
    pairs = shortlist_pairs(upright, turned, [None] * 90, nearest=2)
    assert {(2, 7), (5, 80)} <= set(pairs)
    assert pairs == sorted(set(pairs))
    assert 90 <= len(pairs) <= 180
    assert all(first < second for first, second in pairs)


def test_the_nearest_are_chosen_among_the_pairs_that_matter() -> None:
    features = np.eye(6, 8, dtype=np.float32) + 0.1
    pairs = shortlist_pairs(features, [], ALL_GIVEN, nearest=6)
    assert pairs == list_all_pairs(ALL_GIVEN)

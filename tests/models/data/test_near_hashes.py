"""Near hashes are found exactly as by comparing all, with and without tables of bands."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data import near_hashes
from models.data import near_pairs as near_pairs_of
from models.data.near_hashes import HASH_BITS, NearHashes, near_among_all, words_of
from models.data.near_pairs import near_pairs
from models.screening.quality import hamming

ALL = 2**HASH_BITS - 1


def drawn(rng: random.Random, count: int, blank: int) -> list[int]:
    """Hashes of a few scenes with up to 40 bits changed; ``blank`` bits are 0 in all of them."""
    filled = ALL ^ sum(1 << bit for bit in rng.sample(range(HASH_BITS), blank))
    scenes = [rng.getrandbits(HASH_BITS) for _ in range(1 + count // 4)]
    hashes = []
    for _ in range(count):
        changed = sum(1 << bit for bit in rng.sample(range(HASH_BITS), rng.randrange(40)))
        hashes.append((rng.choice(scenes) ^ changed) & filled)
    return hashes


def by_hand(queries: list[int], hashes: list[int], radius: int) -> list[tuple[int, int, int]]:
    return [
        (query, place, hamming(one, other))
        for query, one in enumerate(queries)
        for place, other in enumerate(hashes)
        if hamming(one, other) <= radius
    ]


def told(near: near_hashes.Near) -> list[tuple[int, int, int]]:
    return list(zip(near.query.tolist(), near.place.tolist(), near.bits.tolist(), strict=True))


@pytest.mark.parametrize("few", [0, 10_000], ids=["bands", "all"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    counts=st.tuples(st.integers(0, 30), st.integers(0, 80)),
    blank=st.sampled_from([0, 100, 240]),
    radius=st.integers(0, 45),
)
def test_the_near_ones_are_those_found_by_comparing_all(
    few: int, seed: int, counts: tuple[int, int], blank: int, radius: int
) -> None:
    rng = random.Random(seed)
    hashes = drawn(rng, sum(counts), blank)
    queries, others = hashes[: counts[0]], hashes[counts[0] :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_hashes, "_FEW", few)
        patch.setattr(near_hashes, "_GATHERED_PER_COMPARED", rng.choice([0, 1, 8]))
        found = NearHashes(words_of(others), radius).near(words_of(queries))
    assert told(found) == by_hand(queries, others, radius)


def test_many_are_found_across_the_blocks_they_are_compared_in() -> None:
    rng = random.Random(1)
    hashes = drawn(rng, 300, 0)
    queries = drawn(rng, 90, 0) + hashes[::7]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_hashes, "_COLUMNS", 64)
        found = NearHashes(words_of(hashes), 20).near(words_of(queries))
    assert told(found) == by_hand(queries, hashes, 20)


def test_a_pair_keeps_both_radii() -> None:
    one, other = words_of([0b111]), words_of([0, 0]).T
    given = np.array([3, 2], np.int16)
    assert told(near_among_all(one, other, np.array([9], np.int16), given)) == [(0, 0, 3)]
    assert told(near_among_all(one, other, np.array([-1], np.int16), given)) == []


def test_a_large_radius_takes_all() -> None:
    hashes = [0, ALL]
    assert told(NearHashes(words_of(hashes), HASH_BITS).near(words_of([0]))) == [
        (0, 0, 0),
        (0, 1, HASH_BITS),
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 90),
    blank=st.sampled_from([0, 100, 200]),
    radius=st.integers(0, 40),
)
def test_the_near_pairs_are_those_found_by_comparing_all(
    seed: int, count: int, blank: int, radius: int
) -> None:
    hashes = drawn(random.Random(seed), count, blank)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_pairs_of, "_FEW", 0)
        patch.setattr(near_pairs_of, "_LEAST_BAND_BITS", 1)
        patch.setattr(near_pairs_of, "_MOST_MET", 1000.0)
        found = near_pairs(words_of(hashes), radius)
    pairs = [one for one in by_hand(hashes, hashes, radius) if one[0] < one[1]]
    assert found is None or told(found) == pairs
    assert found is not None or count < 2 or blank == 200


def test_where_all_are_alike_or_few_pairs_are_left_to_comparing_all() -> None:
    rng = random.Random(1)
    assert near_pairs(words_of(drawn(rng, 100, 0)), 20) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_pairs_of, "_FEW", 0)
        film = [rng.getrandbits(HASH_BITS)] * 50
        assert near_pairs(words_of([one ^ 1 << at for at, one in enumerate(film)]), 20) is None

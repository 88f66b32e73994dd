"""Near hashes are those that a plain loop finds."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.splits import near_duplicates
from models.data.splits.near_duplicates import (
    HASH_BITS,
    HashedPhoto,
    NearHashes,
    find_near_hashes,
    later_near_duplicates,
    pack_hashes,
)
from models.screening.quality import hamming

ALL = 2**HASH_BITS - 1


def draw_hashes(rng: random.Random, count: int, blank: int) -> list[int]:
    """Hashes of a few scenes with up to 40 bits changed; ``blank`` bits are 0 in all of them."""
    filled = ALL ^ sum(1 << bit for bit in rng.sample(range(HASH_BITS), blank))
    scenes = [rng.getrandbits(HASH_BITS) for _ in range(1 + count // 4)]
    hashes = []
    for _ in range(count):
        changed = sum(1 << bit for bit in rng.sample(range(HASH_BITS), rng.randrange(40)))
        hashes.append((rng.choice(scenes) ^ changed) & filled)
    return hashes


def find_by_loop(queries: list[int], hashes: list[int], bits: int) -> list[tuple[int, int, int]]:
    return [
        (query, match, hamming(left, right))
        for query, left in enumerate(queries)
        for match, right in enumerate(hashes)
        if hamming(left, right) <= bits
    ]


def as_list(near: NearHashes) -> list[tuple[int, int, int]]:
    return list(zip(near.query.tolist(), near.match.tolist(), near.bits.tolist(), strict=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    counts=st.tuples(st.integers(0, 30), st.integers(0, 80)),
    blank=st.sampled_from([0, 100, 240]),
    bits=st.integers(0, 45),
    rows=st.sampled_from([1, 7, 64]),
)
def test_finds_what_a_plain_loop_finds(
    seed: int, counts: tuple[int, int], blank: int, bits: int, rows: int
) -> None:
    hashes = draw_hashes(random.Random(seed), sum(counts), blank)
    queries, others = hashes[: counts[0]], hashes[counts[0] :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_ROWS", rows)
        found = find_near_hashes(pack_hashes(queries), pack_hashes(others), bits)
    assert as_list(found) == find_by_loop(queries, others, bits)


def test_all_bits_may_differ() -> None:
    found = find_near_hashes(pack_hashes([0]), pack_hashes([0, ALL]), HASH_BITS)
    assert as_list(found) == [(0, 0, 0), (0, 1, HASH_BITS)]


@pytest.mark.parametrize("value", [-1, ALL + 1])
def test_refuses_hashes_of_another_size(value: int) -> None:
    with pytest.raises(OverflowError):
        pack_hashes([value])


def limit_by_structure(photo: HashedPhoto, bits: int) -> int:
    structure = (photo.dhash | photo.dhash_mirrored).bit_count()
    return math.floor(bits * (structure - 16) / 240)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 60), rows=st.sampled_from([1, 7, 64]))
def test_partly_blank_photos_reach_less_far(seed: int, count: int, rows: int) -> None:
    rng = random.Random(seed)
    photos = []
    for number, code in enumerate(draw_hashes(rng, count, 0)):
        filled = (1 << rng.choice([10, 60, 140, 256])) - 1
        mirrored = (code ^ ALL) & filled
        photos.append(HashedPhoto(str(number), "cat", None, "", code & filled, mirrored))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_ROWS", rows)
        found = {index: near.tolist() for index, near in later_near_duplicates(photos, 32)}
    expected: dict[int, list[int]] = {}
    for index, photo in enumerate(photos):
        for later in range(index + 1, count):
            other = photos[later]
            bits = min(
                hamming(photo.dhash, other.dhash),
                hamming(photo.dhash, other.dhash_mirrored),
                hamming(photo.dhash_mirrored, other.dhash),
            )
            if bits <= min(limit_by_structure(photo, 32), limit_by_structure(other, 32)):
                expected.setdefault(index, []).append(later)
    assert found == expected

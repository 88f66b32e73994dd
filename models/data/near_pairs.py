"""All pairs of near hashes within one large set, exactly, in time that hardly exceeds linear.

Of two hashes that differ in at most ``3 m - 1`` bits, one of any ``m`` disjoint bands differs in at
most two bits (the pigeonhole principle), so that changing at most one bit of either makes it equal.
Each hash is therefore listed under each value that is one bit from its own, the list is sorted, and
those that meet under a value are compared. The bits that vary most among the hashes make the bands:
where all are alike, such as on white, nothing is told.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from models.data.near_hashes import HASH_BITS, Near, Places, Words, distinct

Values = npt.NDArray[np.uint32]

# A band of more bits would take longer to list than it saves, of fewer tells too little.
_BAND_BITS, _LEAST_BAND_BITS = 23, 16
# Fewer hashes than this are sooner compared with all.
_FEW = 4096
# A bit that is alike in nearly all tells nothing: the variance of one that has a value in 2 %.
_LEAST_VARIANCE = 0.02
# If more than this share of all pairs, or so many, meet, comparing all is as fast, and needs less.
_MOST_MET, _MOST_PAIRS = 1 / 20, 1 << 24


def near_pairs(hashes: Words, radius: int) -> Near | None:
    """The pairs of hashes that differ in at most ``radius`` bits, the first one's index smaller.

    None where comparing all is faster: the hashes are few, or so alike that bands tell little.

    Args:
        hashes: uint64 (N, 4), see `models.data.near_hashes.words_of`.
        radius: bits of 256.
    """
    count, number = len(hashes), radius // 3 + 1
    if count < _FEW:
        return None
    left = min(_MOST_PAIRS, int(_MOST_MET * count**2))
    parts = []
    listed = 0
    for values in _bands(hashes, number):
        listed += 1
        for one, other in _meetings(values):
            left -= len(one)
            if left < 0:
                return None
            bits = np.bitwise_count(hashes[one] ^ hashes[other]).sum(axis=1, dtype=np.int64)
            near = bits <= radius
            one, other = one[near], other[near]
            parts.append(Near(np.minimum(one, other), np.maximum(one, other), bits[near]))
    return distinct(parts, count) if listed else None


def _bands(hashes: Words, number: int) -> Iterator[Values]:
    """Per band the values under which each hash is listed; none if too few bits tell anything."""
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, HASH_BITS // 8), axis=1)
    share = bits.mean(axis=0)
    variance = share * (1 - share)
    telling = np.argsort(-variance, kind="stable")[: np.count_nonzero(variance > _LEAST_VARIANCE)]
    width = min(_BAND_BITS, len(telling) // number)
    weights = (1 << np.arange(width)).astype(np.float32)
    beside = np.array([0, *(1 << bit for bit in range(width))], np.uint32)
    if width < _LEAST_BAND_BITS:
        return
    for band in range(number):
        own = bits[:, telling[band : band + number * width : number]] @ weights
        yield own.astype(np.uint32)[:, None] ^ beside


def _meetings(values: Values) -> Iterator[tuple[Places, Places]]:
    """The pairs of hashes that are listed under the same value, some at a time."""
    hashes = np.arange(len(values), dtype=np.uint64)[:, None]
    listed = np.sort((values.astype(np.uint64) << np.uint64(32) | hashes).ravel())
    value, place = listed >> np.uint64(32), (listed & np.uint64(2**32 - 1)).astype(np.intp)
    apart, at = 1, np.flatnonzero(value[1:] == value[:-1])
    while len(at):
        yield place[at], place[at + apart]
        apart += 1
        at = at[at + apart < len(value)]
        at = at[value[at + apart] == value[at]]

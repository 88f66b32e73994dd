"""Finding photos of the same scene among thousands, by the distance of their difference hashes.

Two photos are relatives when their hashes, or one's hash and the other's mirrored hash, differ in
few bits.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.data.near_hashes import HASH_BITS, Places, Words, near_among_all, words_of
from models.data.near_pairs import near_pairs
from models.data.records import Split

# Photos whose relatives are looked for in one go: a film's frames are all relatives of one another.
_AT_ONCE = 64
_LEVELS = 4
# Below this many cells with a gradient a photo is all but blank, and its hash says nothing.
_LEAST_STRUCTURE = 16


@dataclass(frozen=True)
class HashedPhoto:
    """What the split needs to know of one photo.

    ``digest`` is that of the file's bytes; ``dhash`` and ``dhash_mirrored`` are the 256-bit
    difference hashes of the pixels and of their mirror image.
    """

    file: str
    label: str
    given_split: Split | None
    digest: str
    dhash: int
    dhash_mirrored: int


def relatives(photos: Sequence[HashedPhoto], bits: int) -> list[list[int]]:
    """The groups of photos that are linked by near-duplicates, as sorted indices.

    Every index is in exactly one group; most groups hold one photo. ``bits`` bounds the distance of
    photos with structure everywhere, and shrinks with the share of blank cells: product shots on
    white agree in all the white. Of 1,200 pairs of different fruits cut out on white a fixed bound
    of 32 takes 705 for relatives, the shrinking one 10.
    """
    group = np.arange(len(photos))
    for one, other in _pairs(photos, bits):
        _join(group, one, other)
    members: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(group):
        members[int(number)].append(index)
    return list(members.values())


def related(photos: Sequence[HashedPhoto], bits: int) -> list[HashedPhoto]:
    """The photos that have a relative among the others, in their order."""
    has = np.zeros(len(photos), np.bool_)
    for one, other in _pairs(photos, bits):
        has[one] = has[other] = True
    return [photo for photo, one in zip(photos, has, strict=True) if one]


def neighbours(
    photos: Sequence[HashedPhoto], bits: int
) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Per photo that has any, its relatives that come after it."""
    for one, others in _pairs(photos, bits):
        starts = np.flatnonzero(np.diff(one, prepend=-1))
        for index, near in zip(one[starts], np.split(others, starts[1:]), strict=True):
            yield int(index), near


def _pairs(photos: Sequence[HashedPhoto], bits: int) -> Iterator[tuple[Places, Places]]:
    """Each pair of relatives once, the earlier photo first, in order, some photos at a time."""
    plain = words_of([photo.dhash for photo in photos])
    mirrored = words_of([photo.dhash_mirrored for photo in photos])
    # A cell without gradient is 0 in both hashes, one with a gradient is 1 in exactly one of them;
    # a photo with fewer than _LEAST_STRUCTURE of these reaches nothing.
    structure = np.bitwise_count(np.hstack([plain, mirrored])).sum(axis=1, dtype=np.int64)
    share = (structure - _LEAST_STRUCTURE) / (HASH_BITS - _LEAST_STRUCTURE)
    reach = np.floor(bits * np.minimum(share, 1.0)).astype(np.int16)
    telling = np.flatnonzero(reach >= 0)
    plain, mirrored, reach = plain[telling], mirrored[telling], reach[telling]
    found = _listed(plain, mirrored, reach)
    chunks = [found] if found is not None else _compared(plain, mirrored, reach)
    for one, other in chunks:
        if len(one):
            yield telling[one], telling[other]


def _listed(
    plain: Words, mirrored: Words, reach: npt.NDArray[np.int16]
) -> tuple[Places, Places] | None:
    """All pairs at once; None where comparing all is better."""
    parts = []
    farthest = int(reach.max(initial=0))
    lower = -1
    # Photos that reach less far are looked for apart: a small radius tells more.
    for upper in sorted({farthest * part // _LEVELS for part in range(1, _LEVELS + 1)}):
        some = np.flatnonzero(reach > lower)
        if (reach[some] <= upper).any():
            near = near_pairs(np.concatenate([plain[some], mirrored[some]]), upper)
            if near is None:
                return None
            one, other = some[near.query % len(some)], some[near.place % len(some)]
            both_mirrored = near.query >= len(some)
            within = near.bits <= np.minimum(reach[one], reach[other])
            kept = within & ~both_mirrored & (one != other)
            first, second = np.minimum(one, other), np.maximum(one, other)
            parts.append((first[kept], second[kept]))
        lower = upper
    firsts, seconds = zip(*parts, strict=True) if parts else ((), ())
    nothing = np.zeros(0, np.intp)
    pairs = np.concatenate([nothing, *firsts]) * len(reach) + np.concatenate([nothing, *seconds])
    once = np.unique(pairs)
    return once // len(reach), once % len(reach)


def _compared(
    plain: Words, mirrored: Words, reach: npt.NDArray[np.int16]
) -> Iterator[tuple[Places, Places]]:
    """All pairs by comparing each photo with all after it, some photos at a time."""
    straight, flipped = np.ascontiguousarray(plain.T), np.ascontiguousarray(mirrored.T)
    for first in range(0, len(reach), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        found = [
            near_among_all(these[some], those[:, first:], reach[some], reach[first:])
            for these, those in ((plain, straight), (plain, flipped), (mirrored, straight))
        ]
        related = np.zeros((len(reach[some]), len(reach) - first), np.bool_)
        for near in found:
            related[near.query, near.place] = True
        one, other = np.nonzero(np.triu(related, 1))
        yield one + first, other + first


def _join(group: Places, one: Places, other: Places) -> None:
    """Make one group of each pair's two, in place; a group is named by its first photo."""
    while True:
        ours, theirs = group[one], group[other]
        apart = ours != theirs
        if not apart.any():
            return
        np.minimum.at(group, np.maximum(ours, theirs)[apart], np.minimum(ours, theirs)[apart])
        while (group[group] != group).any():
            group[:] = group[group]

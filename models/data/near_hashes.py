"""Which of many 256-bit hashes lie within so many bits of others, exactly, without comparing all.

Of two hashes that differ in at most ``2 m - 1`` bits, one of any ``m`` disjoint bands differs in at
most one bit (the pigeonhole principle). So a hash is only compared with those that share a band
with it but for one bit, and a table tells for each value of a band who has it. Few hashes, and
radii too large for a band to tell much, are compared with all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HASH_BITS = 256
# A band of more bits makes the tables large, of fewer tells too little.
_BAND_BITS, _LEAST_BAND_BITS = 16, 12
# Fewer hashes than this are compared with all, which takes no longer than the tables.
_FEW = 8192
# Pairs compared in one go: they stay within a processor's cache.
_ROWS, _COLUMNS = 64, 4096
# Gathering a hash from anywhere takes so many times longer than comparing with the next.
_GATHERED_PER_COMPARED = 8

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]
Radii = npt.NDArray[np.int16]


class Near(NamedTuple):
    """Pairs of hashes that lie near each other.

    ``query`` and ``place`` are indices of the hash asked for and of the one found, intp; ``bits``
    tells in how many bits they differ, int64.
    """

    query: Places
    place: Places
    bits: npt.NDArray[np.int64]


def words_of(hashes: Sequence[int]) -> Words:
    """256-bit hashes as rows of four 64-bit words, uint64 (N, 4).

    Raises:
        OverflowError: one is negative or has more bits.
    """
    size = HASH_BITS // 8
    blob = b"".join(value.to_bytes(size, "little") for value in hashes)
    return np.frombuffer(blob, "<u8").reshape(-1, size // 8)


class NearHashes:
    """Hashes among which those within ``radius`` bits of others are found.

    Args:
        hashes: uint64 (N, 4), see `words_of`.
        radius: bits of 256 in which two may differ at most, 0 or more.
    """

    def __init__(self, hashes: Words, radius: int) -> None:
        self._columns = np.ascontiguousarray(hashes.T)
        self._radius = radius
        self._given = np.full(len(hashes), radius, np.int16)
        bands = radius // 2 + 1
        width = min(_BAND_BITS, HASH_BITS // bands)
        indexed = len(hashes) >= _FEW and width >= _LEAST_BAND_BITS
        self._bands = _Bands(hashes, bands, width) if indexed else None

    def near(self, queries: Words) -> Near:
        """All pairs of a query and a hash within the radius, ordered by query, then place.

        Args:
            queries: uint64 (M, 4).
        """
        if self._bands is None:
            return distinct([self._among_all(queries)], len(self._given))
        keys = self._bands.keys_of(queries)
        counts = self._bands.counts(keys)
        # Where bands hold much the same in most hashes, such as photos on white, they tell little,
        # and comparing with all is faster than gathering nearly all.
        told = counts * _GATHERED_PER_COMPARED < len(self._given)
        asked, others = np.flatnonzero(told), np.flatnonzero(~told)
        query, place = self._bands.candidates(keys[asked])
        found = _compared(queries, self._columns, asked[query], place)
        rest = self._among_all(queries[others])
        rest = rest._replace(query=others[rest.query])
        return distinct([_where(found, found.bits <= self._radius), rest], len(self._given))

    def _among_all(self, queries: Words) -> Near:
        asked = np.full(len(queries), self._radius, np.int16)
        return near_among_all(queries, self._columns, asked, self._given)


def near_among_all(queries: Words, columns: Words, asked: Radii, given: Radii) -> Near:
    """All pairs of a query and a hash within both their radii, by comparing each with each.

    They come in the order of the blocks that are compared at a time.

    Args:
        queries: uint64 (M, 4).
        columns: the hashes, uint64 (4, N): their first words, their second ones, and so on.
        asked: bits of 256 in which a query and a hash may differ at most, int16 (M,).
        given: the same of the hashes, int16 (N,).
    """
    count = columns.shape[1]
    parts = []
    for top in range(0, len(queries), _ROWS):
        rows = slice(top, top + _ROWS)
        for left in range(0, count, _COLUMNS):
            places = slice(left, left + _COLUMNS)
            near = _of_block(queries[rows], columns[:, places], asked[rows], given[places])
            parts.append(Near(near.query + top, near.place + left, near.bits))
    return _together(parts)


def _of_block(queries: Words, columns: Words, asked: Radii, given: Radii) -> Near:
    """Half of the bits rule most pairs out."""
    half = np.bitwise_count(queries[:, 0, None] ^ columns[0])
    half += np.bitwise_count(queries[:, 1, None] ^ columns[1])
    limits = np.minimum(asked[:, None], given)
    query, place = np.divmod(np.flatnonzero(half.ravel() <= limits.ravel()), half.shape[1])
    found = _compared(queries, columns, query, place)
    return _where(found, found.bits <= limits[query, place])


def _compared(queries: Words, columns: Words, query: Places, place: Places) -> Near:
    bits = np.bitwise_count(queries[query] ^ columns[:, place].T).sum(axis=1, dtype=np.int64)
    return Near(query, place, bits)


def _where(near: Near, kept: npt.NDArray[np.bool_]) -> Near:
    return Near(near.query[kept], near.place[kept], near.bits[kept])


def distinct(parts: Sequence[Near], count: int) -> Near:
    """Several findings as one, in order, each pair once; there are ``count`` hashes to be found."""
    query, place, bits = _together(parts)
    _, once = np.unique(query * count + place, return_index=True)
    return Near(query[once], place[once], bits[once])


def _together(parts: Sequence[Near]) -> Near:
    nothing = np.zeros(0, np.intp)
    return Near(
        np.concatenate([nothing, *(part.query for part in parts)]),
        np.concatenate([nothing, *(part.place for part in parts)]),
        np.concatenate([nothing, *(part.bits for part in parts)]),
    )


class _Bands:
    """Per band and value, which hashes have it."""

    def __init__(self, hashes: Words, bands: int, width: int) -> None:
        self._count, self._width = bands, width
        keys = self.keys_of(hashes)
        values = 1 << width
        order = [np.argsort(keys[:, band], kind="stable") for band in range(bands)]
        self._order = np.stack(order).astype(np.int32)
        self._starts = np.zeros((bands, values + 1), np.int32)
        for band in range(bands):
            tally = np.bincount(keys[:, band], minlength=values)
            np.cumsum(tally, out=self._starts[band, 1:])
        self._flips = np.array([0, *(1 << bit for bit in range(width))], np.uint16)

    def keys_of(self, hashes: Words) -> npt.NDArray[np.uint16]:
        """Each hash's value in each band, uint16 (N, bands).

        The bits of a band lie far apart in the hash: neighbours in a photo are alike.
        """
        bits = np.unpackbits(
            hashes.astype("<u8").view(np.uint8).reshape(-1, HASH_BITS // 8), axis=1
        )
        places = np.arange(self._width) * self._count + np.arange(self._count)[:, None]
        weights = (1 << np.arange(self._width)).astype(np.float32)
        return (bits[:, places] @ weights).astype(np.uint16)

    def counts(self, keys: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
        """Per query, how many candidates it has."""
        first, end = self._ranges(keys)
        return np.asarray((end - first).sum(axis=(1, 2)), np.int64)

    def candidates(self, keys: npt.NDArray[np.uint16]) -> tuple[Places, Places]:
        """Per candidate, the index of its query and that of the hash; some come several times."""
        first, end = self._ranges(keys)
        size = (end - first).ravel()
        query = np.repeat(np.repeat(np.arange(len(keys)), self._count * (1 + self._width)), size)
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        rows = np.broadcast_to(np.arange(self._count)[:, None], first.shape).ravel()
        place = self._order[np.repeat(rows, size), np.repeat(first.ravel(), size) + within]
        return query, place

    def _ranges(
        self, keys: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Where in the order of its band each key's hashes are, and those of the keys beside it:
        int32 (N, bands, 1 + width)."""
        beside = (keys[:, :, None] ^ self._flips).astype(np.intp)
        band = np.arange(self._count)[:, None]
        return self._starts[band, beside], self._starts[band, beside + 1]

"""Which held-out photo an image is nearest to, by difference hashes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.data.splits.near_duplicates import find_near_hashes, pack_hashes

# Scores give the distance to held-out photos up to this many bits, so that near misses show.
NEAR = 24
# The score where no held-out photo is near: the largest distance of two hashes.
FAR = 256


class HeldOutHashes:
    """The hashes of held-out photos, for finding the nearest of those that are near.

    Args:
        photos: names and hashes, as `index_heldout` writes them.
        max_bits: bits of 256 beyond which a photo is not near.
    """

    def __init__(self, photos: Sequence[dict[str, Any]], max_bits: int) -> None:
        self._owners = [photo["name"] for photo in photos for _ in photo["hashes"]]
        hashes = [int(text, 16) for photo in photos for text in photo["hashes"]]
        self._hashes, self._max_bits = pack_hashes(hashes), max_bits

    def nearest(self, codes: Sequence[int]) -> list[tuple[int, str]]:
        """Per hash, the bits to the nearest held-out photo and its name, the first among equals;
        `FAR` and no name where none is near."""
        nearest = [(FAR, "")] * len(codes)
        found = find_near_hashes(pack_hashes(codes), self._hashes, self._max_bits)
        # The farthest and last come first, so that the nearest and first overwrites them.
        for pair in np.lexsort((found.match, found.bits))[::-1]:
            nearest[found.query[pair]] = (int(found.bits[pair]), self._owners[found.match[pair]])
        return nearest

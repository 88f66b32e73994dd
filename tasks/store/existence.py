"""Which artifacts still have their bytes, asked of a store about many artifacts by and by.

To ask for each costs a request; a page of a listing tells of a thousand. So where many of a stage's
artifacts will be asked about, the stage is listed once, and eight bytes are kept of each file.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.data.records import Artifact
from tasks.store.backend import Backend, in_parallel
from tasks.store.layout import RECORD, blob_name

# From about so many artifacts on, listing a whole stage (0.06 ms CPU per object) may be cheaper
# than asking for each (0.8 ms); it is not where the stage holds so many times more objects.
LISTING_FROM = 256
LISTED_PER_ARTIFACT = 12
# An S3 server tells of at most so many files at a time.
_PAGE = 1000
_HEX = "0123456789abcdef"

Fingerprints = npt.NDArray[np.uint64]


class Presence:
    """What is there of the artifacts of a store; of one run's look, since it grows old.

    Args:
        backend: where they lie.
        times: how many times more artifacts will be asked about than in the first question.
    """

    def __init__(self, backend: Backend, times: float = 1.0) -> None:
        self._backend = backend
        self._times = times
        self._listed: dict[str, Fingerprints | None] = {}

    def absent(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Those of the artifacts whose blob is gone or has another size; in their order.

        Rejected artifacts have no blob to lose.
        """
        by_stage: dict[str, list[Artifact]] = {}
        for artifact in artifacts:
            if artifact.reject_reason is None:
                by_stage.setdefault(artifact.stage, []).append(artifact)
        gone: set[str] = set()
        asked: list[Artifact] = []
        for stage, ours in by_stage.items():
            if stage not in self._listed:
                self._listed[stage] = self._list(stage, ours)
            listed = self._listed[stage]
            if listed is None:
                asked += ours
                continue
            names = [blob_name(artifact) for artifact in ours]
            sizes = [artifact.size for artifact in ours]
            there = np.isin(_fingerprints(names, sizes), listed)
            gone |= {name for name, has in zip(names, there, strict=True) if not has}
        sizes_there = in_parallel(
            lambda artifact: self._backend.size(blob_name(artifact)), asked, self._backend.parallel
        )
        for artifact, size in zip(asked, sizes_there, strict=True):
            if size != artifact.size:
                gone.add(blob_name(artifact))
        return [
            artifact
            for artifact in artifacts
            if artifact.reject_reason is None and blob_name(artifact) in gone
        ]

    def _list(self, stage: str, first: Sequence[Artifact]) -> Fingerprints | None:
        """The blobs of a stage; None where asking for each is cheaper.

        That is so where few are wanted, or where the stage holds far more than those: a look at one
        reference must not cost more the more references there are.
        """
        wanted = self._times * len({artifact.key for artifact in first})
        if self._backend.parallel == 1 or wanted < LISTING_FROM:
            return None
        most = LISTED_PER_ARTIFACT * wanted
        prefixes = _prefixes(stage, first, wanted)
        # A first part tells how large the whole is: keys are digests.
        part = self._blobs(prefixes[0], int(most / len(prefixes)) + _PAGE)
        if part is None:
            return None
        others = in_parallel(self._blobs, prefixes[1:], self._backend.parallel)
        found = [part, *(one for one in others if one is not None)]
        return np.sort(np.concatenate(found))

    def _blobs(self, prefix: str, most: int | None = None) -> Fingerprints | None:
        """The fingerprints of the blobs below a prefix; None if there are more files than that."""
        parts: list[Fingerprints] = []
        names: list[str] = []
        sizes: list[int] = []
        for seen, entry in enumerate(self._backend.entries(prefix)):
            if most is not None and seen >= most:
                return None
            if not entry.name.endswith(f".{RECORD}"):
                names.append(entry.name)
                sizes.append(entry.size)
            if len(names) == _PAGE:
                parts.append(_fingerprints(names, sizes))
                names, sizes = [], []
        return np.concatenate([*parts, _fingerprints(names, sizes)])


def _prefixes(stage: str, first: Sequence[Artifact], wanted: float) -> list[str]:
    """The stage in parts of about a page and more, which can be listed at a time.

    A server that goes over a whole prefix for each page of it, such as rclone's, needs them small.
    """
    if wanted < _PAGE or any(artifact.key[:1] not in _HEX for artifact in first):
        return [f"{stage}/"]
    if wanted < len(_HEX) * _PAGE or any(artifact.key[1] not in _HEX for artifact in first):
        return [f"{stage}/{one}" for one in _HEX]
    return [f"{stage}/{one}{two}/" for one in _HEX for two in _HEX]


def _fingerprints(names: Sequence[str], sizes: Sequence[int]) -> Fingerprints:
    """64 bits of each name with its size: of ten million files two are alike once in 400,000."""
    digests = (
        hashlib.blake2b(f"{name} {size}".encode(), digest_size=8).digest()
        for name, size in zip(names, sizes, strict=True)
    )
    return np.frombuffer(b"".join(digests), np.uint64)

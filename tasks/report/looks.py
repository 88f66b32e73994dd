"""How many recipes a test set has judged.

A test set that chose among many recipes flatters the chosen one, as validation does.
"""

import hashlib
from collections.abc import Iterable, Sequence

from models.data.records import Artifact, Sources
from tasks.store.store import Store


def count_looks(store: Store, photos: Sources, scores: Sequence[Artifact]) -> int:
    """Note in the store that these predictions were seen; the number of different ones so far.

    Predictions count by their keys, so that a repeated run adds nothing. The same test photos are
    the same test set, whatever size they are resized to.
    """
    tests = _digest(photo.draw_digest for photo in photos.of("test"))
    seen = _digest(artifact.key for artifact in scores)
    store.put_document(f"test-sets/{tests}/{seen}.json", b"{}")
    return len(store.documents(f"test-sets/{tests}"))


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]

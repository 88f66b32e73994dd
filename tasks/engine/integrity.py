"""Damage: where one artifact is bad, its siblings are looked at before the work is repeated."""

import contextlib
from collections.abc import Iterable, Iterator

from models.data.records import Artifact
from tasks.store.backend import in_parallel
from tasks.store.store import Corrupt, Missing, Store

READERS = 8


@contextlib.contextmanager
def verify_inputs_on_error(store: Store, artifacts: Iterable[Artifact]) -> Iterator[None]:
    """Work that reads ``artifacts``; if one is bad, the store forgets all that are.

    What spoilt one file has often spoilt others: found together, they are made anew together.

    Raises:
        Corrupt, Missing: as the work did.
    """
    try:
        yield
    except (Corrupt, Missing):
        readable = {one.id: one for one in artifacts if one.reject_reason is None}

        def look(artifact: Artifact) -> None:
            with contextlib.suppress(Corrupt, Missing):
                store.read(artifact)

        for _ in in_parallel(look, readable.values(), READERS):
            pass
        raise

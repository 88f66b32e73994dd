"""When one input is corrupt, its siblings are checked before the work is repeated."""

import contextlib
from collections.abc import Iterable, Iterator

from models.data.records import Artifact
from tasks.store.backend import in_parallel
from tasks.store.errors import UnreadableArtifactError
from tasks.store.store import Store

READERS = 8


@contextlib.contextmanager
def verify_inputs_on_error(store: Store, artifacts: Iterable[Artifact]) -> Iterator[None]:
    """Run work that reads ``artifacts``; if one is unreadable, check all of them.

    The cause has often spoilt several files. Found together, they are recomputed together.

    Raises:
        UnreadableArtifactError: as the work did.
    """
    try:
        yield
    except UnreadableArtifactError:
        readable = {
            artifact.id: artifact for artifact in artifacts if artifact.reject_reason is None
        }

        def check(artifact: Artifact) -> None:
            with contextlib.suppress(UnreadableArtifactError):
                store.read(artifact)

        for _ in in_parallel(check, readable.values(), READERS):
            pass
        raise

"""What an artifact store may raise. Each message is one line: the store, what failed, the fix."""

from models.data.records import Artifact


class StoreError(RuntimeError):
    """The store failed, for example because its disk is full."""


class StoreUnavailableError(StoreError):
    """The store did not answer, after all retries. Running the same work later may succeed."""


class StoreAccessError(StoreError):
    """The store refused: wrong key, missing bucket, no permission. A retry does not help."""


class StoreLayoutError(StoreAccessError):
    """The store was written in another layout. It is not read, because it would be misread."""


class UnreadableArtifactError(StoreError):
    """An artifact can't be read. Its record is deleted, so that a rerun recomputes it."""

    def __init__(self, message: str, artifact: Artifact | None = None) -> None:
        super().__init__(message)
        self.artifact = artifact


class MissingArtifactError(UnreadableArtifactError):
    """The bytes of an artifact are gone."""


class CorruptArtifactError(UnreadableArtifactError):
    """The bytes of an artifact differ from those that its record describes."""

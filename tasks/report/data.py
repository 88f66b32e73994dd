"""The story of a run: all that its report tells, as small records."""

from typing import Any

from models.data.records import Artifact, IngestedPhotos, Record


class ReferenceStory(Record):
    """What became of one reference photo; ``key`` names its expansion, if it has one."""

    name: str
    label: str
    status: str
    reason: str | None = None
    key: str | None = None
    images: int = 0
    accepted: int = 0


class Story(Record):
    """A run from its photos to its trained networks.

    ``stages`` and ``volumes`` are counts; ``models`` has a row per checkpoint with its terms;
    ``arms``, ``test``, ``checkpoints`` and ``scores`` are documents in the store.
    """

    recipe: dict[str, Any]
    arithmetic: dict[str, int]
    photos: IngestedPhotos
    references: tuple[ReferenceStory, ...]
    stages: dict[str, dict[str, Any]]
    volumes: dict[str, dict[str, dict[str, int]]]
    test_volume: dict[str, int]
    rejects: dict[str, int]
    models: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    arms: dict[str, Artifact]
    test: Artifact
    checkpoints: tuple[Artifact, ...] = ()
    scores: tuple[Artifact, ...] = ()
    seconds: float = 0.0

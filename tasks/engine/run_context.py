"""What the stages of one flow run share: the store, decoded contents, counts and progress."""

import json
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from models.data import pixels
from models.data.records import Artifact, Record
from tasks.engine.content_cache import ContentCache
from tasks.store.store import Store

CostKind = Literal["compute", "decode", "encode", "store"]


class StageCount(Record):
    """How many artifacts a stage computed, found in the store, and rejected in one run.

    ``safety_retries`` counts how often the safety checker had an image drawn again, including
    images that were rejected in the end.
    """

    computed: int = 0
    cached: int = 0
    rejected: int = 0
    safety_retries: int = 0

    @classmethod
    def of(cls, artifacts: Collection[Artifact], computed: int = 0) -> Self:
        """The count of a stage's artifacts; those that were not computed are cached."""
        return cls(
            computed=computed,
            cached=len(artifacts) - computed,
            rejected=sum(artifact.reject_reason is not None for artifact in artifacts),
            safety_retries=sum(int(artifact.metadata.get("retries", 0)) for artifact in artifacts),
        )

    def plus(self, other: "StageCount") -> "StageCount":
        """The sum of two counts."""
        mine, others = self.model_dump(), other.model_dump()
        return StageCount(**{name: mine[name] + others[name] for name in mine})


Counts = Mapping[str, StageCount]


class RunContext:
    """What the stages of one flow run share. Safe to use from several threads.

    Args:
        title: what the run works on, for logs and the names of task runs.
        scratch: folder for data that must be a file, such as the checkpoints of a training.
        is_cancelled: asked between batches, so that a cancelled run stops within one batch.
        on_step: called with a text after each step of a long job, such as an epoch.
        on_batch: called at the start of a stage and after each batch, with its name, the artifacts
            made, and all to make.

    Attributes:
        made: every artifact of the run by id, rejected ones included.
        fresh: ids of the artifacts that this run computed.
        fresh_items: keys of the work items that this run finished.
    """

    def __init__(
        self,
        store: Store,
        title: str,
        scratch: Path = Path(),
        is_cancelled: Callable[[], bool] = lambda: False,
        on_step: Callable[[str], None] = lambda _: None,
        on_batch: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self.store = store
        self.title = title
        self.scratch = scratch
        self.on_step = on_step
        self.on_batch = on_batch
        self.made: dict[str, Artifact] = {}
        self.fresh: set[str] = set()
        self.fresh_items: set[str] = set()
        self.cpu_s: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._is_cancelled = is_cancelled
        self._by_stage: dict[str, dict[str, Artifact]] = defaultdict(dict)
        self._counts: dict[str, StageCount] = {}
        self._child_counts: dict[str, Counts] = {}
        self._contents = ContentCache()
        self._lock = threading.Lock()
        self._local = threading.local()

    def load(self, artifact: Artifact) -> Any:
        """The content of an artifact: an image array, or the mapping of a JSON blob.

        Raises:
            MissingArtifactError, CorruptArtifactError: the bytes are gone or damaged; the store
                has removed the record.
        """
        content = self._contents.get(artifact.digest)
        if content is not None:
            return content
        started = time.thread_time()
        blob = self.store.read(artifact)
        content = json.loads(blob) if artifact.media == "json" else pixels.decode(blob)
        self.remember(artifact, content)
        self._local.decoded = self.decoded_cpu_s + time.thread_time() - started
        return content

    def fetch(self, artifact: Artifact) -> Path:
        """A file with the bytes of an artifact, for reading only; its bytes are checked once.

        Raises:
            MissingArtifactError, CorruptArtifactError: as `load`.
        """
        name = f"file of {artifact.digest}"
        file: Path | None = self._contents.get(name)
        if file is None:
            file = self.store.fetch(artifact, self._copies_of(artifact))
            self._contents.put(name, file)
        return file

    def remove_copy(self, artifact: Artifact) -> None:
        """Remove the copy that `fetch` made; without one, as of a store that is a folder, nothing.

        It is for large files. A run that fetches the artifact later needs its own context.
        """
        shutil.rmtree(self._copies_of(artifact), ignore_errors=True)

    def _copies_of(self, artifact: Artifact) -> Path:
        return self.scratch / "files" / artifact.digest[:16]

    def remember(self, artifact: Artifact, content: Any) -> None:
        """Keep a decoded content for the next stage."""
        if not isinstance(content, bytes | Path):
            self._contents.put(artifact.digest, content)

    def published(self, artifact: Artifact) -> None:
        """Note an artifact that the store has just received."""
        with self._lock:
            self.fresh.add(artifact.id)

    def count(self, stage: str, artifacts: Sequence[Artifact]) -> None:
        """Note what a stage returned. An artifact counts once, however often it is returned."""
        with self._lock:
            known = self._by_stage[stage]
            for artifact in artifacts:
                self.made[artifact.id] = artifact
                known[artifact.id] = artifact
            computed = sum(artifact_id in self.fresh for artifact_id in known)
            self._counts[stage] = StageCount.of(known.values(), computed)

    def add_counts(self, child: str, counts: Counts) -> None:
        """Note the counts of a child run. If a child is reported twice, as after a repair, the
        report that computed more stays."""
        with self._lock:
            if _computed(counts) >= _computed(self._child_counts.get(child, {})):
                self._child_counts[child] = counts

    @property
    def counts(self) -> dict[str, StageCount]:
        """Counts per stage: of this run and of its child runs."""
        with self._lock:
            total = dict(self._counts)
            for counts in self._child_counts.values():
                for stage, count in counts.items():
                    total[stage] = total.get(stage, StageCount()).plus(count)
        return total

    def spend(self, stage: str, kind: CostKind, cpu_s: float) -> None:
        """Add CPU seconds of one kind to a stage."""
        with self._lock:
            self.cpu_s[stage][kind] += cpu_s

    @property
    def decoded_cpu_s(self) -> float:
        """CPU seconds that this thread has spent reading and decoding contents."""
        return getattr(self._local, "decoded", 0.0)

    def check_cancelled(self) -> None:
        """Stop here if the run was cancelled.

        Raises:
            KeyboardInterrupt: it was; everything that is published stays.
        """
        if self._is_cancelled():
            raise KeyboardInterrupt(f"{self.title} was cancelled")

    def lineage(self, artifact: Artifact) -> list[Artifact]:
        """All artifacts of this run that one was made from, the photo first, itself last."""
        chain: dict[str, Artifact] = {}
        for parent in artifact.parents:
            if parent in self.made:
                chain |= {ancestor.id: ancestor for ancestor in self.lineage(self.made[parent])}
        return [*chain.values(), artifact]


def _computed(counts: Counts) -> int:
    return sum(count.computed for count in counts.values())

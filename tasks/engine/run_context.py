"""The workbench of one flow run: its store, the contents it just decoded, and what it counted."""

import json
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.data import pixels
from models.data.records import Artifact, Record
from tasks.store.store import Store

Cost = Literal["compute", "decode", "encode", "store"]
# The shipped recipe's 112 images of 768x1024 and their scenes are 440 MB; measuring, resizing and
# labelling walk over all of them in turn, and a cache they don't fit in would serve none of them.
REMEMBERED_BYTES = 512 * 2**20


class StageCount(Record):
    """How many artifacts a stage computed, found done, and rejected in one run.

    ``redrawn`` counts how often an image that a safety checker flagged was drawn anew, also those
    that were rejected in the end.
    """

    computed: int = 0
    cached: int = 0
    rejected: int = 0
    safety_retries: int = 0

    def plus(self, other: "StageCount") -> "StageCount":
        """The two counts added up."""
        return StageCount(
            computed=self.computed + other.computed,
            cached=self.cached + other.cached,
            rejected=self.rejected + other.rejected,
            safety_retries=self.safety_retries + other.safety_retries,
        )


class RunContext:
    """What the stages of one flow run share. Safe to use from several threads.

    ``made`` holds every artifact of the run, rejected ones too, by id; ``fresh`` the ids of those
    that were computed in it. ``scratch`` is a folder for what must be a file while it is worked on,
    such as a training's checkpoints. ``cancelled`` is asked between batches, so that a cancelled
    run stops within one batch; ``tell`` hears of each step of a job that has steps, such as an
    epoch; ``progress`` hears after each batch how many of how many artifacts a stage has made.
    """

    def __init__(
        self,
        store: Store,
        title: str,
        scratch: Path = Path(),
        cancelled: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = lambda _: None,
        progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self.store = store
        self.title = title
        self.scratch = scratch
        self.tell = tell
        self.progress = progress
        self.made: dict[str, Artifact] = {}
        self.fresh: set[str] = set()
        self.counts: dict[str, StageCount] = {}
        self._made: dict[str, dict[str, Artifact]] = defaultdict(dict)
        self.cpu_s: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._cancelled = cancelled
        self._contents: OrderedDict[str, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._local = threading.local()

    def load(self, artifact: Artifact) -> Any:
        """The content of an artifact, digest-checked: an image array, or the mapping of a JSON
        blob.

        Raises:
            Missing, Corrupt: the bytes are gone or damaged; the record has been forgotten.
        """
        with self._lock:
            if artifact.digest in self._contents:
                self._contents.move_to_end(artifact.digest)
                return self._contents[artifact.digest]
        started = time.thread_time()
        blob = self.store.read(artifact)
        content = json.loads(blob) if artifact.media == "json" else pixels.decode(blob)
        self.remember(artifact, content)
        self._local.decoded = self.decoded_cpu_s + time.thread_time() - started
        return content

    def remember(self, artifact: Artifact, content: Any) -> None:
        """Keep a content for the next stage, within `REMEMBERED_BYTES`, least recently used out
        first.
        """
        if isinstance(content, bytes):
            return
        if isinstance(content, np.ndarray):
            content.setflags(write=False)
        with self._lock:
            if artifact.digest in self._contents:
                return
            self._contents[artifact.digest] = content
            self._bytes += _size(content)
            while self._bytes > REMEMBERED_BYTES:
                _, oldest = self._contents.popitem(last=False)
                self._bytes -= _size(oldest)

    def published(self, artifact: Artifact) -> None:
        """Note what was made just now, as soon as the store has it."""
        with self._lock:
            self.fresh.add(artifact.id)

    def count(self, stage: str, made: Sequence[Artifact]) -> None:
        """Note what a stage returned. Each artifact counts once, however often it is walked to."""
        with self._lock:
            self.made.update((artifact.id, artifact) for artifact in made)
            known = self._made[stage]
            known.update((artifact.id, artifact) for artifact in made)
            computed = sum(one in self.fresh for one in known)
            self.counts[stage] = StageCount(
                computed=computed,
                cached=len(known) - computed,
                rejected=sum(one.reject_reason is not None for one in known.values()),
                safety_retries=sum(int(one.metadata.get("retries", 0)) for one in known.values()),
            )

    def computed(self, stage: str) -> int:
        """How many artifacts of a stage this run has computed so far."""
        with self._lock:
            return self.counts.get(stage, StageCount()).computed

    def spend(self, stage: str, cost: Cost, cpu_s: float) -> None:
        """Add CPU seconds of one kind to a stage's account (read by the benchmarks)."""
        with self._lock:
            self.cpu_s[stage][cost] += cpu_s

    @property
    def decoded_cpu_s(self) -> float:
        """CPU seconds that this thread has spent reading and decoding contents."""
        return getattr(self._local, "decoded", 0.0)

    def check_cancelled(self) -> None:
        """Stop here when the run has been cancelled.

        Raises:
            KeyboardInterrupt: it has; what is published stays.
        """
        if self._cancelled():
            raise KeyboardInterrupt(f"{self.title} was cancelled")

    def lineage(self, artifact: Artifact) -> list[Artifact]:
        """Every artifact of this run that one came from, the photo first, itself last."""
        chain: dict[str, Artifact] = {}
        for parent in artifact.parents:
            if parent in self.made:
                chain |= {one.id: one for one in self.lineage(self.made[parent])}
        return [*chain.values(), artifact]


def _size(content: Any) -> int:
    return content.nbytes if isinstance(content, np.ndarray) else 1024

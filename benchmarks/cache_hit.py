"""What a reference that is finished costs a run, with its artifacts in a bucket.

References of the study's size (465 artifacts each) lie in a folder that `rclone serve s3` serves,
and are looked at as the fan-out looks at them before it starts child runs: requests, seconds of the
clock, and CPU seconds here and in the S3 server, by the number of references.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.artifacts import BLOB, artifact_of
from benchmarks.machine import high_water_mb, table, tree_cpu_s
from benchmarks.servers import s3_server
from tasks.engine.item_documents import load_records, save_result
from tasks.engine.work_items import GenerationRecord, Result
from tasks.store.backend import Backend, Entry
from tasks.store.s3 import S3Backend
from tasks.store.store import Store, open_store

SIZES = (1, 10, 100)
PAGE = 1000
# What the recipe multiview makes of one photo.
ARTIFACTS = {
    "upscale": 8,
    "multiview": 7,
    "caption": 1,
    "augment": 14,
    "segment": 14,
    "depth": 14,
    "masked_depth": 14,
    "background": 28,
    "outpaint": 112,
    "measure": 28,
    "screen": 1,
    "resize": 112,
    "annotate": 112,
}


class Counted:
    """A backend that counts the requests it makes; a listing is one for each page."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.url, self.parallel = backend.url, backend.parallel
        self.asked: Counter[str] = Counter()

    def get(self, name: str) -> bytes | None:
        """See `Backend`."""
        self.asked["GET"] += 1
        return self._backend.get(name)

    def put(self, name: str, blob: bytes) -> None:
        """See `Backend`."""
        self._backend.put(name, blob)

    def create(self, name: str, blob: bytes) -> bool | None:
        """See `Backend`."""
        return self._backend.create(name, blob)

    def size(self, name: str) -> int | None:
        """See `Backend`."""
        self.asked["HEAD"] += 1
        return self._backend.size(name)

    def entries(self, prefix: str, unlisted: list[str] | None = None) -> Iterator[Entry]:
        """See `Backend`."""
        self.asked["LIST"] += 1
        for count, entry in enumerate(self._backend.entries(prefix, unlisted)):
            self.asked["LIST"] += count > 0 and count % PAGE == 0
            yield entry

    def path(self, name: str) -> Path | None:
        """See `Backend`."""
        return self._backend.path(name)

    def delete(self, name: str) -> None:
        """See `Backend`."""
        self._backend.delete(name)


@dataclass(frozen=True)
class Look:
    """A look at finished references: what it took of each, and the process's peak memory."""

    references: int
    requests: dict[str, float]
    wall_ms: float
    cpu_ms: float
    server_cpu_ms: float
    peak_mb: float


def measure(folder: Path, sizes: tuple[int, ...]) -> list[Look]:
    """A look for each number of references.

    Raises:
        RuntimeError: a reference that is there was not found.
    """
    looks = []
    for size in sizes:
        root = folder / str(size)
        keys = _finish(open_store(root / "bucket"), size)
        with s3_server(root, folder / "rclone.log") as (server, environment):
            os.environ.update(environment)
            backend = Counted(S3Backend("s3://bucket"))
            wall, cpu, theirs = time.monotonic(), time.process_time(), tree_cpu_s(server)
            if not all(load_records(Store(backend), keys)):
                raise RuntimeError("a finished reference was not found")
            each = 1000 / size
            look = Look(
                references=size,
                requests={kind: count / size for kind, count in backend.asked.items()},
                wall_ms=each * (time.monotonic() - wall),
                cpu_ms=each * (time.process_time() - cpu),
                server_cpu_ms=each * (tree_cpu_s(server) - theirs),
                peak_mb=high_water_mb(os.getpid()) or 0.0,
            )
        looks.append(look)
    return looks


def main(folder: Path) -> None:
    """Print what a finished reference costs by the number of them."""
    looks = measure(folder, SIZES)
    rows: list[list[object]] = [
        [f"{kind} requests", *(look.requests.get(kind, 0.0) for look in looks)]
        for kind in ("GET", "HEAD", "LIST")
    ]
    rows += [
        ["wall, ms", *(look.wall_ms for look in looks)],
        ["CPU, ms", *(look.cpu_ms for look in looks)],
        ["S3 server, CPU ms", *(look.server_cpu_ms for look in looks)],
        ["peak MiB, in all", *(f"{look.peak_mb:.0f}" for look in looks)],
    ]
    print(table(["a finished reference, of", *map(str, SIZES)], rows))


def _finish(store: Store, references: int) -> list[str]:
    """The keys of so many finished references."""
    keys = [f"{at:064x}" for at in range(references)]
    for key in keys:
        artifacts = [
            artifact_of(stage, f"{key}/{at}", "png")
            for stage, count in ARTIFACTS.items()
            for at in range(count)
        ]
        for artifact in artifacts:
            store.put(artifact, BLOB)
        record = GenerationRecord(samples=(), artifacts=tuple(artifacts))
        save_result(store, Result(key=key), record)
    return keys

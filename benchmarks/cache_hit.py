"""Measures what a finished reference costs a run if the store is an S3 bucket.

A reference has 465 artifacts, as in the study. `rclone serve s3` serves the bucket. The benchmark
checks the references as the fan-out does before it starts child runs. It counts requests, and
measures wall seconds and CPU seconds of this process and of the S3 server.
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
# Artifacts per stage that the recipe multiview makes from one photo.
ARTIFACTS = {
    "upscale": 8,
    "multiview": 7,
    "caption": 1,
    "augment": 14,
    "segment": 14,
    "depth": 14,
    "mrequests_depth": 14,
    "background": 28,
    "outpaint": 112,
    "measure": 28,
    "screen": 1,
    "resize": 112,
    "annotate": 112,
}


class CountingBackend:
    """A backend that counts its requests; a listing is one request per page."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.url, self.parallel = backend.url, backend.parallel
        self.requests: Counter[str] = Counter()

    def get(self, name: str) -> bytes | None:
        """See `Backend`."""
        self.requests["GET"] += 1
        return self._backend.get(name)

    def put(self, name: str, blob: bytes) -> None:
        """See `Backend`."""
        self._backend.put(name, blob)

    def create(self, name: str, blob: bytes) -> bool | None:
        """See `Backend`."""
        return self._backend.create(name, blob)

    def size(self, name: str) -> int | None:
        """See `Backend`."""
        self.requests["HEAD"] += 1
        return self._backend.size(name)

    def entries(self, prefix: str, unlisted: list[str] | None = None) -> Iterator[Entry]:
        """See `Backend`."""
        self.requests["LIST"] += 1
        for count, entry in enumerate(self._backend.entries(prefix, unlisted)):
            self.requests["LIST"] += count > 0 and count % PAGE == 0
            yield entry

    def path(self, name: str) -> Path | None:
        """See `Backend`."""
        return self._backend.path(name)

    def delete(self, name: str) -> None:
        """See `Backend`."""
        self._backend.delete(name)


@dataclass(frozen=True)
class Check:
    """A check of finished references: costs per reference, and peak memory of the process."""

    references: int
    requests: dict[str, float]
    wall_ms: float
    cpu_ms: float
    server_cpu_ms: float
    peak_mb: float


def measure(folder: Path, sizes: tuple[int, ...]) -> list[Check]:
    """Check the references, once per number of references.

    Raises:
        RuntimeError: a finished reference was not found.
    """
    checks = []
    for size in sizes:
        root = folder / str(size)
        keys = _finish(open_store(root / "bucket"), size)
        with s3_server(root, folder / "rclone.log") as (server, environment):
            os.environ.update(environment)
            backend = CountingBackend(S3Backend("s3://bucket"))
            wall, cpu, server_cpu = time.monotonic(), time.process_time(), tree_cpu_s(server)
            if not all(load_records(Store(backend), keys)):
                raise RuntimeError("a finished reference was not found")
            ms = 1000 / size
            check = Check(
                references=size,
                requests={kind: count / size for kind, count in backend.requests.items()},
                wall_ms=ms * (time.monotonic() - wall),
                cpu_ms=ms * (time.process_time() - cpu),
                server_cpu_ms=ms * (tree_cpu_s(server) - server_cpu),
                peak_mb=high_water_mb(os.getpid()) or 0.0,
            )
        checks.append(check)
    return checks


def main(folder: Path) -> None:
    """Print the costs of a finished reference per number of references."""
    checks = measure(folder, SIZES)
    rows: list[list[object]] = [
        [f"{kind} requests", *(check.requests.get(kind, 0.0) for check in checks)]
        for kind in ("GET", "HEAD", "LIST")
    ]
    rows += [
        ["wall, ms", *(check.wall_ms for check in checks)],
        ["CPU, ms", *(check.cpu_ms for check in checks)],
        ["S3 server, CPU ms", *(check.server_cpu_ms for check in checks)],
        ["peak MiB", *(f"{check.peak_mb:.0f}" for check in checks)],
    ]
    print(table(["a finished reference, of", *map(str, SIZES)], rows))


def _finish(store: Store, references: int) -> list[str]:
    """Save ``references`` finished references; return their keys."""
    keys = [f"{number:064x}" for number in range(references)]
    for key in keys:
        artifacts = [
            artifact_of(stage, f"{key}/{number}", "png")
            for stage, count in ARTIFACTS.items()
            for number in range(count)
        ]
        for artifact in artifacts:
            store.put(artifact, BLOB)
        record = GenerationRecord(samples=(), artifacts=tuple(artifacts))
        save_result(store, Result(key=key), record)
    return keys

"""Commands that the store's tests run in other processes.

Usage: ``python -m tests.tasks.store.store_worker COMMAND ARGUMENTS``.

Commands: ``put URL COUNT BYTES`` writes artifacts from four threads and prints the number of each;
``once URL UNIT LEDGER`` computes a unit of work under its lease, if it is not done; ``hold URL
UNIT`` holds a lease until it is killed; ``full URL BYTES`` writes one artifact and prints the
error.
"""

import hashlib
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from models.data.records import Artifact
from tasks.store.errors import StoreError
from tasks.store.layout import digest_of
from tasks.store.store import open_store


def sample(number: int, size: int = 1000, stage: str = "upscale") -> tuple[Artifact, bytes]:
    """The artifact of a number and its bytes, the same in every process."""
    seed = hashlib.sha256(f"{stage} {number}".encode())
    blob = (seed.digest() * (size // 32 + 1))[:size]
    artifact = Artifact(
        key=seed.hexdigest(),
        stage=stage,
        version=1,
        name=f"cats/{number}",
        variant={"view": number % 7},
        media="png",
        digest=digest_of(blob),
        size=size,
        parameters={"scale": 2},
        seconds=0.5,
    )
    return artifact, blob


def put(url: str, count: str, size: str) -> None:
    store = open_store(url)

    def one(number: int) -> None:
        store.put(*sample(number, int(size)))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(int(count))))


def once(url: str, unit: str, ledger: str) -> None:
    store = open_store(url)
    artifact, blob = sample(1)
    with store.lease(unit) as held:
        if not store.find(artifact.stage, [artifact.key]):
            time.sleep(0.3)
            with Path(ledger).open("a") as stream:
                stream.write(f"worked {held}\n")
            store.put(artifact, blob)


def hold(url: str, unit: str) -> None:
    with open_store(url).lease(unit, ttl_s=60) as held:
        print(held, flush=True)
        time.sleep(60)


def full(url: str, size: str) -> None:
    """Write more bytes than this process is allowed to."""
    store = open_store(url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        store.put(*sample(1, int(size)))
    except StoreError as error:
        print(error)


if __name__ == "__main__":
    commands: list[Callable[..., None]] = [put, once, hold, full]
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])

"""One heavy stage at a time on a GPU, however many workers share it.

A GPU is a global concurrency limit of one slot on the Prefect server, held under a lease. A thread
renews the lease while the work goes on, and goes on trying when the server is away: a batch at work
is never torn out for the server's sake. The lease of a holder that died ends by itself.

A lease may also end while the server is away and its holder is at work. So that nobody takes the
slot then, the processes of a machine and a user hold a locked file besides.
"""

import contextvars
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from models.data.file_lock import alone
from models.data.settings import settings
from tasks.engine.server_retry import retry_while_unreachable, short

log = logging.getLogger("synthset.gpu")

# Prefect grants no shorter lease. Three renewals fit in, so that one may be missed.
LEASE_S, RENEW_S = 60.0, 20.0
# Between two tries of what failed for now: a taken slot, a server that is away.
AGAIN_S = 1.0
# Longer than a batch takes, so that whoever waits as long says for what.
STUCK_S = 600.0

T = TypeVar("T")


class NoLimit(ValueError):
    """The server has no such limit; the line says which and how to make it."""


@contextmanager
def gpu_lock(*, needed: bool) -> Iterator[None]:
    """Hold the worker's GPU, where it has one to hold and networks are to run.

    Waits while another holds it, and for a server that is away.

    Raises:
        NoLimit: the server has no such limit.
        ValueError, RuntimeError: the server refuses, or stayed away before the work began.
    """
    limit = settings().gpu_limit
    if not needed or not limit:
        yield
        return
    with _locked_here(limit):
        held = _Held(limit, _leased(limit))
        renewing = contextvars.copy_context().run
        threading.Thread(
            target=renewing, args=(held.renew,), name=f"renews {limit}", daemon=True
        ).start()
        try:
            yield
        finally:
            held.give_back()


@dataclass
class _Held:
    """A limit's slot in this process's hands."""

    limit: str
    lease: UUID | None
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def renew(self) -> None:
        """Keep the lease until the slot is given back. Runs in a thread of its own."""
        pause_s = RENEW_S
        away = False
        with _asking_once() as client:
            while not self._over.wait(pause_s):
                try:
                    self._renew_once(client)
                except (httpx.HTTPError, NoLimit) as error:
                    if not away:
                        log.warning(
                            "%s can't be renewed (%s); the work goes on", self.limit, short(error)
                        )
                    away, pause_s = True, AGAIN_S
                else:
                    away, pause_s = False, RENEW_S

    def give_back(self) -> None:
        """Free the slot; where the server does not answer, the lease does it when it ends."""
        self._over.set()
        with self._lock:
            if self.lease is None:
                return
            try:
                with _asking_once() as client:
                    client.release_concurrency_slots_with_lease(self.lease)
            except httpx.HTTPError as error:
                log.warning(
                    "%s can't be given back (%s); its lease ends within %.0f s",
                    *(self.limit, short(error), LEASE_S),
                )

    def _renew_once(self, client: SyncPrefectClient) -> None:
        with self._lock:
            if self._over.is_set():
                return
            if self.lease is None:
                self.lease = _take(client, self.limit)
                return
            try:
                client.renew_concurrency_lease(self.lease, LEASE_S)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.GONE:
                    raise
                log.warning("the lease of %s ended while the server was away", self.limit)
                self.lease = None
                self.lease = _take(client, self.limit)


@contextmanager
def _locked_here(limit: str) -> Iterator[None]:
    """Hold the lock that this user's processes on this machine have for a GPU."""
    name = f"synthset-{os.getuid()}-{limit.replace('/', '_')}.lock"
    path = Path(tempfile.gettempdir(), name)

    def take() -> bool | None:
        try:
            stack.enter_context(alone(path, wait=False))
        except BlockingIOError:
            return None
        return True

    with ExitStack() as stack:
        _when_free(limit, take)
        yield


def _leased(limit: str) -> UUID:
    """A lease of the limit's slot, as soon as it is free."""
    with get_client(sync_client=True) as client:
        return _when_free(limit, lambda: retry_while_unreachable(_take, client, limit))


def _when_free(limit: str, take: Callable[[], T | None]) -> T:
    """What ``take`` gives when it gives something; says for what it waits if that takes long."""
    told = time.monotonic()
    while (taken := take()) is None:
        if time.monotonic() - told > STUCK_S:
            told = time.monotonic()
            log.warning(
                "%s has been taken for %.0f s. If no run is at work on that GPU, free it: "
                "prefect global-concurrency-limit update %s --active-slots 0",
                *(limit, STUCK_S, limit),
            )
        time.sleep(AGAIN_S)
    return taken


def _take(client: SyncPrefectClient, limit: str) -> UUID | None:
    """A lease of the limit's slot, or None while another holds it."""
    try:
        answer = client.increment_concurrency_slots_with_lease([limit], 1, "concurrency", LEASE_S)
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.LOCKED:
            return None
        raise
    granted = answer.json()
    if not granted["limits"]:
        host, _, gpu = limit.removeprefix("gpu:").rpartition(":")
        count = int(gpu) + 1 if gpu.isdecimal() else 1
        raise NoLimit(
            f"limit {limit} does not exist on the Prefect server: make it with "
            f"'synthset deploy --gpu {host or 'HOST'}:{count}'"
        )
    return UUID(granted["lease_id"])


@contextmanager
def _asking_once() -> Iterator[SyncPrefectClient]:
    """A client that says at once when the server is away, where Prefect's tries for a minute."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as client,
    ):
        yield client

"""Leases: one worker at a time computes a unit of work, without a server of its own.

A lease is a file that only one worker can create: ``O_EXCL`` in a folder, ``If-None-Match: *`` in
S3. Its holder rewrites it every third of its time to live, in a thread. Another worker takes it
over when it has seen the file unchanged for that time, or at once when the holder was a process of
the same machine that is gone. No clock is compared with another machine's.

A lease only saves work. If the storage can't create a file exclusively, if the store fails, or if
two workers take over the same lease at the same moment, the work is done twice, with the same
result.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import Field, ValidationError

from models.data.records import Record
from tasks.store.backend import Backend
from tasks.store.errors import StoreError
from tasks.store.layout import LEASES

log = logging.getLogger("synthset.store")

_LEAVING_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 2.0
# The start of a process is computed from the time of day, which may be corrected by a second.
_SAME_START_S = 2.0


class Lease(Record):
    """The content of a lease's file.

    ``machine`` says whose process ``pid`` is. ``started`` (Unix time, s) tells the process from a
    later one with the same id. ``beat`` counts the renewals.
    """

    unit: str
    holder: str
    machine: str
    pid: int
    started: float
    ttl_s: float = Field(gt=0)
    beat: int = 0


@contextlib.contextmanager
def lease(backend: Backend, unit: str, ttl_s: float) -> Iterator[bool]:
    """See `tasks.store.store.Store.lease`."""
    if not unit or ttl_s <= 0:
        raise ValueError(f"lease {unit!r} for {ttl_s} s: give a name and a time above 0")
    claim = _Claim(backend, unit, ttl_s)
    try:
        is_held = claim.take()
    except StoreError as error:
        log.warning("computing %s without a lease, perhaps twice: %s", unit, error)
        is_held = False
    try:
        yield is_held
    finally:
        if is_held:
            claim.release()


class _Claim:
    """A worker's lease, and the thread that renews it."""

    def __init__(self, backend: Backend, unit: str, ttl_s: float) -> None:
        self._backend = backend
        self._name = f"{LEASES}{hashlib.sha256(unit.encode()).hexdigest()[:32]}"
        self._lease = Lease(
            unit=unit,
            holder=secrets.token_hex(16),
            machine=_this_machine(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            ttl_s=ttl_s,
        )
        self._written_at = time.monotonic()
        self._released = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self) -> bool:
        """Wait while a living worker holds the lease, then hold it.

        Returns:
            False if the storage can't create files exclusively.
        """
        seen, seen_at, pause_s = b"", time.monotonic(), _FIRST_PAUSE_S
        while not (is_created := self._create()):
            if is_created is None:
                return False
            blob = self._backend.get(self._name)
            other = _parse(blob)
            if self._is_own(other):
                # A retried request found what its first try had written.
                break
            if blob is not None and blob != seen:
                seen, seen_at = blob, time.monotonic()
                log.info("waiting for another worker to finish %s", self._lease.unit)
            ttl_s = other.ttl_s if other else self._lease.ttl_s
            if blob is not None and (_is_dead(other) or time.monotonic() - seen_at > ttl_s):
                log.warning("taking over %s: its worker is gone", self._lease.unit)
                self._backend.delete(self._name)
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
        self._renewer.start()
        return True

    def release(self) -> None:
        """Delete the lease; if the store is unreachable, a thread continues to try."""
        self._released.set()
        self._renewer.join(timeout=_LEAVING_S)

    def _create(self) -> bool | None:
        self._written_at = time.monotonic()
        return self._backend.create(self._name, self._content())

    def _renew(self) -> None:
        """Rewrite the lease until it is released, then delete it.

        One thread does both, so that no late renewal restores a deleted lease.
        """
        while not self._released.wait(self._lease.ttl_s / 3):
            try:
                if not self._is_own(_parse(self._backend.get(self._name))):
                    log.warning("lost the lease on %s; its work continues", self._lease.unit)
                    return
                self._lease = self._lease.model_copy(update={"beat": self._lease.beat + 1})
                self._backend.put(self._name, self._content())
                self._written_at = time.monotonic()
            except StoreError as error:
                log.warning("could not renew the lease on %s: %s", self._lease.unit, error)
        try:
            is_recent = time.monotonic() - self._written_at < self._lease.ttl_s
            if is_recent or self._is_own(_parse(self._backend.get(self._name))):
                self._backend.delete(self._name)
        except StoreError as error:
            log.warning("could not release the lease on %s: %s", self._lease.unit, error)

    def _content(self) -> bytes:
        return self._lease.model_dump_json().encode()

    def _is_own(self, other: Lease | None) -> bool:
        return other is not None and other.holder == self._lease.holder


def _parse(blob: bytes | None) -> Lease | None:
    try:
        return Lease.model_validate_json(blob or b"")
    except ValidationError:
        return None


def _is_dead(lease: Lease | None) -> bool:
    """Whether the holder was a process of this machine that is gone."""
    if lease is None or lease.machine != _this_machine():
        return False
    try:
        process = psutil.Process(lease.pid)
        is_other = abs(process.create_time() - lease.started) > _SAME_START_S
        return is_other or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error as error:
        return isinstance(error, psutil.NoSuchProcess)


def _this_machine() -> str:
    """Return the same text for two processes only if they see each other's process ids.

    The host's name is not enough: containers may share it, but not the ids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()

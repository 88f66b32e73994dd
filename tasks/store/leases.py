"""Leases: one worker at a time does a unit of work, on any store, without a server of its own.

The lock is Lamport's bakery ("A New Solution of Dijkstra's Concurrent Programming Problem", CACM
17(8), 1974). It needs nothing but reads and whole writes that everyone sees at once, which folders
and S3 give. Conditional puts would be shorter, but some S3 servers take ``If-None-Match`` and
ignore it.

Each worker that wants a unit keeps a ticket beside the others': first without a number, then with
one higher than any it saw. The lowest number works; who comes later watches those before it. A
worker shows that it lives by rewriting its ticket every third of its time to live. A ticket that a
watcher has seen unchanged for its whole time to live is void, as is one whose process ran on the
watcher's machine and is gone. Nobody's clock is compared with another's. A worker that was taken
for dead, say after its machine slept, ends its work unaware: the work is then done twice, with the
same result.
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

from pydantic import Field, ValidationError

from models.data.records import Record
from tasks.store.backend import Backend, StoreError
from tasks.store.layout import LEASES

log = logging.getLogger("synthset.store")

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 2.0
_LEAVING_S = 5.0


class Ticket(Record):
    """A worker's wish for a unit of work. ``number`` 0: it is still looking at the others'.

    ``machine`` tells whose process ``pid`` is; ``born`` tells the process from a later one with the
    same id; ``beat`` counts the renewals.
    """

    unit: str
    holder: str
    machine: str
    pid: int
    born: str
    ttl_s: float = Field(gt=0)
    number: int = Field(default=0, ge=0)
    beat: int = 0

    @property
    def turn(self) -> tuple[int, str]:
        """Lower comes first; the holder's name decides between equal numbers."""
        return self.number, self.holder


@contextlib.contextmanager
def lease(backend: Backend, unit: str, ttl_s: float) -> Iterator[bool]:
    """See `tasks.store.store.Store.lease`."""
    if not unit or ttl_s <= 0:
        raise ValueError(f"lease {unit!r} for {ttl_s} s: give a name and a time above 0")
    claim = _Claim(backend, unit, ttl_s)
    try:
        try:
            claim.enter()
            held = True
        except StoreError as error:
            log.warning("working on %s without a lease, perhaps twice: %s", unit, error)
            held = False
        yield held
    finally:
        claim.leave()


class _Claim:
    """One worker's ticket, and the thread that keeps it alive."""

    def __init__(self, backend: Backend, unit: str, ttl_s: float) -> None:
        self._backend = backend
        self._prefix = f"{LEASES}{hashlib.sha256(unit.encode()).hexdigest()[:32]}."
        self._left = threading.Event()
        self._keeper: threading.Thread | None = None
        self._ticket = Ticket(
            unit=unit,
            holder=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}",
            machine=_this_machine(),
            pid=os.getpid(),
            born=_born(os.getpid()) or "",
            ttl_s=ttl_s,
        )
        self._name = self._prefix + hashlib.sha256(self._ticket.holder.encode()).hexdigest()[:32]

    def enter(self) -> None:
        """Return when nobody else is at work on the unit, and keep others from it from then on."""
        self._write()
        seen = self._others()
        numbers = [ticket.number for name in seen if (ticket := _parse(self._backend.get(name)))]
        self._ticket = self._ticket.model_copy(update={"number": 1 + max(numbers, default=0)})
        self._write()
        self._start_keeping()
        # Those seen first are looked at again by name: a folder's listing may skip a file that is
        # being renamed meanwhile. Who is in neither listing came later and will wait for us.
        for name in sorted(seen | self._others()):
            self._wait_for(name)

    def leave(self) -> None:
        """Give the unit free; if the store is away, that goes on in the background."""
        self._left.set()
        keeper = self._keeper or self._start_keeping()
        keeper.join(timeout=_LEAVING_S)

    def _start_keeping(self) -> threading.Thread:
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._keeper.start()
        return self._keeper

    def _wait_for(self, name: str) -> None:
        pause_s = _FIRST_PAUSE_S
        last: bytes | None = None
        unchanged_since = time.monotonic()
        while (blob := self._backend.get(name)) is not None:
            other = _parse(blob)
            if other is not None and other.number and other.turn > self._ticket.turn:
                return
            if blob != last:
                last, unchanged_since = blob, time.monotonic()
            ttl_s = self._ticket.ttl_s if other is None else other.ttl_s
            if _is_dead(other) or time.monotonic() - unchanged_since > ttl_s:
                log.warning("taking over %s: its worker is gone", self._ticket.unit)
                self._backend.delete(name)
                return
            if pause_s < _LONGEST_PAUSE_S <= 1.5 * pause_s:
                log.info("waiting for another worker to finish %s", self._ticket.unit)
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    def _keep(self) -> None:
        """Renew the ticket until we leave, then remove it: both in this thread, so that no late
        renewal brings a removed ticket back."""
        while not self._left.wait(self._ticket.ttl_s / 3):
            try:
                if self._backend.size(self._name) is None:
                    log.warning("lost the lease on %s; its work goes on", self._ticket.unit)
                    return
                self._ticket = self._ticket.model_copy(update={"beat": self._ticket.beat + 1})
                self._write()
            except StoreError as error:
                log.warning("could not renew the lease on %s: %s", self._ticket.unit, error)
        try:
            self._backend.delete(self._name)
        except StoreError as error:
            log.warning("could not give back the lease on %s: %s", self._ticket.unit, error)

    def _write(self) -> None:
        self._backend.put(self._name, self._ticket.model_dump_json().encode())

    def _others(self) -> set[str]:
        names = {entry.name for entry in self._backend.entries(self._prefix)}
        return names - {self._name}


def _parse(blob: bytes | None) -> Ticket | None:
    try:
        return None if blob is None else Ticket.model_validate_json(blob)
    except ValidationError:
        return None


def _is_dead(ticket: Ticket | None) -> bool:
    """Whether a ticket's process ran on this machine and is gone."""
    if ticket is None or ticket.machine != _this_machine():
        return False
    if Path("/proc/self/stat").exists():
        return _born(ticket.pid) != ticket.born
    try:
        os.kill(ticket.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _this_machine() -> str:
    """The same for two processes if and only if they see each other's process ids.

    A host's name won't do: containers may share it and not the ids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str | None:
    """When a living process started, in the kernel's ticks; None for a dead or unreaped one."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if status[0] in "ZX" else status[19]

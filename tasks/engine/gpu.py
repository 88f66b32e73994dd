"""One batch of networks at a time on a GPU, even if several workers use it.

Two locks hold a GPU. The processes of a user on a machine share a locked file. All machines and
containers share a global concurrency limit of one slot on the Prefect server. Prefect renews the
lease of the slot in a thread. If the server is unreachable, the running batch continues: the lease
may then end, and the file alone keeps the GPU.
"""

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency

from models.data.file_lock import file_lock
from models.data.settings import settings
from tasks.engine.server_retry import one_line, retry_while_unreachable

log = logging.getLogger("synthset.gpu")

# Prefect grants no shorter lease, and renews it after three quarters of the time.
LEASE_S = 60.0
# Longer than a batch takes: after so long a wait, one log line says how to free the slot.
STUCK_S = 600.0

_held = threading.local()


class GpuLimitMissingError(ValueError):
    """The Prefect server has no limit for this GPU; the line names it and the fix."""


@contextmanager
def gpu_lock(*, needed: bool) -> Iterator[None]:
    """Hold the worker's GPU, if the worker has one and ``needed`` says that networks run.

    Waits while another thread, process or container holds it, and while the server is
    unreachable. A thread that holds it may enter again.

    Raises:
        GpuLimitMissingError: the server has no such limit.
        ValueError, RuntimeError: the server refuses, or was unreachable for too long before entry.
    """
    limit = settings().gpu_limit
    if not needed or not limit or getattr(_held, "limit", None) == limit:
        yield
        return
    file = Path(tempfile.gettempdir(), f"synthset-{os.getuid()}-{limit.replace('/', '_')}.lock")
    with file_lock(file), _leased_slot(limit):
        _held.limit = limit
        try:
            yield
        finally:
            _held.limit = None


@contextmanager
def _leased_slot(limit: str) -> Iterator[None]:
    slot = retry_while_unreachable(_take_slot, limit)
    try:
        yield
    finally:
        try:
            slot.close()
        except httpx.HTTPError as error:
            log.warning(
                "%s can't be released (%s); its lease ends within %.0f s",
                limit,
                one_line(error),
                LEASE_S,
            )


def _take_slot(limit: str) -> ExitStack:
    """Return the held slot; close it to release the slot."""
    while True:
        slot = concurrency(
            limit,
            timeout_seconds=STUCK_S,
            lease_duration=LEASE_S,
            strict=True,
            raise_on_lease_renewal_failure=False,
        )
        stack = ExitStack()
        try:
            stack.enter_context(slot)
        except TimeoutError:
            log.warning(
                "%s has been taken for %.0f s. If no run uses that GPU, free it: "
                "prefect global-concurrency-limit update %s --active-slots 0",
                limit,
                STUCK_S,
                limit,
            )
        except ConcurrencySlotAcquisitionError as error:
            if error.__cause__ is not None:
                raise error.__cause__ from None
            host, _, gpu = limit.removeprefix("gpu:").rpartition(":")
            count = int(gpu) + 1 if gpu.isdecimal() else 1
            raise GpuLimitMissingError(
                f"limit {limit} does not exist on the Prefect server; make it with "
                f"'synthset deploy --gpu {host or 'HOST'}:{count}'"
            ) from None
        else:
            return stack

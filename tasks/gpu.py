"""One heavy stage at a time on a GPU, however many workers share it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.concurrency.sync import concurrency

# Set by the worker for each of its slots: ``gpu:<host>:<n>``, a limit that `synthset deploy` made.
LIMIT = "SYNTHSET_GPU_LIMIT"
LEASE_S = 60


@contextmanager
def held_gpu(*, needed: bool) -> Iterator[None]:
    """Hold the worker's GPU, where it has one to hold and networks are to run.

    The holder renews its lease; that of a holder that died ends by itself.

    Raises:
        prefect.concurrency.sync.ConcurrencySlotAcquisitionError: the server has no such limit.
    """
    limit = os.environ.get(LIMIT)
    if not needed or not limit:
        yield
        return
    with concurrency(limit, occupy=1, lease_duration=LEASE_S, strict=True):
        yield

"""Work items in threads of this process."""

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import ContextVar

from tasks.engine.work_items import Result, WorkItem

_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


def is_stopped() -> bool:
    """Whether the run that this thread works for is being stopped."""
    event = _stop.get()
    return event is not None and event.is_set()


def map_in_threads(
    items: Sequence[WorkItem], work: Callable[[WorkItem], Result], max_parallel: int
) -> Iterator[Result]:
    """The results of items as they come, ``max_parallel`` at a time.

    On Ctrl-C, the items in progress finish their batch, and no further item starts.
    """
    stop = threading.Event()
    _stop.set(stop)

    def run(item: WorkItem) -> Result | None:
        return None if stop.is_set() else work(item)

    with ThreadPoolExecutor(max_parallel, thread_name_prefix="item") as pool:
        try:
            futures = [pool.submit(contextvars.copy_context().run, run, item) for item in items]
            for future in as_completed(futures):
                result = future.result()
                if result is not None:
                    yield result
        except BaseException:
            stop.set()
            raise

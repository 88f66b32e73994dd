"""The settings of torch that hold for the whole process, such as its number of threads."""

import contextlib
import threading
from collections.abc import Iterator

import torch

# One thread at a time may change them. A thread that holds the lock may enter again.
TORCH_STATE = threading.RLock()


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Make torch compute each operation with one thread; on exit the former number is restored.

    It holds for threads that start inside, too. Other threads that enter wait until then.
    """
    with TORCH_STATE:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

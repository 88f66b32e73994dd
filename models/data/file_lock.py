"""A lock among the processes of a machine."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a file's lock, where the system knows locks of files. It ends with its holder.

    Args:
        path: made if it is not there; it stays, since taking it away would split the lock in two.
        wait: until it is free.

    Raises:
        BlockingIOError: someone else holds it, and ``wait`` is false.
        OSError: the file can't be opened; a link is not followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with _locked(file, wait):
            yield
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(file: int, wait: bool) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    try:
        yield
    finally:
        # Said aloud: what the holder has forked has the file open still.
        fcntl.flock(file, fcntl.LOCK_UN)

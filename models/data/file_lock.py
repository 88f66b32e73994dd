"""A lock between the processes of a machine."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def file_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file until the block ends or the process dies.

    On a system without ``fcntl`` (Windows) nothing is locked.

    Args:
        path: created if it does not exist. It stays: another process could hold its lock while a
            third process locks a new file of that name.
        wait: whether to wait until the lock is free.

    Raises:
        BlockingIOError: another process holds the lock, and ``wait`` is false.
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
        # Unlock explicitly: a forked child may still have the file open.
        fcntl.flock(file, fcntl.LOCK_UN)


alone = file_lock  # until every caller uses the new name

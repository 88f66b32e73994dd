"""Decoded contents of artifacts, kept for the next stage within a limit of memory."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from cachetools import LRUCache

# The 112 images of 768x1024 that the shipped recipe makes of a photo, with their scenes, take
# 440 MB. Measuring, resizing and annotating each read all of them: a smaller cache would serve
# none.
CACHE_BYTES = 512 * 2**20


def _size(content: Any) -> int:
    return content.nbytes if isinstance(content, np.ndarray) else 1024


class ContentCache:
    """Contents by digest; the least recently used ones leave first. Safe to use from threads.

    ``size_of`` gives the bytes of a content.
    """

    def __init__(self, size: int = CACHE_BYTES, size_of: Callable[[Any], int] = _size) -> None:
        self._size_of = size_of
        self._contents: LRUCache[str, Any] = LRUCache(size, getsizeof=size_of)
        self._lock = threading.Lock()

    def get(self, digest: str) -> Any | None:
        """The content, or None where it is not kept."""
        with self._lock:
            return self._contents.get(digest)

    def put(self, digest: str, content: Any) -> None:
        """Keep a content. An array becomes read-only, since every later reader gets the same."""
        if isinstance(content, np.ndarray):
            content.setflags(write=False)
        with self._lock:
            if digest in self._contents:
                return
            if self._size_of(content) <= self._contents.maxsize:
                self._contents[digest] = content

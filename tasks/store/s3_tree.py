"""Checkpoints that lie below an s3:// address, as a tree of files to import from.

Keys, endpoint, tries and one-line errors are those of the artifact store's backend.
"""

import contextlib
from collections.abc import Iterator

from models.checkpoints.pull_source import PullFailed
from tasks.store.s3 import S3Backend

PIECE = 16 << 20


class S3Tree(S3Backend):
    """Files below ``s3://bucket/prefix``, read in pieces; it needs the rights to list and to get.

    Raises:
        StoreAccessError: bad address, no or wrong keys, no such bucket, nothing at the endpoint.
    """

    def __init__(self, url: str, item: int = PIECE) -> None:
        super().__init__(url)
        self._piece = item
        self.name = self.url

    def sizes(self, prefix: str) -> dict[str, int]:
        """The bytes of every object at or below a path, by whole path."""
        return {
            entry.name: entry.size
            for entry in self.entries(prefix)
            if entry.name == prefix or entry.name.startswith(f"{prefix.rstrip('/')}/")
        }

    @contextlib.contextmanager
    def opened(self, path: str, start: int) -> Iterator[Iterator[bytes]]:
        """The bytes of an object from ``start`` on, in pieces.

        Raises:
            StoreUnavailableError: the endpoint stays away.
            PullFailed: the object went away meanwhile.
        """
        size = self.size(path)
        if size is None:
            raise PullFailed(f"{self.url}: {path} is gone; run it again")
        yield self._pieces(path, start, size)

    def etag(self, path: str) -> str | None:
        """None: an S3 etag is no sum of the hub's."""
        return None

    def _pieces(self, path: str, start: int, size: int) -> Iterator[bytes]:
        for first in range(start, size, self._piece):
            last = min(first + self._piece, size) - 1
            item = self._part(path, first, last)
            if item is None or len(item) != last - first + 1:
                raise PullFailed(f"{self.url}: {path} changed while it was read; run it again")
            yield item

    def _part(self, path: str, first: int, last: int) -> bytes | None:
        key = self._prefix + path

        def fetch() -> bytes:
            asked = f"bytes={first}-{last}"
            return self._client.get_object(Bucket=self._bucket, Key=key, Range=asked)["Body"].read()

        return self._call(f"reading {path}", fetch)

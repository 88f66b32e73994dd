"""The artifact store's local backend: a folder, on a disk or a network file system."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.store.backend import Entry, StoreError, StoreRefused, StoreUnavailable
from tasks.store.layout import PART

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_UNREACHABLE = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN}


class FolderBackend:
    """Bytes as files below a folder, which is made if it is not there.

    A file is written under a temporary name beside its place and renamed, so that it is there whole
    or not at all however the process dies. Files are not flushed to the disk one by one (fsync
    costs more than the work of a classical stage): after a power failure some may be torn or empty,
    which the size check of `Store.find` and the digest check of `Store.read` turn into a
    recomputation.

    Raises:
        StoreRefused: the folder can't be made, or is a file.
    """

    parallel = 1

    def __init__(self, folder: Path) -> None:
        self._root = os.path.abspath(folder.expanduser())
        self.url = self._root
        try:
            os.makedirs(self._root, exist_ok=True)
        except FileExistsError:
            raise StoreRefused(f"store {self.url} is a file; name a folder") from None
        except OSError as error:
            raise StoreRefused(
                f"store {self.url} can't be made ({error.strerror}); name a folder you may write to"
            ) from error

    def get(self, name: str) -> bytes | None:
        """The bytes of a file; None if it is not there."""
        try:
            with open(f"{self._root}/{name}", "rb", buffering=0) as stream:
                return stream.readall()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failure("reading", name, error) from error

    def put(self, name: str, blob: bytes) -> None:
        """Write a file, whole or not at all."""
        path = f"{self._root}/{name}"
        folder, _, base = path.rpartition("/")
        part = f"{folder}/.{base}.{secrets.token_hex(8)}{PART}"
        try:
            with _create(part) as stream:
                stream.write(blob)
            os.replace(part, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(part)
            if isinstance(error, OSError):
                raise self._failure("writing", name, error) from error
            raise

    def size(self, name: str) -> int | None:
        """The bytes of a file, by the file system's word; None if it is not there."""
        try:
            return os.stat(f"{self._root}/{name}").st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failure("looking for", name, error) from error

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The files whose names start with ``prefix``, sorted within each folder.

        Hidden folders and ``lost+found``, which only root may read, are never the store's.
        """
        return self._walk(prefix.rpartition("/")[0], prefix)

    def path(self, name: str) -> Path | None:
        """The file of a name, whether it is there or not."""
        return Path(self._root, name)

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        try:
            os.unlink(f"{self._root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._failure("deleting", name, error) from error

    def _walk(self, folder: str, prefix: str) -> Iterator[Entry]:
        try:
            with os.scandir(f"{self._root}/{folder}") as scan:
                found = sorted(scan, key=lambda item: item.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._failure("listing", folder or ".", error) from error
        for item in found:
            if item.is_dir() and (item.name.startswith(".") or item.name == "lost+found"):
                continue
            name = f"{folder}/{item.name}" if folder else item.name
            if item.is_dir():
                if name.startswith(prefix) or prefix.startswith(f"{name}/"):
                    yield from self._walk(name, prefix)
            elif name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):
                    status = item.stat()
                    yield Entry(name, status.st_size, status.st_mtime)

    def _failure(self, doing: str, name: str, error: OSError) -> StoreError:
        where = f"store {self.url}: {doing} {name} failed: {error.strerror}"
        if error.errno in _FULL:
            return StoreError(f"{where}; make room (synthset store gc) or use another, and rerun")
        if error.errno in _FORBIDDEN:
            return StoreRefused(f"{where}; give this user the right to read and write there")
        if error.errno in _UNREACHABLE:
            return StoreUnavailable(f"{where}; check the disk or the network mount, and rerun")
        return StoreError(where)


def _create(path: str) -> BinaryIO:
    try:
        return open(path, "xb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "xb")

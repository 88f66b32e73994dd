"""The artifact store's local backend: a folder, on a disk or a network file system."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.store.backend import Entry
from tasks.store.errors import StoreAccessError, StoreError, StoreUnavailableError
from tasks.store.layout import PART, parse_name

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_UNREACHABLE = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN}
_ABSENT = (FileNotFoundError, NotADirectoryError)


class FolderBackend:
    """Files below a folder, which is created if it does not exist.

    A file is written under a temporary name and renamed, so that a killed process leaves no partial
    file. Files are not flushed to the disk one by one: an fsync costs more than the work of a
    classical stage. After a power failure a file may be empty or cut; `Store.find` sees that by its
    size and `Store.read` by its digest, and the run recomputes it.

    Raises:
        StoreAccessError: the folder can't be created, or is a file.
    """

    parallel = 1

    def __init__(self, folder: Path) -> None:
        self._root = os.path.abspath(folder.expanduser())
        self.url = self._root
        try:
            os.makedirs(self._root, exist_ok=True)
        except FileExistsError:
            raise StoreAccessError(f"store {self.url} is a file; name a folder") from None
        except OSError as error:
            raise StoreAccessError(
                f"store {self.url} can't be created ({error.strerror}); name a folder you may write"
            ) from error

    def get(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if there is no such file."""
        path = f"{self._root}/{name}"
        with self._absent_is_none("reading", name), open(path, "rb", buffering=0) as stream:
            return stream.readall()
        return None

    def put(self, name: str, blob: bytes) -> None:
        """Write a file, whole or not at all."""
        path = f"{self._root}/{name}"
        folder, _, base = path.rpartition("/")
        part = f"{folder}/.{base}.{secrets.token_hex(8)}{PART}"
        try:
            with _open_new(part) as stream:
                stream.write(blob)
            os.replace(part, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(part)
            if isinstance(error, OSError):
                raise self._failure("writing", name, error) from error
            raise

    def create(self, name: str, blob: bytes) -> bool:
        """Write a file, unless it exists. A process that is killed here may leave it empty."""
        try:
            with _open_new(f"{self._root}/{name}") as stream:
                stream.write(blob)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._failure("writing", name, error) from error
        return True

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if there is no such file."""
        with self._absent_is_none("looking for", name):
            return os.stat(f"{self._root}/{name}").st_size
        return None

    def entries(self, prefix: str, unlisted: list[str] | None = None) -> Iterator[Entry]:
        """Yield the files whose names start with ``prefix``, sorted within each folder.

        Hidden folders and ``lost+found``, which only root may read, never belong to the store. A
        folder under the name of an artifact's file is a fault, and yielded as a file.
        """
        return self._scan(prefix.rpartition("/")[0], prefix, unlisted)

    def path(self, name: str) -> Path | None:
        """Return the file of a name, whether it exists or not."""
        return Path(self._root, name)

    def delete(self, name: str) -> None:
        """Delete a file, or a folder under its name; do nothing if there is neither."""
        path = f"{self._root}/{name}"
        with self._absent_is_none("deleting", name):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def _scan(self, folder: str, prefix: str, unlisted: list[str] | None) -> Iterator[Entry]:
        for item in self._list_folder(folder, unlisted):
            is_folder = _is_folder(item)
            if is_folder and (item.name.startswith(".") or item.name == "lost+found"):
                continue
            name = f"{folder}/{item.name}" if folder else item.name
            if is_folder and parse_name(name) is None:
                if name.startswith(prefix) or prefix.startswith(f"{name}/"):
                    yield from self._scan(name, prefix, unlisted)
            elif name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):
                    status = _status(item)
                    yield Entry(name, status.st_size, status.st_mtime)

    def _list_folder(self, folder: str, unlisted: list[str] | None) -> list[os.DirEntry[str]]:
        path = f"{self._root}/{folder}"
        try:
            with self._absent_is_none("listing", folder or "."), os.scandir(path) as scan:
                return sorted(scan, key=lambda item: item.name)
        except StoreError:
            if unlisted is None:
                raise
            unlisted.append(folder or ".")
        return []

    @contextlib.contextmanager
    def _absent_is_none(self, action: str, name: str) -> Iterator[None]:
        try:
            yield
        except _ABSENT:
            return
        except OSError as error:
            raise self._failure(action, name, error) from error

    def _failure(self, action: str, name: str, error: OSError) -> StoreError:
        message = f"store {self.url}: {action} {name} failed: {error.strerror}"
        if error.errno in _FULL:
            return StoreError(f"{message}; make room (synthset store gc) or use another, and rerun")
        if error.errno in _FORBIDDEN:
            return StoreAccessError(f"{message}; give this user the right to read and write it")
        if error.errno in _UNREACHABLE:
            return StoreUnavailableError(f"{message}; check the disk or network mount, and rerun")
        return StoreError(message)


def _open_new(path: str) -> BinaryIO:
    """Open a file that does not exist yet, and create its folder."""
    try:
        return open(path, "xb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "xb")


def _is_folder(item: os.DirEntry[str]) -> bool:
    """Whether this is a folder; a link that leads to itself is none."""
    try:
        return item.is_dir()
    except OSError:
        return False


def _status(item: os.DirEntry[str]) -> os.stat_result:
    """The status of a file, or of the link itself if it leads to no file that can be examined."""
    try:
        return item.stat()
    except FileNotFoundError:
        raise
    except OSError:
        return item.stat(follow_symlinks=False)

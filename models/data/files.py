"""Reading and writing whole files, and folders that can't be written."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

PART_SUFFIX = ".part"


class FolderError(ValueError):
    """A folder can't be written; the line names it and says what to set."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and make its folders.

    The bytes go to a hidden file ``.<random>.part`` in the same folder, which is then renamed.
    A reader sees the old file or the new one. The file is not flushed to the disk (no fsync).

    Raises:
        OSError: the file can't be written; the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}{PART_SUFFIX}"
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def check_writable(folder: Path, subject: str, fix: str, mode: int = 0o777) -> None:
    """Make a folder if it does not exist, and write a file into it that nobody sees.

    Args:
        subject: what the folder is, such as ``--out``, for the error line.
        fix: what the user can do.
        mode: permissions of a folder that is made here.

    Raises:
        FolderError: it can't be made or written.
    """
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FolderError(f"{subject} {folder} can't be written ({reason}): {fix}") from None


class ChangedFileError(Exception):
    """A file was written while it was read."""


def read_unchanged(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ChangedFileError: its size or time changed meanwhile.
    """
    with path.open("rb") as opened:
        before = os.fstat(opened.fileno())
        content = opened.read()
        after = os.fstat(opened.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or (
        len(content) != after.st_size
    ):
        raise ChangedFileError("it changed while it was read; run again when it is complete")
    return content

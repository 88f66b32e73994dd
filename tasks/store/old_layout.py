"""Stores of layout 1, which earlier versions wrote: recognised, never read, deleted on request."""

import re
from typing import NamedTuple

from tasks.store.backend import Backend, in_parallel
from tasks.store.errors import StoreError
from tasks.store.layout import DOCUMENTS, LAYOUT_FILE, LEASES

OLD_MARKER = "synthset-store.json"
# Stages of layout 1 had these keys: a user's own file, such as photos/ca/cat.jpg, is none of them.
_OLD_FILE = re.compile(r"[a-z0-9_]+/(?P<shard>[0-9a-f]{2})/\.?(?P=shard)[0-9a-f]{62}\.[a-z0-9.]+")


class OldLayoutReport(NamedTuple):
    """What `clear_old_layout` found: files, their bytes, and whether they were deleted."""

    files: int
    size: int
    deleted: bool


def is_of_old_layout(name: str) -> bool:
    """Whether a file is a blob, a record or an unfinished part of a stage of layout 1."""
    return _OLD_FILE.fullmatch(name) is not None


def clear_old_layout(backend: Backend, *, delete: bool) -> OldLayoutReport:
    """Find the files of layout 1, and delete them if ``delete`` says so. Other files stay.

    Raises:
        StoreError: this is a store of the present layout.
    """
    if backend.get(LAYOUT_FILE) is not None:
        raise StoreError(f"store {backend.url} has no old layout; use gc without --old-layout")
    files = [
        entry
        for entry in backend.entries("")
        if entry.name.startswith((DOCUMENTS, LEASES)) or is_of_old_layout(entry.name)
    ]
    if delete:
        for _ in in_parallel(lambda entry: backend.delete(entry.name), files, backend.parallel):
            pass
        # Last: a store that is half cleared is still recognised.
        backend.delete(OLD_MARKER)
    return OldLayoutReport(len(files), sum(entry.size for entry in files), delete)

"""Stores of layout 1, which earlier versions wrote: recognised, never read, deleted on request."""

from typing import NamedTuple

from tasks.store.backend import Backend, Entry, in_parallel
from tasks.store.errors import StoreError
from tasks.store.layout import DOCUMENTS, LAYOUT_FILE, LEASES, is_part, parse_name

OLD_MARKER = "synthset-store.json"
_OLD_STAGES = frozenset(
    (
        "augment",
        "background",
        "baseline",
        "caption",
        "dataset",
        "depth",
        "heldout",
        "ingest",
        "label",
        "masked_depth",
        "measure",
        "multiview",
        "outpaint",
        "resize",
        "score",
        "screen",
        "segment",
        "train",
        "upscale",
    )
)


class OldLayoutReport(NamedTuple):
    """What `clear_old_layout` found: files, their bytes, and whether they were deleted."""

    files: int
    size: int
    deleted: bool


def is_of_old_layout(name: str) -> bool:
    """Whether a file is a blob, a record or an unfinished part of a stage of layout 1."""
    if name.partition("/")[0] not in _OLD_STAGES:
        return False
    return parse_name(name) is not None or is_part(name)


def clear_old_layout(backend: Backend, *, delete: bool) -> OldLayoutReport:
    """Find the files of layout 1, and delete them if ``delete`` says so. Other files stay.

    Raises:
        StoreError: this is a store of the present layout.
    """
    if backend.get(LAYOUT_FILE) is not None:
        raise StoreError(f"store {backend.url} has no old layout; use gc without --old-layout")
    files = [entry for entry in backend.entries("") if _is_old(entry)]
    if delete:
        for _ in in_parallel(lambda entry: backend.delete(entry.name), files, backend.parallel):
            pass
        # Last: a store that is half cleared is still recognised.
        backend.delete(OLD_MARKER)
    return OldLayoutReport(len(files), sum(entry.size for entry in files), delete)


def _is_old(entry: Entry) -> bool:
    return entry.name.startswith((DOCUMENTS, LEASES)) or is_of_old_layout(entry.name)

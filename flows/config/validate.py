"""Mistakes in what a run is given, found before anything is started or made."""

from pathlib import Path

from models.data.find_photos import find_photos
from tasks.assemble.write_folders import refuse_foreign
from tasks.store.store import open_store


def check_places(photos: Path, out: Path, store: str) -> None:
    """Return if the photos can be found, the store used, and the datasets written.

    Raises:
        ValueError: the photo folder is not as it must be, or ``out`` lies in it or holds files of
            somebody else.
        StoreAccessError: the store can't be reached, read or written.
    """
    find_photos(photos)
    if out.is_relative_to(photos):
        raise ValueError(
            f"--out {out} lies in the photo folder, so that the next run would take its images for "
            "photos; name a folder beside it"
        )
    refuse_foreign(out / "datasets")
    open_store(store)

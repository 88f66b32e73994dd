"""Background photos: the empty scenes that objects are put into."""

from pathlib import Path

from models.data.read_photo import SUFFIXES
from models.data.records import Artifact
from tasks.engine.run_context import RunContext
from tasks.ingest.photos import Ingest, ingest_files


def ingest_backgrounds(run: RunContext, folder: Path | None, parameters: Ingest) -> list[Artifact]:
    """The photos of a flat folder, in the order of their names; none without a folder.

    Raises:
        ValueError: the folder is missing or holds no readable photo.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise ValueError(f"backgrounds: {folder} is no folder; name one that holds photos")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    names = {f"backgrounds/{path.name}": path for path in paths}
    photos = ingest_files(run, parameters, names).photos
    if not photos:
        raise ValueError(f"backgrounds: {folder} holds no photo that can be read; add some")
    return list(photos.values())

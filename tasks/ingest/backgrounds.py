"""Background photos: the empty scenes that objects are put into."""

from pathlib import Path

from models.data.read_photo import SUFFIXES
from models.data.records import Artifact
from tasks.engine.run_context import RunContext
from tasks.ingest.photos import Ingest, as_artifact, ingest


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
    files = [as_artifact(path, f"plates/{path.name}") for path in paths]
    photos = ingest(run, parameters, files)
    if not photos:
        raise ValueError(f"backgrounds: {folder} holds no photo that can be read; add some")
    return photos

"""The demo's photos: rendered scenes that the package brings along."""

from importlib.resources import as_file, files
from pathlib import Path

from models.data.files import write_atomic


def copy_demo_photos(folder: Path) -> None:
    """Copy the demo's photos to ``folder``; a file that has the same bytes stays as it is."""
    with as_file(files("flows") / "demo_photos") as source:
        for photo in sorted(source.rglob("*.jpg")):
            data, target = photo.read_bytes(), folder / photo.relative_to(source)
            if not target.is_file() or target.read_bytes() != data:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(target, data)

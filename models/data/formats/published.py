"""Folders of sets that torchvision's loaders read: where they are, and whether they are whole."""

from dataclasses import dataclass
from pathlib import Path

from models.data.formats.annotated import AnnotationError


@dataclass(frozen=True)
class Published:
    """The layout of a published set.

    ``name``: the folder that the loader searches. ``parts``: what it needs in there. ``marks``:
    files and folders that show the layout, whatever the folder is called.
    """

    name: str
    parts: tuple[str, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Location:
    """The folder of a set as the user names it, and ``named`` as its loader must name it."""

    base: Path
    named: Path

    def place(self, path: Path, listed: Path) -> Path:
        """A file that the loader found, below the folder that the user names.

        Args:
            listed: the file that lists it, for the message.

        Raises:
            AnnotationError: the file is outside.
        """
        below = path.relative_to(self.named) if path.is_relative_to(self.named) else Path("..")
        if ".." in below.parts:
            raise AnnotationError(
                f"{listed}: {path.name} leads out of the folder; correct the list"
            )
        return self.base / below


def find_published(folder: Path, published: Published) -> Path | None:
    """The folder of a published set: ``folder`` or the one in it; None if it is neither."""
    for base in (folder / published.name, folder):
        if any((base / mark).exists() for mark in published.marks):
            return base
        is_named = published.name in (base.name, base.resolve().name)
        if is_named and any((base / part).exists() for part in published.parts):
            return base
    return None


def locate(folder: Path, published: Published) -> Location:
    """Where a published set is.

    Raises:
        AnnotationError: it is no such set, a part is missing, or the folder has another name.
    """
    base = find_published(folder, published)
    if base is None:
        raise AnnotationError(
            f"{folder}: is no {published.name}, which has {', '.join(published.parts)}; name its"
            " folder"
        )
    for part in published.parts:
        path = base / part
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            raise AnnotationError(
                f"{base}: {part} is missing from {published.name}; unpack its archives there"
            )
    for named in (base.absolute(), base.resolve()):
        if named.name == published.name:
            return Location(base, named)
    raise AnnotationError(
        f"{base}: holds {published.name}; rename the folder to {published.name}, or link it"
    )


def malformed(listed: Path, error: Exception) -> AnnotationError:
    """The error about a list that the loader can't read."""
    return AnnotationError(f"{listed}: is malformed ({error}); unpack the archive again")

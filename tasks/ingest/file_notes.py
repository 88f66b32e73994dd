"""What a run says of the photo files that it has read: conversions, and files that changed."""

import re
from collections.abc import Mapping, Sequence

from models.data.find_photos import Refused
from models.data.records import Artifact
from tasks.ingest.find_sources import FoundPhoto

# Photos with the same note that are listed one by one.
_MOST_ALIKE = 3


def list_notes(photos: Mapping[str, Artifact]) -> list[str]:
    """What was converted in which photo; notes that differ in figures alone become one line."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, photo in sorted(photos.items()):
        for note in photo.metadata["notes"]:
            found.setdefault(re.sub(r"\d+", "0", note), []).append((name, note))
    lines = []
    for alike in found.values():
        name, note = alike[0]
        if len(alike) > _MOST_ALIKE:
            lines.append(f"{name} and {len(alike) - 1} other photos: {note}")
        else:
            lines += [f"{name}: {note}" for name, note in alike]
    return lines


def find_changed(found: Sequence[FoundPhoto], photos: Mapping[str, Artifact]) -> list[Refused]:
    """The photos that were replaced after their annotations were read: their size is another."""
    changed = []
    for photo in found:
        image = photos.get(photo.file)
        if image is None or photo.size is None:
            continue
        width, height = image.metadata["file_size"]
        listed_width, listed_height = photo.size
        if (width, height) != (listed_width, listed_height):
            changed.append(
                Refused(
                    photo.file,
                    f"it changed during the run, from {listed_width}x{listed_height} to"
                    f" {width}x{height} px; run again when it is complete",
                )
            )
    return changed

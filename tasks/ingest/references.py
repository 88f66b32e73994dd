"""Which train photos are expanded: all, so many of each class, or so many at most."""

import hashlib
from collections.abc import Sequence

from models.data.records import Reference


def choose_references(
    photos: Sequence[Reference], per_class: int | None, limit: int | None, seed: int
) -> list[Reference]:
    """The photos to expand, sorted by name.

    They are drawn per class in an order that follows from the photo's bytes and the seed; ``limit``
    takes the first of each class in turns, so that no class goes without while others have many.
    """

    def draw(photo: Reference) -> str:
        return hashlib.sha256(f"{seed}{photo.photo.digest}".encode()).hexdigest()

    turns: list[tuple[int, str, Reference]] = []
    for label in sorted({photo.label for photo in photos}):
        ranked = sorted((photo for photo in photos if photo.label == label), key=draw)
        turns += [(turn, label, photo) for turn, photo in enumerate(ranked[:per_class])]
    chosen = [photo for _, _, photo in sorted(turns, key=lambda one: one[:2])[:limit]]
    return sorted(chosen, key=lambda photo: photo.name)

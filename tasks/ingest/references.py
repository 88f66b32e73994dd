"""References: the train photos that generators use: all, some of each class, or some at most."""

import hashlib
from collections.abc import Sequence

from models.data.records import SourceImage


def choose_references(
    photos: Sequence[SourceImage], per_class: int | None, limit: int | None, seed: int
) -> list[SourceImage]:
    """The photos that generators use, sorted by name.

    They are drawn per class in an order that follows from the photo's bytes and the seed. ``limit``
    takes the first photo of every class, then the second, and so on, so that every class has some.
    """

    def draw(photo: SourceImage) -> str:
        return hashlib.sha256(f"{seed}{photo.draw_digest}".encode()).hexdigest()

    turns: list[tuple[int, str, SourceImage]] = []
    for label in sorted({photo.label for photo in photos}):
        ranked = sorted((photo for photo in photos if photo.label == label), key=draw)
        turns += [(turn, label, photo) for turn, photo in enumerate(ranked[:per_class])]
    chosen = [photo for _, _, photo in sorted(turns, key=lambda entry: entry[:2])[:limit]]
    return sorted(chosen, key=lambda photo: photo.name)

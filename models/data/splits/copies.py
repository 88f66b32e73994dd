"""Exact copies of photos: which of them are used."""

from collections import defaultdict
from collections.abc import Sequence

from models.data.find_photos import Refused
from models.data.splits.near_duplicates import HashedPhoto


def without_copies(photos: Sequence[HashedPhoto]) -> tuple[list[HashedPhoto], list[Refused]]:
    """The photos with one of each set of equal files, or none if their classes differ."""
    same: dict[str, list[HashedPhoto]] = defaultdict(list)
    for photo in photos:
        same[photo.digest].append(photo)
    dropped: dict[str, Refused] = {}
    for copies in same.values():
        tested = [photo for photo in copies if photo.given_split == "test"]
        first = min(copies, key=lambda photo: (photo.given_split != "val", photo.file))
        for photo in copies:
            other = next((p for p in copies if p.label != photo.label), None)
            if photo in tested:
                continue
            if tested:
                reason = f"the same file as the test photo {tested[0].file}"
                dropped[photo.file] = Refused(photo.file, reason, "copies of test photos")
            elif other:
                reason = (
                    f"the same file is in the class {other.label!r} as {other.file}, so its class"
                    " is unknown"
                )
                kind = f"copies of {other.label!r}"
                dropped[photo.file] = Refused(photo.file, reason, kind)
            elif photo is not first:
                reason = f"the same file as {first.file}"
                dropped[photo.file] = Refused(photo.file, reason, "copies of other photos")
    kept = [photo for photo in photos if photo.file not in dropped]
    return kept, list(dropped.values())

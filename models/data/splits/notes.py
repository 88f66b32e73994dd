"""Notes on families: near-duplicates that stay together, and contradictions in a test split."""

from collections.abc import Sequence

from models.data.splits.families import Families
from models.data.splits.hold_out import count_of
from models.data.splits.near_duplicates import HashedPhoto


def notes_on_families(families: Families) -> list[str]:
    """How many near-duplicates stay together; the objects of one photo are no news."""
    together = [f for f in families if len({photo.group or photo.file for photo in f}) > 1]
    if not together:
        return []
    groups = count_of(len(together), "group", "groups")
    return [f"{sum(map(len, together))} near-duplicates in {groups} stay together"]


def notes_on_test(families: Sequence[list[HashedPhoto]]) -> list[str]:
    """Notes on contradictions in a given test split, which is never changed."""
    tested = [family for family in families if family[0].given_split == "test"]
    digests = [photo.digest for family in tested for photo in family]
    copies = len(digests) - len(set(digests))
    notes = []
    if copies:
        notes.append(f"test holds {count_of(copies, 'exact copy', 'exact copies')}; kept as given")
    for family in tested:
        # The objects of one photo may well be of several classes.
        alike = [photo for photo in family if photo.group is None and photo.shows is None]
        other = next((photo for photo in alike if photo.label != alike[0].label), None)
        if other is not None:
            notes.append(
                f"test holds the same photo in two classes, {alike[0].file} and {other.file}; kept"
                " as given"
            )
    return notes

"""Families: the photos that show one scene, and which of them may not be used.

Near-duplicates, photos that are linked by their pictures, and photos of the same ``group`` form a
family. A family that holds a given test photo keeps only its test photos; else val goes before
train.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.data.find_photos import Refused
from models.data.records import Split
from models.data.splits.near_duplicates import (
    HashedPhoto,
    Indices,
    group_near_duplicates,
    later_near_duplicates,
)

_STRICTNESS: Mapping[Split | None, int] = {"test": 2, "val": 1, "train": 0, None: 0}

Links = Sequence[tuple[str, str]]
Families = list[list[HashedPhoto]]


def build_families(photos: Sequence[HashedPhoto], bits: int | None, links: Links) -> Families:
    """All families, each in the order of ``photos``.

    Args:
        bits: photos whose hashes differ in at most so many bits are near-duplicates; None: hashes
            are not compared.
        links: more pairs of files that show one scene.
    """
    number = {photo.file: index for index, photo in enumerate(photos)}
    pairs = [(number[a], number[b]) for a, b in links if a in number and b in number]
    first: dict[str, int] = {}
    for index, photo in enumerate(photos):
        if photo.group is not None:
            pairs.append((first.setdefault(photo.group, index), index))
    groups = group_near_duplicates(photos, bits, pairs)
    return [[photos[index] for index in group] for group in groups]


def refuse_straddling(
    families: Families, bits: int | None, links: Links
) -> tuple[Families, list[Refused]]:
    """The families without photos whose family has photos in a stricter given split.

    The reason names a photo of that split: a near-duplicate, or one that is linked through others.
    """
    kept: Families = []
    refused: list[Refused] = []
    for family in families:
        strictest = max(_STRICTNESS[photo.given_split] for photo in family)
        held = [photo for photo in family if _STRICTNESS[photo.given_split] == strictest]
        kept.append(held)
        if len(held) < len(family):
            refused += _explain(family, held, bits, links)
    return kept, refused


def refuse_contradictions(families: Families, bits: int | None) -> tuple[Families, list[Refused]]:
    """The families without near-duplicates of different classes; a given test stays as it is.

    Photos of two classes that only their pictures link stay: they may show two things in one place.
    """
    kept: Families = []
    refused: list[Refused] = []
    for family in families:
        near = {} if family[0].given_split == "test" else _find_other_class(family, bits)
        for index, other in sorted(near.items()):
            named = family[other]
            reason = (
                f"a near-duplicate of {named.file} in the class {named.label!r}, so its class is"
                " unknown"
            )
            kind = f"near-duplicates of {named.label!r}"
            refused.append(Refused(family[index].file, reason, kind))
        if len(near) < len(family):
            kept.append([photo for index, photo in enumerate(family) if index not in near])
    return kept, refused


def _find_other_class(family: Sequence[HashedPhoto], bits: int | None) -> dict[int, int]:
    """The first near-duplicate of another class, by index, of each photo that has one.

    Scenes have none: two of one place may well show objects of different classes.
    """
    if any(photo.shows is not None for photo in family):
        return {}
    _, labels = np.unique([photo.label for photo in family], return_inverse=True)
    if not labels.any():
        return {}
    return _find_near(family, bits, lambda one, others: labels[one] != labels[others])


def _explain(
    family: Sequence[HashedPhoto], held: Sequence[HashedPhoto], bits: int | None, links: Links
) -> list[Refused]:
    """Why each photo of the family that is not among ``held`` is refused."""
    by_file = {photo.file: photo for photo in held}
    is_held = np.array([photo.file in by_file for photo in family])
    near = _find_near(family, bits, lambda one, others: is_held[others] & ~is_held[one])
    pictured: dict[str, str] = {}
    for pair in sorted(links):
        for file, linked in (pair, pair[::-1]):
            if linked in by_file:
                pictured.setdefault(file, linked)
    by_group = {photo.group: photo for photo in reversed(held) if photo.group is not None}
    refused = []
    for index, photo in enumerate(family):
        if photo.file in by_file:
            continue
        if index in near:
            how, kind, other = "a near-duplicate of", "near-duplicates of", family[near[index]]
        elif photo.file in pictured:
            how, kind = "shows the same picture as", "same pictures as"
            other = by_file[pictured[photo.file]]
        elif photo.group in by_group:
            how, kind, other = "of the same scene as", "of one group with", by_group[photo.group]
        else:
            how, kind, other = "linked through near-duplicates to", "near-duplicates of", held[0]
        reason = f"{how} the {other.given_split} photo {other.file}"
        refused.append(Refused(photo.file, reason, f"{kind} {other.given_split} photos"))
    return refused


Refuses = Callable[[Indices, Indices], npt.NDArray[np.bool_]]


def _find_near(family: Sequence[HashedPhoto], bits: int | None, refuses: Refuses) -> dict[int, int]:
    """Per photo the first near-duplicate that refuses it; a photo without one is left out.

    Args:
        refuses: for indices of photos and of their near-duplicates, whether the latter refuse.
    """
    witness = np.full(len(family), len(family))
    for index, later in later_near_duplicates(family, bits):
        here = np.full_like(later, index)
        refusing = later[refuses(here, later)]
        witness[index] = min(witness[index], *refusing[:1].tolist(), len(family))
        refused = later[refuses(later, here)]
        witness[refused] = np.minimum(witness[refused], index)
    return {index: other for index, other in enumerate(witness.tolist()) if other < len(family)}

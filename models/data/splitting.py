"""Splitting photos into train, val and test without near-duplicates of test photos in train.

Photos that are linked by near-duplicates, or have the same ``group``, form a family. A family goes
to one split as a whole. Small collections often hold one scene or one file twice; splitting single
images would leak.
"""

import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from models.data.find_photos import Refused
from models.data.near_duplicates import (
    HashedPhoto,
    group_near_duplicates,
    later_near_duplicates,
    with_near_duplicates,
)
from models.data.records import Record, Split

HeldOutSplit = Literal["val", "test"]


class SplitParameters(Record):
    """How photos are divided where the folders don't say so."""

    val: float = Field(0.15, gt=0, lt=1, description="share of each class's photos for validation")
    test: float = Field(0.2, gt=0, lt=1, description="share of each class's photos for the test")
    near_duplicate_bits: int = Field(
        32,
        ge=0,
        le=96,
        description="bits of 256 in which the hashes of two photos of the same scene may differ;"
        " fewer where large parts of a photo are blank; 0 takes equal hashes only",
    )
    seed: int = Field(0, ge=0, description="another seed gives another split of the same sizes")

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> "SplitParameters":
        if self.val + self.test >= 1:
            raise ValueError("val + test must be below 1, so that photos are left for train")
        return self


@dataclass(frozen=True)
class SplitResult:
    """The split of each used photo, the refused photos with reasons, and notes for the user.

    ``families`` names the family of each used photo by its first file.
    """

    assigned: dict[str, Split]
    families: dict[str, str]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]


def split(photos: Sequence[HashedPhoto], parameters: SplitParameters) -> SplitResult:
    """Split photos, stratified by class, with the whole family of a photo in its split.

    Of exact copies the first by name is kept. A photo that lies in two classes is refused in both.
    Splits given by folders are kept, except that a train or val photo with a relative in test, or a
    train photo with one in val, is refused; test never changes. A split that no folder gives is
    taken out of train by whole families, at least one per class and split. Families are drawn in
    the order of a hash of seed and digest, so that one photo more moves few others.

    Raises:
        ValueError: a class has too few distinct photos, a photo is listed twice, or only some
            photos have a given split.
    """
    ordered = sorted(photos, key=lambda photo: photo.file)
    _check(ordered)
    bits = parameters.near_duplicate_bits
    kept, refused = _without_copies(ordered)
    notes = [f"{_count(len(refused), 'exact copy', 'exact copies')} refused"] if refused else []
    kept, more = _without_group_leaks(kept)
    refused += more
    # All photos are compared once; the rules then compare only those with near-duplicates.
    linked = with_near_duplicates(kept, bits)
    single = set(kept) - set(linked)
    for rule in _RULES:
        linked, more = _without(linked, rule, bits)
        refused += more
    families = [[linked[index] for index in group] for group in group_near_duplicates(linked, bits)]
    families += [[photo] for photo in single]
    together = [family for family in families if len(family) > 1]
    if together:
        number = sum(map(len, together))
        in_groups = _count(len(together), "group", "groups")
        notes.append(f"{number} near-duplicates in {in_groups} stay together")
    families = sorted(_join_groups(families), key=lambda family: family[0].file)
    notes += _notes_on_test(families)
    assigned, more_notes = _assign(families, sorted({p.label for p in ordered}), parameters)
    return SplitResult(
        assigned=dict(sorted(assigned.items())),
        families={photo.file: family[0].file for family in families for photo in family},
        refused=tuple(refused),
        notes=(*notes, *more_notes),
    )


def _check(photos: Sequence[HashedPhoto]) -> None:
    if not photos:
        raise ValueError("there are no photos to split; give a folder with photos")
    for photo, following in itertools.pairwise(photos):
        if photo.file == following.file:
            raise ValueError(f"the photo {photo.file} is listed twice; list it once")
    without_split = [photo.file for photo in photos if photo.given_split is None]
    if 0 < len(without_split) < len(photos):
        raise ValueError(
            f"some photos have a given split, but {without_split[0]} has none; give all or none"
        )


def _without_copies(photos: Sequence[HashedPhoto]) -> tuple[list[HashedPhoto], list[Refused]]:
    """The photos with one of each set of equal files, or none if their classes differ."""
    same: dict[str, list[HashedPhoto]] = defaultdict(list)
    for photo in photos:
        same[photo.digest].append(photo)
    dropped: dict[str, str] = {}
    for copies in same.values():
        tested = [photo for photo in copies if photo.given_split == "test"]
        first = min(copies, key=lambda photo: (photo.given_split != "val", photo.file))
        for photo in copies:
            other = next((p for p in copies if p.label != photo.label), None)
            if photo in tested:
                continue
            if tested:
                dropped[photo.file] = f"the same file as the test photo {tested[0].file}"
            elif other:
                dropped[photo.file] = (
                    f"the same file is in the class {other.label!r} as {other.file}, so its class"
                    " is unknown"
                )
            elif photo is not first:
                dropped[photo.file] = f"the same file as {first.file}"
    kept = [photo for photo in photos if photo.file not in dropped]
    return kept, [Refused(file, reason) for file, reason in dropped.items()]


def _without_group_leaks(
    photos: Sequence[HashedPhoto],
) -> tuple[list[HashedPhoto], list[Refused]]:
    """The photos without those whose group has a photo in a stricter given split."""
    strictness: dict[Split | None, int] = {"test": 2, "val": 1, "train": 0, None: 0}
    strictest: dict[str, HashedPhoto] = {}
    for photo in photos:
        if photo.group is not None:
            first = strictest.setdefault(photo.group, photo)
            if strictness[photo.given_split] > strictness[first.given_split]:
                strictest[photo.group] = photo
    kept: list[HashedPhoto] = []
    refused = []
    for photo in photos:
        other = strictest[photo.group] if photo.group is not None else photo
        if other.given_split == photo.given_split:
            kept.append(photo)
        else:
            reason = f"of the same scene as the {other.given_split} photo {other.file}"
            refused.append(Refused(photo.file, reason))
    return kept, refused


def _join_groups(families: Sequence[list[HashedPhoto]]) -> list[list[HashedPhoto]]:
    """The families, joined where they hold photos of the same group; each sorted by file."""
    joined: dict[int, list[HashedPhoto]] = {}
    family_of: dict[str, int] = {}
    for number, family in enumerate(families):
        groups = {photo.group for photo in family if photo.group is not None}
        others = sorted({family_of[group] for group in groups if group in family_of})
        joined[number] = [*family, *(photo for other in others for photo in joined.pop(other))]
        groups |= {photo.group for photo in joined[number] if photo.group is not None}
        family_of |= dict.fromkeys(groups, number)
    return [sorted(family, key=lambda photo: photo.file) for family in joined.values()]


@dataclass(frozen=True)
class _Rule:
    """Which photos are refused for a near-duplicate; ``applies`` takes the photo and the other."""

    reason: str
    applies: Callable[[HashedPhoto, HashedPhoto], bool]


_RULES = (
    _Rule(
        "a near-duplicate of the test photo {file}",
        lambda photo, other: photo.given_split != "test" and other.given_split == "test",
    ),
    _Rule(
        "a near-duplicate of the val photo {file}",
        lambda photo, other: photo.given_split == "train" and other.given_split == "val",
    ),
    _Rule(
        "a near-duplicate of {file} in the class {label!r}, so its class is unknown",
        lambda photo, other: photo.given_split != "test" and photo.label != other.label,
    ),
)


def _without(
    photos: Sequence[HashedPhoto], rule: _Rule, bits: int
) -> tuple[list[HashedPhoto], list[Refused]]:
    """The photos without those that the rule refuses."""
    # A rule depends on splits and classes alone, so it is evaluated once per pair of kinds (split,
    # class) and not per pair of photos: the frames of a film have millions of pairs.
    kinds = sorted({(photo.given_split or "", photo.label) for photo in photos})
    number = {kind: index for index, kind in enumerate(kinds)}
    kind_of = np.array([number[photo.given_split or "", photo.label] for photo in photos], np.intp)
    example = {int(kind): photos[index] for index, kind in enumerate(kind_of)}
    table = np.array(
        [
            [rule.applies(example[i], example[j]) for j in range(len(kinds))]
            for i in range(len(kinds))
        ]
    ).reshape(len(kinds), len(kinds))
    witness = np.full(len(photos), -1)
    if table.any():
        for index, near in later_near_duplicates(photos, bits):
            refusing = near[table[kind_of[index], kind_of[near]]]
            if witness[index] < 0 and len(refusing):
                witness[index] = refusing[0]
            refused_by = near[table[kind_of[near], kind_of[index]] & (witness[near] < 0)]
            witness[refused_by] = index
    kept = [photo for photo, other in zip(photos, witness, strict=True) if other < 0]
    refused = []
    for photo, other in zip(photos, witness, strict=True):
        if other >= 0:
            named = photos[other]
            reason = rule.reason.format(file=named.file, label=named.label)
            refused.append(Refused(photo.file, reason))
    return kept, refused


def _notes_on_test(families: Sequence[list[HashedPhoto]]) -> list[str]:
    """Notes on contradictions in a given test split, which is never changed."""
    tested = [family for family in families if family[0].given_split == "test"]
    digests = [photo.digest for family in tested for photo in family]
    copies = len(digests) - len(set(digests))
    notes = []
    if copies:
        notes.append(f"test holds {_count(copies, 'exact copy', 'exact copies')}; kept as given")
    for family in tested:
        # The objects of one photo may well be of several classes.
        alike = [photo for photo in family if photo.group is None]
        other = next((photo for photo in alike if photo.label != alike[0].label), None)
        if other is not None:
            notes.append(
                f"test holds the same photo in two classes, {alike[0].file} and {other.file}; kept"
                " as given"
            )
    return notes


def _assign(
    families: Sequence[list[HashedPhoto]], labels: Sequence[str], parameters: SplitParameters
) -> tuple[dict[str, Split], list[str]]:
    given = {photo.given_split for family in families for photo in family}
    shares: dict[HeldOutSplit, float] = {}
    if "test" not in given:
        shares["test"] = parameters.test
    if "val" not in given:
        shares["val"] = parameters.val
    assigned: dict[str, Split] = {}
    notes = []
    if "train" in given and shares:
        notes.append(f"the folders give no {' and no '.join(shares)}; taken out of train")
    pool: dict[str, list[list[HashedPhoto]]] = {label: [] for label in labels}
    is_mixed = False
    for family in families:
        split_given = family[0].given_split
        if split_given in ("val", "test"):
            assigned |= {photo.file: split_given for photo in family}
            continue
        own_labels = {photo.label for photo in family}
        is_mixed |= len(own_labels) > 1
        for label in own_labels:
            pool[label].append(family)
    # A family of several classes goes where its rarest class needs it.
    for label in sorted(labels, key=lambda name: len(pool[name]) if is_mixed else 0):
        decided, more = _hold_out(label, pool[label], assigned, shares, parameters.seed)
        assigned |= decided
        notes += more
    covered = {(p.label, assigned[p.file]) for family in families for p in family}
    for name in ("val", "test"):
        missing = [repr(label) for label in labels if (label, name) not in covered]
        if missing:
            notes.append(f"no {name} photo of {', '.join(missing)}")
    return assigned, notes


def _hold_out(
    label: str,
    families: list[list[HashedPhoto]],
    assigned: Mapping[str, Split],
    shares: dict[HeldOutSplit, float],
    seed: int,
) -> tuple[dict[str, Split], list[str]]:
    """The splits of the families of a class that have none yet, and notes on missed quotas.

    Args:
        families: those with a photo of the class.
        assigned: splits of photos whose family a rarer class has placed.
    """
    if len(families) <= len(shares):
        wanted = ", ".join(["train", *shares])
        raise ValueError(
            f"the class {label!r} has {_count(len(families), 'distinct photo', 'distinct photos')}"
            f" that may be used, and needs"
            f" {len(shares) + 1} ({wanted}); add photos of it, or lower near_duplicate_bits if"
            " different photos were taken for near-duplicates"
        )
    sizes = Counter({id(family): sum(p.label == label for p in family) for family in families})
    quotas = _quotas(sizes.total(), shares)
    held = Counter(dict.fromkeys(("train", *shares), 0))
    for family in families:
        if family[0].file in assigned:
            held[assigned[family[0].file]] += sizes[id(family)]
    # Test is taken from the start of the order and val from its end, so that a quota that grows by
    # one moves one photo, and not one across each border.
    left = [family for family in families if family[0].file not in assigned]
    left.sort(key=lambda family: _rank(family, seed))
    decided: dict[str, Split] = {}
    notes = []
    names = list(shares)
    for number, name in enumerate(names):
        spare = sum(not held[other] for other in ("train", *names[number + 1 :]))
        chosen, left = _fill(left, quotas[name] - held[name], spare, sizes)
        left.reverse()
        decided |= {photo.file: name for family in chosen for photo in family}
        held[name] += sum(sizes[id(family)] for family in chosen)
        if held[name] != quotas[name]:
            notes.append(
                f"class {label!r}: {held[name]} photos in {name} where {quotas[name]} were wanted,"
                " because related photos stay together"
            )
    decided |= {photo.file: "train" for family in left for photo in family}
    return decided, notes


def _rank(family: Sequence[HashedPhoto], seed: int) -> str:
    smallest = min(photo.digest for photo in family)
    return hashlib.sha256(f"{seed}:{smallest}".encode()).hexdigest()


def _quotas(count: int, shares: dict[HeldOutSplit, float]) -> Counter[str]:
    """The photos of each split by largest remainder, at least one, of ``count`` in all."""
    exact = {"train": count * (1.0 - sum(shares.values()))}
    exact |= {name: count * share for name, share in shares.items()}
    quotas = Counter({name: math.floor(value + 1e-9) for name, value in exact.items()})
    by_remainder = sorted(exact, key=lambda name: round(quotas[name] - exact[name], 9))
    quotas.update(by_remainder[: count - quotas.total()])
    return Counter({name: max(1, quota) for name, quota in quotas.items()})


def _fill(
    families: Sequence[list[HashedPhoto]], quota: int, spare: int, sizes: Mapping[int, int]
) -> tuple[list[list[HashedPhoto]], list[list[HashedPhoto]]]:
    """The first families whose sizes add up to about ``quota``, and the families left.

    At least ``spare`` are left; at least one is taken where the quota is above 0.

    Args:
        sizes: photos of the class in each family, by the family's ``id``.
    """
    chosen: list[list[HashedPhoto]] = []
    left: list[list[HashedPhoto]] = []
    missing = quota
    for family in families:
        if sizes[id(family)] <= missing and len(families) - len(chosen) > spare:
            chosen.append(family)
            missing -= sizes[id(family)]
        else:
            left.append(family)
    if missing > 0 and len(left) > spare:
        smallest = min(range(len(left)), key=lambda index: sizes[id(left[index])])
        if not chosen or sizes[id(left[smallest])] - missing < missing:
            chosen.append(left.pop(smallest))
    return chosen, left


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number} {singular if number == 1 else plural}"

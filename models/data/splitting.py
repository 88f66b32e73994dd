"""Splitting photos into train, val and test so that no relative of a test photo is trained on.

Relatives of relatives form a group, and a group goes to one split as a whole: splitting images
instead of groups is the usual leak of small collections, where one scene was shot twice or one file
was saved twice.
"""

import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
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

Carved = Literal["val", "test"]


class SplitParameters(Record):
    """How photos are divided where the folders don't say it."""

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
    """The split of each photo that is used, why others aren't, and what a person should know."""

    assigned: dict[str, Split]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]


def split(photos: Sequence[HashedPhoto], parameters: SplitParameters) -> SplitResult:
    """A split of the photos, stratified by class, in which no near-duplicates straddle two splits.

    Of exact copies the first by name is kept. A photo that lies in two classes is refused in both.
    Splits given by folders are kept, except that a train or val photo with a relative in test, or
    a train photo with one in val, is refused; test never changes. What is not given is carved out
    of train by whole groups, at least one group per class and split. Groups are drawn in the order
    of a hash of seed and digest, so that one photo more moves few others.

    Raises:
        ValueError: a class has too few distinct photos, a photo is listed twice, or only some
            photos have a given split.
    """
    ordered = sorted(photos, key=lambda photo: photo.file)
    _check(ordered)
    bits = parameters.near_duplicate_bits
    kept, refused = _without_copies(ordered)
    notes = [f"{_count(len(refused), 'exact copy', 'exact copies')} refused"] if refused else []
    # All are compared with all once; what follows is asked of the few that have relatives.
    linked = with_near_duplicates(kept, bits)
    alone = set(kept) - set(linked)
    for rule in _RULES:
        linked, more = _without(linked, rule, bits)
        refused += more
    groups = [[linked[index] for index in group] for group in group_near_duplicates(linked, bits)]
    groups += [[photo] for photo in alone]
    groups.sort(key=lambda group: group[0].file)
    together = [group for group in groups if len(group) > 1]
    if together:
        number = sum(map(len, together))
        in_groups = _count(len(together), "group", "groups")
        notes.append(f"{number} near-duplicates in {in_groups} stay together")
    notes += _notes_on_test(groups)
    assigned, more_notes = _assign(groups, sorted({p.label for p in ordered}), parameters)
    refused.sort(key=lambda one: one.file)
    return SplitResult(dict(sorted(assigned.items())), tuple(refused), (*notes, *more_notes))


def _check(photos: Sequence[HashedPhoto]) -> None:
    if not photos:
        raise ValueError("there are no photos to split; give a folder with photos")
    for one, other in itertools.pairwise(photos):
        if one.file == other.file:
            raise ValueError(f"the photo {one.file} is listed twice; list it once")
    loose = [photo.file for photo in photos if photo.given_split is None]
    if 0 < len(loose) < len(photos):
        raise ValueError(
            f"some photos have a given split, but {loose[0]} has none; give all or none"
        )


def _without_copies(photos: Sequence[HashedPhoto]) -> tuple[list[HashedPhoto], list[Refused]]:
    """The photos with one left of each set of equal files, or none if their classes differ."""
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


@dataclass(frozen=True)
class _Rule:
    """Which photos a relative costs their place; ``applies`` takes splits and labels of both."""

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
    """The photos without those that have a relative of the kind the rule names."""
    # Only the kind of a photo (split, class) matters to a rule, so it is asked once per pair of
    # kinds and not once per pair of photos, of which a film's frames have millions.
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
            costs_me = near[table[kind_of[index], kind_of[near]]]
            if witness[index] < 0 and len(costs_me):
                witness[index] = costs_me[0]
            costs_them = near[table[kind_of[near], kind_of[index]] & (witness[near] < 0)]
            witness[costs_them] = index
    kept = [photo for photo, other in zip(photos, witness, strict=True) if other < 0]
    refused = []
    for photo, other in zip(photos, witness, strict=True):
        if other >= 0:
            named = photos[other]
            reason = rule.reason.format(file=named.file, label=named.label)
            refused.append(Refused(photo.file, reason))
    return kept, refused


def _notes_on_test(groups: Sequence[list[HashedPhoto]]) -> list[str]:
    """What is wrong with a given test, which is never changed."""
    tested = [group for group in groups if group[0].given_split == "test"]
    digests = [photo.digest for group in tested for photo in group]
    copies = len(digests) - len(set(digests))
    torn = [group for group in tested if len({photo.label for photo in group}) > 1]
    notes = []
    if copies:
        notes.append(f"test holds {_count(copies, 'exact copy', 'exact copies')}; kept as given")
    for group in torn:
        other = next(photo for photo in group if photo.label != group[0].label)
        notes.append(
            f"test holds the same photo in two classes, {group[0].file} and {other.file}; kept as"
            " given"
        )
    return notes


def _assign(
    groups: Sequence[list[HashedPhoto]], labels: Sequence[str], parameters: SplitParameters
) -> tuple[dict[str, Split], list[str]]:
    given = {photo.given_split for group in groups for photo in group}
    shares: dict[Carved, float] = {}
    if "test" not in given:
        shares["test"] = parameters.test
    if "val" not in given:
        shares["val"] = parameters.val
    assigned: dict[str, Split] = {}
    notes = []
    if "train" in given and shares:
        notes.append(f"the folders give no {' and no '.join(shares)}; carved out of train")
    pool: dict[str, list[list[HashedPhoto]]] = {label: [] for label in labels}
    for group in groups:
        split_given = group[0].given_split
        if split_given in ("val", "test"):
            assigned |= {photo.file: split_given for photo in group}
        else:
            pool[group[0].label].append(group)
    for label, of_class in pool.items():
        carved, more = _carve(label, of_class, shares, parameters.seed)
        notes += more
        for group in of_class:
            assigned |= {photo.file: carved.get(photo.file, "train") for photo in group}
    covered = {(p.label, assigned[p.file]) for group in groups for p in group}
    for name in ("val", "test"):
        missing = [repr(label) for label in labels if (label, name) not in covered]
        if missing:
            notes.append(f"no {name} photo of {', '.join(missing)}")
    return assigned, notes


def _carve(
    label: str, groups: list[list[HashedPhoto]], shares: dict[Carved, float], seed: int
) -> tuple[dict[str, Split], list[str]]:
    """The split of those photos of a class that leave train, and notes on missed quotas."""
    if len(groups) <= len(shares):
        wanted = ", ".join(["train", *shares])
        raise ValueError(
            f"the class {label!r} has {_count(len(groups), 'distinct photo', 'distinct photos')}"
            f" that may be used, and needs"
            f" {len(shares) + 1} ({wanted}); add photos of it, or lower near_duplicate_bits if"
            " different photos were taken for near-duplicates"
        )
    quotas = _quotas(sum(map(len, groups)), shares)
    # Test is taken from the start of the order and val from its end, so that a quota that grows by
    # one moves one photo, and not one across each border.
    left = sorted(groups, key=lambda group: _rank(group, seed))
    carved: dict[str, Split] = {}
    notes = []
    for number, name in enumerate(shares):
        chosen, left = _fill(left, quotas[name], spare=len(shares) - number)
        left.reverse()
        files = [photo.file for group in chosen for photo in group]
        carved |= dict.fromkeys(files, name)
        if len(files) != quotas[name]:
            notes.append(
                f"class {label!r}: {len(files)} photos in {name} where {quotas[name]} were due,"
                " because near-duplicates stay together"
            )
    return carved, notes


def _rank(group: Sequence[HashedPhoto], seed: int) -> str:
    smallest = min(photo.digest for photo in group)
    return hashlib.sha256(f"{seed}:{smallest}".encode()).hexdigest()


def _quotas(count: int, shares: dict[Carved, float]) -> Counter[str]:
    """How many of ``count`` photos each split is due, by largest remainder, at least one."""
    exact = {"train": count * (1.0 - sum(shares.values()))}
    exact |= {name: count * share for name, share in shares.items()}
    quotas = Counter({name: math.floor(value + 1e-9) for name, value in exact.items()})
    by_remainder = sorted(exact, key=lambda name: round(quotas[name] - exact[name], 9))
    quotas.update(by_remainder[: count - quotas.total()])
    return Counter({name: max(1, quota) for name, quota in quotas.items()})


def _fill(
    groups: Sequence[list[HashedPhoto]], quota: int, spare: int
) -> tuple[list[list[HashedPhoto]], list[list[HashedPhoto]]]:
    """Groups, in order, whose sizes come as near to ``quota`` as they can, and those left.

    At least one group is taken and at least ``spare`` are left.
    """
    chosen: list[list[HashedPhoto]] = []
    left: list[list[HashedPhoto]] = []
    missing = quota
    for group in groups:
        if len(group) <= missing and len(groups) - len(chosen) > spare:
            chosen.append(group)
            missing -= len(group)
        else:
            left.append(group)
    if missing and len(left) > spare:
        smallest = min(range(len(left)), key=lambda index: len(left[index]))
        if not chosen or len(left[smallest]) - missing < missing:
            chosen.append(left.pop(smallest))
    return chosen, left


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"

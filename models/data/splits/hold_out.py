"""Which families of photos are held out for val and test, with quotas per class.

Families are drawn in the order of a hash of seed and digest, so that one photo more moves few
others.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from models.data.find_photos import Refused
from models.data.records import Split
from models.data.splits.near_duplicates import HashedPhoto

HeldOutSplit = Literal["val", "test"]
# The kind of reason of photos whose class is left out.
LEFT_OUT = "in too small a class"


def find_small_classes(
    families: Sequence[list[HashedPhoto]],
    labels: Sequence[str],
    shares: Mapping[HeldOutSplit, float],
) -> dict[str, str]:
    """The classes without enough families for every split, each with what it has and needs.

    Args:
        families: those that may be used.
        labels: all classes.
        shares: the share of each split that no folder gives.
    """
    splits = ["train", *shares]
    families_of: Counter[str] = Counter()
    photos: Counter[str] = Counter()
    for family in families:
        if family[0].given_split not in ("val", "test"):
            families_of.update({photo.label for photo in family})
            photos.update(photo.label for photo in family)
    small = {}
    for label in labels:
        if families_of[label] < len(splits):
            usable = count_of(photos[label], "usable photo", "usable photos")
            together = count_of(families_of[label], "family", "families")
            together = f" in {together}" if families_of[label] < photos[label] else ""
            small[label] = f"has {usable}{together}, needs {len(splits)}"
    return small


def without_classes(
    families: Sequence[list[HashedPhoto]], classes: Mapping[str, str]
) -> tuple[list[list[HashedPhoto]], list[Refused]]:
    """The families without the photos of some classes, and these photos as refused.

    Args:
        classes: the classes to leave out, each with the reason.
    """
    kept = [[photo for photo in family if photo.label not in classes] for family in families]
    refused = [
        Refused(
            photo.file,
            f"its class {photo.label!r} {classes[photo.label]}; it is left out",
            LEFT_OUT,
        )
        for family in families
        for photo in family
        if photo.label in classes
    ]
    return [family for family in kept if family], refused


def assign_splits(
    families: Sequence[list[HashedPhoto]],
    labels: Sequence[str],
    shares: Mapping[HeldOutSplit, float],
    seed: int,
) -> tuple[dict[str, Split], list[str]]:
    """The split of each photo, and notes; a split that no folder gives is taken out of train.

    Args:
        families: photos that stay together; those of one family have the same given split.
        labels: all classes, sorted; none of those that `find_small_classes` finds.
        shares: the share of each class's photos for test and val, if no folder gives that split.
        seed: another seed draws other families.
    """
    assigned: dict[str, Split] = {}
    notes = []
    if shares and any(family[0].given_split == "train" for family in families):
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
        decided, more = _hold_out(label, pool[label], assigned, shares, seed)
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
    shares: Mapping[HeldOutSplit, float],
    seed: int,
) -> tuple[dict[str, Split], list[str]]:
    """The splits of the families of a class that have none yet, and notes on missed quotas.

    Args:
        families: those with a photo of the class.
        assigned: splits of photos whose family a rarer class has placed.
    """
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


def _quotas(count: int, shares: Mapping[HeldOutSplit, float]) -> Counter[str]:
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


def count_of(number: int, singular: str, plural: str) -> str:
    """The number with its noun, such as ``2 groups``."""
    return f"{number} {singular if number == 1 else plural}"

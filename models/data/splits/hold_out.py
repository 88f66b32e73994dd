"""Which families of photos are drawn for which split, with quotas per class.

Families are drawn in the order of a hash of seed and digest, so that one photo more moves few
others.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from models.data.find_photos import Refused
from models.data.names import shorten
from models.data.records import NO_OBJECT_LABEL, Split
from models.data.splits.near_duplicates import HashedPhoto
from models.data.splits.quotas import Pool, find_quotas

# The kind of reason of photos whose class is left out.
LEFT_OUT = "in too small a class"


@dataclass(frozen=True)
class Drawn:
    """The split of each used photo, photos that are not used, and notes for the user."""

    assigned: dict[str, Split] = field(default_factory=dict)
    unused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_small_classes(
    families: Sequence[list[HashedPhoto]],
    labels: Sequence[str],
    splits: Collection[Split],
) -> dict[str, str]:
    """The classes without enough families for every split, each with what it has and needs.

    Args:
        families: those that may be used.
        labels: all classes.
        splits: those that are drawn from photos of train, or without a split.
    """
    needed = len(set(splits))
    families_of: Counter[str] = Counter()
    photos: Counter[str] = Counter()
    for family in families:
        if family[0].given_split not in ("val", "test"):
            families_of.update({photo.label for photo in family})
            photos.update(photo.label for photo in family)
    small = {}
    for label in labels:
        if families_of[label] < needed:
            usable = count_of(photos[label], "usable photo", "usable photos")
            together = count_of(families_of[label], "family", "families")
            together = f" in {together}" if families_of[label] < photos[label] else ""
            small[label] = f"has {usable}{together}, needs {needed}"
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
    pools: Mapping[Split, Pool],
    seed: int,
) -> Drawn:
    """The split of each photo; a split that no folder gives is drawn from the photos of another.

    Args:
        families: photos that stay together; those of one family have the same given split.
        labels: all classes, sorted; none of those that `find_small_classes` finds.
        pools: what is drawn from the photos of each given split; see `SplitParameters.pools`.
        seed: another seed draws other families.
    """
    result = Drawn()
    given = {family[0].given_split for family in families}
    for split, pool in pools.items():
        drawn = " and no ".join(name for name in pool.wanted if name not in given)
        if drawn and split in given:
            result.notes.append(f"the folders give no {drawn}; taken out of {split}")
    for split, pool in pools.items():
        own = [family for family in families if (family[0].given_split or "train") == split]
        _draw_pool(result, own, labels, split, pool, seed)
    photos = [photo for family in families for photo in family]
    covered = {(label, result.assigned.get(p.file)) for p in photos for label in p.classes}
    classes = sorted({*labels, *(label for label, _ in covered)} - {NO_OBJECT_LABEL})
    for name in ("val", "test"):
        missing = [repr(label) for label in classes if (label, name) not in covered]
        if missing:
            result.notes.append(f"no {name} photo of {', '.join(missing)}")
    return result


def _draw_pool(
    result: Drawn,
    families: Sequence[list[HashedPhoto]],
    labels: Sequence[str],
    name: Split,
    pool: Pool,
    seed: int,
) -> None:
    """Add the splits of the families of one pool to the result, and notes on missed quotas.

    Args:
        name: the given split of the families, or "train" where they have none.
    """
    families_of: dict[str, list[list[HashedPhoto]]] = {label: [] for label in labels}
    is_mixed = False
    for family in families:
        own_labels = {photo.label for photo in family}
        is_mixed |= len(own_labels) > 1
        for label in own_labels:
            families_of[label].append(family)
    decided: dict[str, Split | None] = {}
    short: dict[Split, list[str]] = defaultdict(list)
    # A family of several classes goes where its rarest class needs it.
    for label in sorted(labels, key=lambda label: len(families_of[label]) if is_mixed else 0):
        splits, missed = _divide(label, families_of[label], decided, pool, seed)
        decided |= splits
        for split, (held, wanted) in missed.items():
            if _has_too_few(label, families_of[label], pool):
                short[split].append(f"{label!r} {held}")
            else:
                result.notes.append(
                    f"class {label!r}: {held} photos in {split} where {wanted} were wanted,"
                    " because related photos stay together"
                )
    for split, few in short.items():
        result.notes.append(
            f"classes with fewer {split} photos than split.{split}: {shorten(', '.join(few))}"
        )
    result.assigned.update((file, split) for file, split in decided.items() if split is not None)
    kind = f"above the number of photos in split.{name}"
    reason = f"not drawn: its class has more photos than split.{name} takes"
    result.unused.extend(
        Refused(file, reason, kind) for file, split in decided.items() if split is None
    )


def _has_too_few(label: str, families: Sequence[list[HashedPhoto]], pool: Pool) -> bool:
    """Whether a class has fewer photos than its splits should get."""
    count = sum(photo.label == label for family in families for photo in family)
    wanted = sum(quota for name, quota in find_quotas(count, pool).items() if name in pool.wanted)
    return count < wanted + (pool.rest is not None)


def _divide(
    label: str,
    families: Sequence[list[HashedPhoto]],
    decided: Mapping[str, Split | None],
    pool: Pool,
    seed: int,
) -> tuple[dict[str, Split | None], dict[Split, tuple[int, int]]]:
    """The splits of the families of a class that have none yet, and missed quotas.

    None is the split of photos that are not used. A missed quota is the number of photos that the
    split has, and the number that it should have.

    Args:
        families: those with a photo of the class.
        decided: splits of photos whose family a rarer class has placed.
    """
    sizes = Counter({id(family): sum(p.label == label for p in family) for family in families})
    quotas = find_quotas(sizes.total(), pool)
    names = list(pool.wanted)
    held: Counter[Split | None] = Counter()
    for family in families:
        if family[0].file in decided:
            held[decided[family[0].file]] += sizes[id(family)]
    # The first split is taken from the start of the order and the next from its end, so that a
    # quota that grows by one moves one photo, and not one across each border.
    left = [family for family in families if family[0].file not in decided]
    left.sort(key=lambda family: _rank(family, seed))
    splits: dict[str, Split | None] = {}
    missed: dict[Split, tuple[int, int]] = {}
    for number, name in enumerate(names):
        others = {*names[number + 1 :], *([pool.rest] if pool.rest else [])}
        spare = sum(not held[other] for other in others)
        chosen, left = _fill(left, quotas[name] - held[name], spare, sizes)
        left.reverse()
        splits |= {photo.file: name for family in chosen for photo in family}
        held[name] += sum(sizes[id(family)] for family in chosen)
        if held[name] != quotas[name]:
            missed[name] = held[name], quotas[name]
    splits |= {photo.file: pool.rest for family in left for photo in family}
    return splits, missed


def _rank(family: Sequence[HashedPhoto], seed: int) -> str:
    smallest = min(photo.digest for photo in family)
    return hashlib.sha256(f"{seed}:{smallest}".encode()).hexdigest()


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

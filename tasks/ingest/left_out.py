"""Classes that get too few photos: why, and what helps in that case."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from models.data.error_lines import count_kinds, group_kinds, join_reasons
from models.data.find_photos import Refused
from models.data.records import NO_OBJECT_LABEL, SourceImage, Sources
from models.data.splits.hold_out import LEFT_OUT
from models.data.splits.splitting import SplitParameters
from tasks.ingest.find_sources import FoundPhoto

_OTHER_CLASS = re.compile(r"near-duplicates of (['\"].+)")
_HELD_OUT = re.compile(r"(near-duplicates of|same pictures as) (val|test) photos")
_IN_FAMILIES = re.compile(r"in \d+ famil(y|ies), needs")
_FIXED_CAMERA = "for a fixed camera, set split.group_by=none, folder, prefix or a CSV"


class TooFewClassesError(RuntimeError):
    """Too few classes have enough photos; the line gives reasons by class, and what helps."""


def explain_left_out(
    photos: Sequence[FoundPhoto], small: Mapping[str, str], refused: Iterable[Refused]
) -> dict[str, str]:
    """Why each class without enough photos is left out, by class: counts, reasons, examples.

    Args:
        photos: all photos that were found.
        small: classes with too few photos, each with what it has and needs.
        refused: all photos and objects that are not used.
    """
    labels_of: dict[str, set[str]] = defaultdict(set)
    for photo in photos:
        for number, item in enumerate(photo.objects, 1):
            labels_of[photo.file].add(item.label)
            labels_of[f"{photo.file}: object {number}"].add(item.label)
    reasons: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for entry in refused:
        if entry.kind != LEFT_OUT:
            for label in labels_of[entry.file]:
                reasons[label].append((_kind_of(entry), entry.file))
    explained = {}
    for label, needs in sorted(small.items()):
        why = count_kinds(group_kinds(reasons[label]))
        explained[label] = f"{needs}: {why}" if why else needs
    return explained


def warn_of_untaught(images: Sequence[SourceImage]) -> list[str]:
    """A line about each class that no train photo shows, though photos of other splits do."""
    shown = {"train": set[str](), "val": set[str](), "test": set[str]()}
    for image in images:
        shown[image.split] |= {note.label for note in image.annotations} - {NO_OBJECT_LABEL}
    return [
        f"no train photo shows the class {label!r}; only generated images can teach it"
        for label in sorted((shown["val"] | shown["test"]) - shown["train"])
    ]


def warn_of_empty_splits(images: Sequence[SourceImage], splits: SplitParameters) -> list[str]:
    """A line if the search for look-alikes puts all photos into one family, so that one has all."""
    empty = [name for name in ("val", "test") if not any(image.split == name for image in images)]
    if not images or not empty or splits.group_by != "pictures":
        return []
    return [
        f"no photo is in {' and '.join(empty)}, because photos that look alike stay together;"
        f" {_FIXED_CAMERA}"
    ]


def describe_alike(
    photos: Sequence[FoundPhoto],
    refused: Iterable[Refused],
    counted: Mapping[str, str] | None = None,
) -> list[str]:
    """A note per pair of classes, and per class, of which many photos are refused as look-alikes.

    Many: a tenth of the photos of two classes that look alike; a quarter of the photos of a class
    that look like val or test photos.

    Args:
        counted: the class that each photo is counted in, by file, where photos are scenes.
    """
    label_of = {photo.file: photo.objects[0].label for photo in photos if photo.objects}
    for photo in photos:
        for number, item in enumerate(photo.objects, 1):
            label_of[f"{photo.file}: object {number}"] = item.label
    count = Counter(repr(item.label) for photo in photos for item in photo.objects)
    if counted is not None:
        label_of, count = dict(counted), Counter(map(repr, counted.values()))
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    heldout: dict[str, list[str]] = defaultdict(list)
    for entry in refused:
        own = repr(label_of.get(entry.file))
        other = _OTHER_CLASS.fullmatch(entry.kind)
        if other and own in count:
            pairs[min(own, other[1]), max(own, other[1])].append(entry.file)
        elif _HELD_OUT.fullmatch(entry.kind) and own in count:
            heldout[own].append(entry.file)
    return [
        *(
            f"the classes {first} and {second} look alike: {len(files)} photos are near-duplicates"
            f" of the other class and are refused, such as {files[0]}; {_FIXED_CAMERA}"
            for (first, second), files in sorted(pairs.items())
            if 10 * len(files) >= count[first] + count[second]
        ),
        *(
            f"{len(files)} of {count[label]} photos of the class {label} look like val or test"
            f" photos and are refused, such as {files[0]}; {_FIXED_CAMERA}"
            for label, files in sorted(heldout.items())
            if 4 * len(files) >= count[label]
        ),
    ]


def require_classes(sources: Sources, splits: SplitParameters, may_leave_out: bool) -> None:
    """Return if a run can go on with the classes that have enough photos.

    Args:
        splits: how the photos were split.
        may_leave_out: whether it may go on without the others.

    Raises:
        TooFewClassesError: one class or none is left of several, or one may not be left out.
    """
    left_out = sources.left_out
    count = len(left_out) + len(sources.classes)
    if not left_out or (may_leave_out and len(sources.classes) >= min(2, count)):
        return
    reasons = [f"{label!r} {why}" for label, why in left_out.items()]
    start = f"{len(left_out)} of {count} classes have too few photos"
    raise TooFewClassesError(join_reasons(start, reasons, _advise(reasons, splits)))


def leave_out(sources: Sources, left_out: Mapping[str, str]) -> Sources:
    """The images of the other classes; those of classes that are left out become refused.

    Args:
        left_out: why each class is left out.
    """
    refused: list[tuple[str, str]] = []
    used: list[SourceImage] = []
    for image in sources.images:
        label = next((n.label for n in image.annotations if n.label in left_out), None)
        if label is None:
            used.append(image)
        else:
            refused.append((image.file, f"its class {label!r} {left_out[label]}; it is left out"))
    warnings = [f"the class {label!r} {why}; it is left out" for label, why in left_out.items()]
    return sources.with_refused(refused).model_copy(
        update={
            "images": tuple(used),
            "left_out": {**sources.left_out, **left_out},
            "warnings": (*sources.warnings, *warnings),
        }
    )


def _kind_of(entry: Refused) -> str:
    """The reason without figures and hints, so that equal reasons are counted together."""
    reason = entry.kind or entry.reason.partition("; ")[0].partition(" (")[0]
    return re.sub(r"^(.+ of )?\d+x\d+ px is ", "", reason)


def _advise(reasons: Sequence[str], splits: SplitParameters) -> str:
    text = "; ".join(reasons)
    if splits.group_by != "pictures" and _IN_FAMILIES.search(text):
        return f"split.group_by={splits.group_by} gives too few groups; choose another value"
    if _IN_FAMILIES.search(text) and (splits.group_file or splits.group_pattern):
        return "give smaller groups (split.group_file, split.group_pattern)"
    if _IN_FAMILIES.search(text) or "near-duplicates of" in text or "same pictures as" in text:
        return _FIXED_CAMERA
    if "copies of" in text:
        return "keep each photo in one class and one split"
    if "too small" in text:
        return "add larger photos, or lower ingest.min_side"
    return "replace these photos or add others"

"""Classes with too few images for the datasets: which, why, and what helps in that case."""

from collections.abc import Mapping, Sequence

from models.data.error_lines import join_reasons
from models.data.records import Sample
from models.data.specs import DatasetSpec
from tasks.assemble.choose import Assemble, count_images
from tasks.assemble.draw import DrawnImages, draw_images
from tasks.assemble.gaps import LEAST_VOLUME, DatasetTooSmallError, explain_rejections

# What helps against the commonest reason of rejected images, by the beginning of the reason.
_ADVICE = (
    ("blank", "stretch the contrast of the photos, or lower screen.min_contrast"),
    ("blurred", "use sharper photos, or lower screen.min_sharpness"),
    ("mask too small", "crop the photos closer, or lower screen.min_object"),
    ("mask too large", "use photos with more background, or raise screen.max_object"),
    ("object cut", "use photos that show the whole object, or raise screen.max_cut"),
    ("near-duplicate of a sibling", "lower screen.sibling_bits, or vary the images more"),
    (
        "too near to a held-out photo",
        "for a fixed camera, set screen.heldout_bits=0",
    ),
    ("", "give photos on which the object stands out, cut-outs, or masks (COCO, VOC)"),
)

_REAL = "real train photos"
_MADE = "images of"
_FAILED = "has only references that failed"
_NO_REFERENCE = "has no reference"


def find_short_classes(
    specs: Sequence[DatasetSpec],
    real: Sequence[Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    references: Sequence[str],
    parameters: Assemble,
) -> dict[str, str]:
    """The classes with no image, or one, where a dataset needs more; each with the reasons.

    Args:
        specs, real, synthetic, references, parameters: as `choose` takes them.
    """
    drawn = draw_images(real, synthetic, references, parameters.seed)
    return {
        label: shortage
        for label in drawn.classes
        for shortage in _shortages(label, specs, drawn, synthetic, parameters)[:1]
    }


def require_datasets(short: Mapping[str, str], classes: int, may_leave_out: bool) -> None:
    """Return if datasets can be made of the other classes.

    Args:
        short: what `find_short_classes` found.
        classes: the number of all classes.
        may_leave_out: whether classes may be left out.

    Raises:
        DatasetTooSmallError: one class or none is left of several, or one may not be left out.
    """
    if not short or (may_leave_out and classes - len(short) >= min(2, classes)):
        return
    reasons = [f"{label!r} {why}" for label, why in short.items()]
    start = f"{len(short)} of {classes} classes have too few train images"
    raise DatasetTooSmallError(join_reasons(start, reasons, _advise(next(iter(short.values())))))


def mark_left_out(samples: Sequence[Sample], left_out: Mapping[str, str]) -> list[Sample]:
    """The same samples; those of classes that are left out are rejected, unless they were before.

    So are images of another class that show an object of such a class.

    Args:
        left_out: why each class is left out.
    """
    return [
        sample.model_copy(update={"reject_reason": reason})
        if sample.is_accepted and (reason := _why_left_out(sample, left_out))
        else sample
        for sample in samples
    ]


def _why_left_out(sample: Sample, left_out: Mapping[str, str]) -> str:
    if sample.label in left_out:
        return f"its class {left_out[sample.label]}; it is left out"
    for note in sample.annotations:
        if note.label in left_out:
            return f"the class {note.label!r} of an object {left_out[note.label]}; it is left out"
    return ""


def _shortages(
    label: str,
    specs: Sequence[DatasetSpec],
    drawn: DrawnImages,
    synthetic: Mapping[str, Sequence[Sample]],
    parameters: Assemble,
) -> list[str]:
    found = []
    for spec in specs:
        volume = spec.per_class or parameters.per_class or LEAST_VOLUME
        wanted = count_images(spec, volume, label, drawn)
        made = {
            source: [sample for sample in synthetic.get(source, ()) if sample.label == label]
            for source in wanted
        }
        for source, (available, needed) in wanted.items():
            if available < min(needed, LEAST_VOLUME):
                found.append(_explain(label, source, available, made[source], drawn))
        if not any(min(counts) for counts in wanted.values()):
            rejected = [source for source in wanted if made[source]]
            found.append(
                _explain(label, rejected[0], 0, made[rejected[0]], drawn)
                if rejected
                else f"{_NO_REFERENCE} in the dataset {spec.name}"
            )
    return found


def _explain(
    label: str, source: str, available: int, made: Sequence[Sample], drawn: DrawnImages
) -> str:
    if not source:
        return f"has {available} {_REAL}, needs {LEAST_VOLUME}"
    if not made:
        own = {name for sample in drawn.real[label] for name in sample.sources}
        return f"{_FAILED if own & drawn.references else _NO_REFERENCE} for {source}"
    why = explain_rejections(made)
    usable = f"has {available} usable of {len(made)} {_MADE} {source}"
    return f"{usable}: {why}" if why else f"{usable}, needs {LEAST_VOLUME}"


def _advise(reason: str) -> str:
    """What helps against a reason that `_explain` gave."""
    if _REAL in reason:
        return "add photos"
    if _FAILED in reason:
        return "see the failed references in the report"
    if _NO_REFERENCE in reason:
        return "raise --limit or references_per_class"
    if ": " not in reason:
        return "raise the generator's numbers of images"
    # The commonest kind stands first, after its count.
    commonest = reason.partition(": ")[2].partition(" ")[2]
    return next(advice for start, advice in _ADVICE if commonest.startswith(start))

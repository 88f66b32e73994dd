"""Gaps: how many images a dataset lacks, and why."""

from collections import Counter
from collections.abc import Sequence

from models.data.error_lines import count_kinds, group_kinds, join_reasons
from models.data.records import Sample

# The least common volume: one real and one synthetic image of a dataset that mixes them.
LEAST_VOLUME = 2


class DatasetTooSmallError(RuntimeError):
    """A dataset can't have the images that the recipe wants; the line says what is missing."""


def explain_rejections(samples: Sequence[Sample]) -> str:
    """How many samples are rejected for which reasons, with examples; empty if none is."""
    return count_kinds(group_kinds((s.reject_kind, s.name) for s in samples if not s.is_accepted))


def count_reasons(samples: Sequence[Sample]) -> dict[str, int]:
    """The number of rejected images by reason."""
    reasons = Counter(sample.reject_kind for sample in samples if not sample.is_accepted)
    return dict(sorted(reasons.items()))


def explain_gap(
    dataset: str, source: str, label: str, available: int, wanted: int, why: str = ""
) -> str:
    """The line of a dataset that wants more images of a class than there are.

    Args:
        source: ``real``, or a generator.
        why: how many images were rejected for which reasons.
    """
    fix = (
        "add photos, or lower the number of this dataset or assemble.per_class"
        if source == "real"
        else "raise the generator's numbers of images, or lower the number of this dataset or"
        " assemble.per_class"
    )
    gap = f"{available} {source} train images of {wanted} ({wanted - available} short)"
    rejected = [f"rejected {why}"] if why else []
    return join_reasons(f"datasets.{dataset}: class {label} has {gap}", rejected, fix)

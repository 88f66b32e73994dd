"""Origin: which real photos stand behind a dataset, and whether it holds generated images."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from models.data.records import Sample
from models.data.specs import Origin


def find_origin(
    train: Sequence[Sample], photos: Sequence[Sample], references: Sequence[str]
) -> Origin:
    """The origin of a dataset. Where the references are all photos, they count as all.

    Args:
        train: the train images of the dataset.
        photos: every real train photo of the run.
        references: names of the photos that the generators used.
    """
    is_synthetic = any(sample.generator for sample in train)
    names = {name for sample in train for name in sample.sources}
    if is_synthetic:
        # A generator may learn from all references, or draw its images from some of them only.
        names |= set(references)
    labels = {sample.name: sample.label for sample in photos}
    per_class = Counter(dict.fromkeys(labels.values(), 0))
    per_class.update(labels[name] for name in names & set(labels))
    return Origin(
        synthetic=is_synthetic,
        photos=_extent(names, set(labels), set(references)),
        photos_per_class=min(per_class.values(), default=0),
    )


def _extent(
    names: set[str], photos: set[str], references: set[str]
) -> Literal["references", "some", "all"]:
    if names >= photos:
        return "all"
    return "references" if names <= references else "some"

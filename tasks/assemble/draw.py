"""Draw: all train images of each class in the order in which datasets take them."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.data.records import Sample

# Per class, images in the order in which datasets take them.
Drawn = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class DrawnImages:
    """All train images by class, in the order in which datasets take them.

    ``synthetic`` has them by generator; ``references`` are names of photos.
    """

    classes: tuple[str, ...]
    real: Drawn
    synthetic: Mapping[str, Drawn]
    references: frozenset[str]


def draw_images(
    real: Sequence[Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    references: Sequence[str],
    seed: int,
    *,
    of_real_classes: bool = True,
) -> DrawnImages:
    """The accepted images of each class.

    Args:
        of_real_classes: leave out generated images of classes that no real image is counted in.
    """
    made = () if of_real_classes else (s for found in synthetic.values() for s in found)
    classes = sorted({sample.label for sample in (*real, *made)})
    return DrawnImages(
        tuple(classes),
        _draw(real, classes, seed),
        {name: _draw(made, classes, seed) for name, made in synthetic.items()},
        frozenset(references),
    )


def _draw(samples: Sequence[Sample], classes: Sequence[str], seed: int) -> dict[str, list[Sample]]:
    by_label: dict[str, list[Sample]] = {label: [] for label in classes}
    for sample in samples:
        if sample.is_accepted and sample.label in by_label:
            by_label[sample.label].append(sample)
    return {label: take_turns(found, seed) for label, found in by_label.items()}


def take_turns(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Samples in turn over their source photos, in an order drawn from the bytes and the seed."""

    def draw(text: str) -> str:
        return hashlib.sha256(f"{seed}{text}".encode()).hexdigest()

    by_source: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_source["+".join(sample.sources)].append(sample)
    queues = [
        sorted(by_source[source], key=lambda sample: (draw(sample.image.digest), sample.name))
        for source in sorted(by_source, key=draw)
    ]
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]

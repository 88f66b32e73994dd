"""Choose: which train images each dataset holds."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from pydantic import Field

from models.data.error_lines import count_kinds, group_kinds, join_reasons
from models.data.records import DatasetSpec, Record, Sample

# The least common volume: one real and one synthetic image of a dataset that mixes them.
LEAST_VOLUME = 2


class DatasetTooSmallError(RuntimeError):
    """A dataset can't have the images that the recipe wants; the line says what is missing."""


class Assemble(Record):
    """How large the datasets are."""

    per_class: int | None = Field(
        None,
        ge=1,
        description="Common volume: train images per class; none means the largest that every "
        "dataset can have.",
    )
    seed: int = Field(0, ge=0, description="Changes which images are drawn.")


# Per class, images in the order in which datasets take them.
_Drawn = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class DrawnImages:
    """All train images by class, in the order in which datasets take them.

    ``synthetic`` has them by generator; ``references`` are names of photos.
    """

    classes: tuple[str, ...]
    real: _Drawn
    synthetic: Mapping[str, _Drawn]
    references: frozenset[str]


def draw_images(
    real: Sequence[Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    references: Sequence[str],
    parameters: Assemble,
) -> DrawnImages:
    """The accepted images of each class of the real ones."""
    classes = sorted({sample.label for sample in real})
    return DrawnImages(
        tuple(classes),
        _draw(real, classes, parameters.seed),
        {name: _draw(made, classes, parameters.seed) for name, made in synthetic.items()},
        frozenset(references),
    )


def count_images(
    spec: DatasetSpec, volume: int, label: str, drawn: DrawnImages
) -> dict[str, tuple[int, int]]:
    """Available and wanted images of a class per generator; real ones under the empty name."""
    count, numbers = numbers_of(spec, volume)
    if isinstance(spec.real, str):
        count = len(_take_by_word(spec.real, {label: drawn.real[label]}, drawn.references))
    wanted = {"": (len(drawn.real[label]), count)}
    for generator, number in numbers.items():
        available = len(drawn.synthetic[generator][label])
        wanted[generator] = available, available if number is None else number
    return wanted


def choose(
    specs: Sequence[DatasetSpec],
    real: Sequence[Sample],
    synthetic: Mapping[str, Sequence[Sample]],
    references: Sequence[str],
    parameters: Assemble,
) -> dict[str, list[Sample]]:
    """The train images of each dataset.

    Args:
        synthetic: per generator, its images.

    Raises:
        DatasetTooSmallError: a class has fewer images than a dataset needs, or none; the line
            names dataset, class and gap.
    """
    images = draw_images(real, synthetic, references, parameters)
    classes, drawn_real, drawn = images.classes, images.real, images.synthetic
    volume = parameters.per_class or max(
        LEAST_VOLUME, _common_volume(specs, classes, drawn_real, drawn)
    )
    datasets: dict[str, list[Sample]] = {}
    for spec in specs:
        count, numbers = numbers_of(spec, spec.per_class or volume)
        chosen = _take_by_word(spec.real, drawn_real, images.references)
        for label in classes:
            chosen += _take(spec.name, "real", label, drawn_real, count)
            for generator, number in numbers.items():
                wanted = len(drawn[generator][label]) if number is None else number
                made = synthetic[generator]
                chosen += _take(spec.name, generator, label, drawn[generator], wanted, made)
        _require_every_class(spec.name, classes, chosen)
        datasets[spec.name] = chosen
    return datasets


def _require_every_class(dataset: str, classes: Sequence[str], chosen: Sequence[Sample]) -> None:
    present = {sample.label for sample in chosen}
    for label in classes:
        if label not in present:
            raise DatasetTooSmallError(
                f"datasets.{dataset}: class {label} has no train image; add photos, or look at the "
                "rejected images in the report"
            )


def find_repeated(chosen: Mapping[str, Sequence[Sample]]) -> dict[str, str]:
    """The datasets that hold the images of an earlier one, each with the name of that one."""
    first: dict[frozenset[str], str] = {}
    repeated = {}
    for name, samples in chosen.items():
        same = first.setdefault(frozenset(sample.image.id for sample in samples), name)
        if same != name:
            repeated[name] = same
    return repeated


def _take_by_word(word: str | float, drawn: _Drawn, references: Set[str]) -> list[Sample]:
    """The real images that a word of a dataset spec names, of all classes."""
    if not isinstance(word, str):
        return []
    chosen = []
    for samples in drawn.values():
        own = [sample for sample in samples if references & set(sample.sources)]
        others = [sample for sample in samples if sample not in own]
        wanted = {"references": 0, "extra": len(own), "all": len(others)}[word]
        chosen += own + others[:wanted]
    return chosen


def numbers_of(spec: DatasetSpec, volume: int) -> tuple[int, dict[str, int | None]]:
    """Images per class: real ones, and those of each generator; None: all of them.

    A share is rounded down for generators, and real photos fill the total up.
    """
    real = 0 if isinstance(spec.real, str) else spec.real
    made: dict[str, int | None] = {}
    shares, shared = 0.0, 0
    for generator, count in spec.synthetic.items():
        if isinstance(count, str):
            made[generator] = None
        elif isinstance(count, int):
            made[generator] = count
        else:
            made[generator] = number = int(count * volume + 1e-9)
            shares, shared = shares + count, shared + number
    if isinstance(real, int):
        return real, made
    total = int((real + shares) * volume + 0.5 + 1e-9)
    return (max(0, total - shared) if real > 0 else 0), made


def _common_volume(
    specs: Sequence[DatasetSpec],
    classes: Sequence[str],
    real: _Drawn,
    synthetic: Mapping[str, _Drawn],
) -> int:
    """The largest volume for which every dataset can have its shares."""
    limits = []
    for spec in specs:
        if spec.per_class is not None:
            continue
        if isinstance(spec.real, float) and spec.real > 0:
            limits += [len(real[label]) / max(spec.real, 1e-9) for label in classes]
        for generator, share in spec.synthetic.items():
            if isinstance(share, float) and share > 0:
                limits += [len(synthetic[generator][label]) / share for label in classes]
    return int(min(limits, default=2) + 1e-9)


def _take(
    dataset: str,
    source: str,
    label: str,
    drawn: _Drawn,
    count: int,
    made: Sequence[Sample] = (),
) -> Sequence[Sample]:
    available = drawn[label]
    if len(available) < count:
        why = explain_rejections([sample for sample in made if sample.label == label])
        raise DatasetTooSmallError(explain_gap(dataset, source, label, len(available), count, why))
    return available[:count]


def explain_rejections(samples: Sequence[Sample]) -> str:
    """How many samples are rejected for which reasons, with examples; empty if none is."""
    return count_kinds(group_kinds((s.reject_kind, s.name) for s in samples if not s.is_accepted))


def explain_gap(
    dataset: str, source: str, label: str, available: int, wanted: int, why: str = ""
) -> str:
    """The line of a dataset that wants more images of a class than there are.

    Args:
        source: ``real``, or a generator.
        why: how many images were rejected for which reasons.
    """
    fix = (
        "add photos, or lower assemble.per_class"
        if source == "real"
        else "raise the generator's numbers of images, or lower assemble.per_class"
    )
    gap = f"{available} {source} train images of {wanted} ({wanted - available} short)"
    rejected = [f"rejected {why}"] if why else []
    return join_reasons(f"datasets.{dataset}: class {label} has {gap}", rejected, fix)


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

"""Choose: which train images each dataset holds."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pydantic import Field

from models.data.records import Record, Sample
from models.data.specs import DatasetSpec


class DatasetTooSmallError(ValueError):
    """A dataset can't have the images that were asked for; the line says what is missing."""


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
    classes = sorted({sample.label for sample in real})
    drawn_real = _draw(real, classes, parameters.seed)
    drawn = {name: _draw(made, classes, parameters.seed) for name, made in synthetic.items()}
    volume = parameters.per_class or max(2, _common_volume(specs, classes, drawn_real, drawn))
    used = set(references)
    datasets: dict[str, list[Sample]] = {}
    for spec in specs:
        count, numbers = _numbers(spec, spec.per_class or volume)
        chosen = _take_by_word(spec.real, drawn_real, used)
        for label in classes:
            chosen += _take(spec.name, "real", label, drawn_real, count)
            for generator, number in numbers.items():
                wanted = len(drawn[generator][label]) if number is None else number
                chosen += _take(spec.name, generator, label, drawn[generator], wanted)
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


def _take_by_word(word: str | float, drawn: _Drawn, references: set[str]) -> list[Sample]:
    """The real images that a word of a dataset spec names, of all classes."""
    if not isinstance(word, str):
        return []
    chosen = []
    for samples in drawn.values():
        own: list[Sample] = []
        others: list[Sample] = []
        for sample in samples:
            (others if references.isdisjoint(sample.sources) else own).append(sample)
        wanted = {"references": 0, "extra": len(own), "all": len(others)}[word]
        chosen += own + others[:wanted]
    return chosen


def _numbers(spec: DatasetSpec, volume: int) -> tuple[int, dict[str, int | None]]:
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


def _take(dataset: str, source: str, label: str, drawn: _Drawn, count: int) -> Sequence[Sample]:
    available = drawn[label]
    if len(available) < count:
        fix = (
            "add photos, or lower assemble.per_class"
            if source == "real"
            else "raise the generator's numbers of images, look at the rejected images in the "
            "report, or lower assemble.per_class"
        )
        raise DatasetTooSmallError(
            f"datasets.{dataset}: class {label} has {len(available)} {source} train images of "
            f"{count} ({count - len(available)} short); {fix}"
        )
    return available[:count]


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

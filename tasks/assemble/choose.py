"""Choose: which train images each dataset holds."""

from collections.abc import Mapping, Sequence, Set

from pydantic import Field

from models.data.records import Record, Sample
from models.data.specs import DatasetSpec
from tasks.assemble.draw import Drawn, DrawnImages, draw_images
from tasks.assemble.gaps import (
    LEAST_VOLUME,
    DatasetTooSmallError,
    explain_gap,
    explain_rejections,
)


class Assemble(Record):
    """How large the datasets are."""

    per_class: int | None = Field(
        None,
        ge=1,
        description="Common volume: train images per class; none means the largest that every "
        "dataset can have.",
    )
    seed: int = Field(0, ge=0, description="Changes which images are drawn.")


def count_images(
    spec: DatasetSpec, volume: int, label: str, drawn: DrawnImages
) -> dict[str, tuple[int, int]]:
    """Available and wanted images of a class per generator; real ones under the empty name."""
    count, numbers = numbers_of(spec, volume)
    if isinstance(spec.real, str):
        count = len(take_by_word(spec.real, {label: drawn.real[label]}, drawn.references))
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
    images = draw_images(real, synthetic, references, parameters.seed)
    classes, drawn_real, drawn = images.classes, images.real, images.synthetic
    volume = parameters.per_class or max(
        LEAST_VOLUME, _common_volume(specs, classes, drawn_real, drawn)
    )
    datasets: dict[str, list[Sample]] = {}
    for spec in specs:
        count, numbers = numbers_of(spec, spec.per_class or volume)
        chosen = take_by_word(spec.real, drawn_real, images.references)
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


def take_by_word(word: str | float, drawn: Drawn, references: Set[str]) -> list[Sample]:
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
    real: Drawn,
    synthetic: Mapping[str, Drawn],
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
    drawn: Drawn,
    count: int,
    made: Sequence[Sample] = (),
) -> Sequence[Sample]:
    available = drawn[label]
    if len(available) < count:
        why = explain_rejections([sample for sample in made if sample.label == label])
        raise DatasetTooSmallError(explain_gap(dataset, source, label, len(available), count, why))
    return available[:count]

"""Assemble: the datasets to compare, of equal volume per class, and their documents."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from models.data.records import Artifact, Record, Sample
from tasks.engine.stage import Job, StageInput, StageOutput, stage


class TooFew(ValueError):
    """A dataset can't have the volume that was asked for; the line says what is short."""


class Assemble(Record):
    """How large the datasets are, and which are built beside real, synthetic and mixed."""

    per_class: int | None = Field(
        None,
        ge=1,
        description="Train images per class; none means as many as every dataset can have.",
    )
    few_shot: bool = Field(
        False, description="Also a dataset of the reference photos alone, as a lower bound."
    )
    baseline: bool = Field(
        False, description="Also a dataset of the baseline's images, as many as the others have."
    )
    seed: int = Field(0, ge=0, description="Changes which images are drawn.")


class Dataset(Record):
    """A dataset document has no settings."""


def choose(
    real: Sequence[Sample],
    synthetic: Sequence[Sample],
    references: Sequence[str],
    parameters: Assemble,
) -> dict[str, list[Sample]]:
    """The train images of each arm: real, synthetic, mixed 1:1 and, if asked for, few_shot and
    baseline.

    Args:
        real: train photos.
        synthetic: synthetic images, the baseline's among them.
        references: names of the photos that were expanded.
        parameters: volume, arms and seed.

    Raises:
        TooFew: a class has fewer images than asked for, or none; the line names arm, class and gap.
    """
    classes = sorted({sample.label for sample in real})
    drawn_real = {one: _spread(_of(real, one), parameters.seed) for one in classes}
    made = [sample for sample in synthetic if not sample.is_baseline]
    drawn_synthetic = {one: _spread(_of(made, one), parameters.seed) for one in classes}
    volume = parameters.per_class or min(
        min(len(drawn_real[one]), len(drawn_synthetic[one])) for one in classes
    )
    for arm, drawn in (("real", drawn_real), ("synthetic", drawn_synthetic)):
        for label in classes:
            _require(arm, label, len(drawn[label]), max(volume, 2))
    half = volume // 2
    arms: dict[str, list[Sample]] = {"real": [], "synthetic": [], "mixed": []}
    for label in classes:
        arms["real"] += drawn_real[label][:volume]
        arms["synthetic"] += drawn_synthetic[label][:volume]
        arms["mixed"] += drawn_real[label][: volume - half] + drawn_synthetic[label][:half]
    if parameters.few_shot:
        expanded = set(references)
        arms["few_shot"] = [sample for sample in real if sample.source in expanded]
    if parameters.baseline:
        compared = [sample for sample in synthetic if sample.is_baseline]
        arms["baseline"] = []
        for label in classes:
            spread = _spread(_of(compared, label), parameters.seed)
            _require("baseline", label, len(spread), volume)
            arms["baseline"] += spread[:volume]
    return arms


def train_and_val(
    _parameters: Dataset, arm: str, train: Sequence[Artifact], val: Sequence[Artifact]
) -> list[Job]:
    """One document per dataset; classes are part of its key, since a folder's name is its label."""
    labels = hashlib.sha256("\n".join(one.label for one in (*train, *val)).encode()).hexdigest()
    index: dict[str, int | str] = {"arm": arm, "train": len(train), "labels": labels}
    return [Job((*train, *val), index, name=f"dataset {arm}")]


@stage("dataset", version=1, media="json", plan=train_and_val)
def dataset(inputs: Sequence[StageInput], parameters: Dataset) -> Iterator[StageOutput]:
    """``{"arm", "classes", "train", "val"}``; rows of artifact id and class."""
    for item in inputs:
        split = int(item.job.variant["train"])
        rows = [[image.id, image.label] for image in item.job.inputs]
        content: dict[str, Any] = {
            "arm": item.job.variant["arm"],
            "classes": sorted({label for _, label in rows}),
            "train": rows[:split],
            "val": rows[split:],
        }
        yield StageOutput(content, metadata={"train": split, "val": len(rows) - split})


def _of(samples: Sequence[Sample], label: str) -> list[Sample]:
    return [sample for sample in samples if sample.label == label and sample.accepted]


def _spread(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Samples in turns over their source photos, in an order drawn from the bytes and the seed."""

    def draw(text: str) -> str:
        return hashlib.sha256(f"{seed}{text}".encode()).hexdigest()

    by_source: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_source[sample.source].append(sample)
    queues = [
        sorted(by_source[source], key=lambda one: (draw(one.image.digest), one.name))
        for source in sorted(by_source, key=draw)
    ]
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def _require(arm: str, label: str, has: int, needs: int) -> None:
    if has < needs:
        mend = {
            "real": "add photos or lower assemble.per_class",
            "synthetic": "raise augment.copies, background.copies or outpaint.k, look at the "
            "rejects in the report, or lower assemble.per_class",
            "baseline": "raise baseline.copies, or set assemble.baseline=false",
        }[arm]
        raise TooFew(
            f"{arm}: class {label} has {has} train images of {needs} ({needs - has} short); {mend}"
        )

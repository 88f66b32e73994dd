"""Dataset: the document that names the images of a training set."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

from models.data.records import Record, Sample
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.stage import stage


class Dataset(Record):
    """Which images networks learn from. The images are part of the key, so that this is not."""

    NON_KEY_FIELDS: ClassVar[frozenset[str]] = frozenset({"by_object", "classes"})

    by_object: bool = Field(
        False, description="Whether each pixel or box has a class, not the image."
    )
    classes: tuple[str, ...] = Field(
        (), description="The classes of pixels or boxes; none: those of the images."
    )


def one_document(
    parameters: Dataset, name: str, train: Sequence[Sample], val: Sequence[Sample]
) -> list[Job]:
    """One document. Classes and generators are part of its key, since folders may be renamed.

    Unless each pixel or box has a class, images with objects of several classes are left out: they
    have no class of their own to be learnt.
    """
    train = [sample for sample in train if parameters.by_object or not sample.counted_as]
    samples = [*train, *val]
    labels = "\n".join(f"{sample.label}\t{sample.generator}" for sample in samples)
    variant: dict[str, int | str] = {
        "dataset": name,
        "train": len(train),
        "labels": hashlib.sha256(labels.encode()).hexdigest(),
    }
    if parameters.classes:
        variant["classes"] = hashlib.sha256("\n".join(parameters.classes).encode()).hexdigest()
    images = tuple(
        sample.image.model_copy(
            update={"metadata": {"label": sample.label, "generator": sample.generator}}
        )
        for sample in samples
    )
    return [Job(images, variant, name=f"dataset {name}")]


@stage("dataset", version=2, media="json", plan=one_document)
def dataset(inputs: Sequence[StageInput], parameters: Dataset) -> Iterator[StageOutput]:
    """``{"dataset", "classes", "train", "val", "generators"}``; rows of artifact id and class.

    The class of an image with several objects is the one that it is counted in.

    ``generators`` has the generator of each train image; that of a real image is empty.
    """
    for item in inputs:
        split = int(item.job.variant["train"])
        rows = [[image.id, image.metadata["label"]] for image in item.job.inputs]
        content: dict[str, Any] = {
            "dataset": item.job.variant["dataset"],
            "classes": list(parameters.classes) or sorted({label for _, label in rows}),
            "train": rows[:split],
            "val": rows[split:],
            "generators": [image.metadata["generator"] for image in item.job.inputs[:split]],
        }
        yield StageOutput(content, metadata={"train": split, "val": len(rows) - split})

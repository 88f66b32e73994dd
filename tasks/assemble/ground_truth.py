"""Ground truth: the document that names the masks of the objects of images."""

import hashlib
from collections.abc import Iterator, Sequence

from models.data.names import shorten
from models.data.records import Artifact, Record, Sample, SourceImage
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.stage import stage


class GroundTruth(Record):
    """The document has no settings."""


def one_truth(_parameters: GroundTruth, name: str, samples: Sequence[Sample]) -> list[Job]:
    """One document of all samples.

    Raises:
        ValueError: an image has an object without a mask; the line names it.
    """
    inputs: list[Artifact] = []
    lines = []
    for sample in samples:
        inputs.append(sample.image.model_copy(update={"metadata": {}}))
        for note in sample.annotations:
            if note.mask is None:
                origin = sample.generator or "photo"
                raise ValueError(
                    f"{sample.name} ({origin}): an object has no mask, which segmentation needs; "
                    "give masks, or a generator that makes them, or set train.task: classification"
                )
            label = {"label": note.label, "image": sample.image.id}
            inputs.append(note.mask.model_copy(update={"metadata": label}))
            lines.append(f"{sample.image.id}\t{note.label}\t{note.mask.id}")
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return [Job(tuple(inputs), {"objects": digest}, name=f"ground truth {name}")]


def require_masks(photos: Sequence[SourceImage]) -> None:
    """Return if each object of each photo has a mask.

    Raises:
        ValueError: one has none; the line counts such photos and names the first.
    """
    bare = [photo for photo in photos if any(note.mask is None for note in photo.annotations)]
    if bare:
        raise ValueError(
            f"train.task: segmentation needs masks, and {len(bare)} of {len(photos)} photos have "
            f"none, such as {shorten(bare[0].file)}; give COCO or VOC masks, or set it to "
            "classification"
        )


@stage("ground_truth", version=1, media="json", plan=one_truth)
def ground_truth(inputs: Sequence[StageInput], parameters: GroundTruth) -> Iterator[StageOutput]:
    """``{image id: [[class, mask id], ...]}``."""
    for item in inputs:
        content: dict[str, list[list[str]]] = {}
        for found in item.job.inputs:
            if "image" in found.metadata:
                row = [found.metadata["label"], found.id]
                content.setdefault(found.metadata["image"], []).append(row)
        yield StageOutput(content)

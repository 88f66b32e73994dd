"""Ground truth: documents that say where the objects of images are, as masks or as boxes."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from models.data.names import shorten
from models.data.records import NO_OBJECT_LABEL, Annotation, Artifact, Record, Sample, SourceImage
from models.training.settings import TrainingParameters
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
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
        for note in objects_of(sample):
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
    bare = [photo for photo in photos if any(note.mask is None for note in objects_of(photo))]
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
                content[found.metadata["image"]].append(row)
            else:
                content.setdefault(found.id, [])
        yield StageOutput(content)


def objects_of(image: Sample | SourceImage) -> list[Annotation]:
    """The objects of an image, without the label of an image in which nothing is annotated."""
    return [note for note in image.annotations if note.label != NO_OBJECT_LABEL]


def one_box_list(_parameters: GroundTruth, name: str, samples: Sequence[Sample]) -> list[Job]:
    """One document of all samples.

    Raises:
        ValueError: an image has an object without a box; the line names it.
    """
    inputs = []
    for sample in samples:
        objects = []
        for note in objects_of(sample):
            if note.box is None:
                origin = sample.generator or "photo"
                raise ValueError(
                    f"{sample.name} ({origin}): an object has no box, which detection needs; give "
                    "boxes or masks, or a generator that makes them, or set train.task: "
                    "classification"
                )
            objects.append([note.label, list(note.box)])
        inputs.append(sample.image.model_copy(update={"metadata": {"objects": objects}}))
    content = {found.id: found.metadata["objects"] for found in inputs}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return [Job(tuple(inputs), {"objects": digest}, name=f"boxes {name}")]


def require_objects(settings: TrainingParameters | None, photos: Sequence[SourceImage]) -> None:
    """Return if each object of each photo has the mask or box that a training needs.

    Raises:
        ValueError: as `require_masks` and `require_boxes`.
    """
    if settings is not None and settings.needs_masks:
        require_masks(photos)
    if settings is not None and settings.needs_boxes:
        require_boxes(photos)


def require_boxes(photos: Sequence[SourceImage]) -> None:
    """Return if each object of each photo has a box, or a mask that gives one.

    Raises:
        ValueError: one has neither; the line counts such photos and names the first.
    """
    bare = [
        photo
        for photo in photos
        if any(note.box is None and note.mask is None for note in objects_of(photo))
    ]
    if bare:
        raise ValueError(
            f"train.task: detection needs boxes, and {len(bare)} of {len(photos)} photos have none,"
            f" such as {shorten(bare[0].file)}; give COCO, VOC or YOLO annotations, or set it to "
            "classification"
        )


@stage("object_boxes", version=1, media="json", plan=one_box_list)
def object_boxes(inputs: Sequence[StageInput], parameters: GroundTruth) -> Iterator[StageOutput]:
    """``{image id: [[class, [x, y, width, height]], ...]}`` in px of the image.

    An image without an object has an empty list.
    """
    for item in inputs:
        yield StageOutput({found.id: found.metadata["objects"] for found in item.job.inputs})


def write_truths(
    run: RunContext, settings: TrainingParameters | None, samples: Mapping[str, Sequence[Sample]]
) -> dict[str, Artifact]:
    """The document of masks or boxes of some samples, by their name, if a training needs them.

    Raises:
        ValueError: an object lacks its mask or box; the line names the image.
    """
    if settings is None or not (settings.needs_masks or settings.needs_boxes):
        return {}
    describe = ground_truth if settings.needs_masks else object_boxes
    return {name: describe(run, GroundTruth(), name, found)[0] for name, found in samples.items()}

"""Samples: what datasets may hold, made of the images of a work item or of a real photo."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models.data.objects import scale_box
from models.data.records import (
    NO_OBJECT_LABEL,
    Annotation,
    Artifact,
    Box,
    Lineage,
    Sample,
    SourceImage,
)
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import WorkItem


def make_samples(
    run: RunContext,
    item: WorkItem,
    images: Sequence[Artifact],
    verdicts: Mapping[str, Mapping[str, Any]],
    jpegs: Sequence[Artifact],
    masks: Sequence[Artifact],
) -> tuple[Sample, ...]:
    """A sample per finished image, and one per image that a stage rejected on the way.

    Args:
        verdicts: what screening said of each image, by its id.
        jpegs, masks: the dataset files of the accepted images.
    """
    jpeg_of = {jpeg.parents[0]: jpeg for jpeg in jpegs}
    masks_of: dict[str, list[Artifact]] = defaultdict(list)
    for mask in masks:
        masks_of[mask.parents[0]].append(mask)
    samples = []
    for image in images:
        verdict = verdicts[image.id]
        jpeg = jpeg_of.get(image.id)
        sample = _sample(run, item, image, verdict["reason"], verdict["scores"])
        if jpeg is not None:
            label = _label_of(image, item)
            notes = annotations_at(image, jpeg, masks_of[image.id], label)
            is_other = {note.label for note in notes} != {label}
            sample = sample.model_copy(
                update={
                    "image": jpeg,
                    "annotations": notes,
                    "counted_as": label if is_other else "",
                }
            )
        samples.append(sample)
    for artifact in run.made.values():
        if artifact.reject_reason is not None:
            scores = {
                name: value for name, value in artifact.metadata.items() if isinstance(value, float)
            }
            samples.append(_sample(run, item, artifact, artifact.reject_reason, scores))
    return tuple(samples)


def annotations_at(
    image: Artifact, jpeg: Artifact, masks: Sequence[Artifact], label: str
) -> tuple[Annotation, ...]:
    """The annotations of a generated image in px of the JPEG that a dataset holds.

    An object whose mask became empty is left out; an image that has no object with a mask or box
    keeps its label alone. A scene, which says what it is counted in, shows nothing in that case.
    """
    objects = image.metadata.get("objects")
    if objects is None:
        boxes = [_box(mask) for mask in masks]
        return tuple(
            Annotation(label=label, box=box, mask=mask)
            for mask, box in zip(masks, boxes, strict=True)
        ) or (Annotation(label=label),)
    mask_of = {int(mask.variant["object"]): mask for mask in masks}
    notes = []
    for number, entry in enumerate(objects):
        mask = mask_of.get(number)
        box = _box(mask) if mask is not None else entry["box"]
        if box is None:
            continue
        if mask is None:
            box = _in_px_of(jpeg, box, *_size_of(image))
        notes.append(Annotation(label=entry["label"], box=tuple(box), mask=mask))
    is_scene = "counted_as" in image.metadata
    return tuple(notes) or (Annotation(label=NO_OBJECT_LABEL if is_scene else label),)


def real_sample(source: SourceImage, jpeg: Artifact, masks: Mapping[str, Artifact]) -> Sample:
    """The sample of a real photo.

    Args:
        jpeg: the dataset file, or the photo itself where none was made yet.
        masks: dataset masks by the id of the mask they were made of.
    """
    notes = []
    for note in source.annotations:
        box = note.box
        if box is not None:
            photo = source.image.metadata
            box = _in_px_of(jpeg, box, float(photo["width"]), float(photo["height"]))
        mask = None if note.mask is None else masks[note.mask.id]
        if box is None and mask is not None:
            box = _box(mask)
        notes.append(Annotation(label=note.label, box=box, mask=mask))
    return Sample(
        name=source.name,
        split=source.split,
        image=jpeg,
        annotations=tuple(notes),
        sources=(source.name,),
        family=source.family,
        counted_as=source.counted_as,
        lineage=Lineage(
            stages=_once(("ingest", source.image.stage, jpeg.stage)), prompt=source.prompt
        ),
    )


def sample_name(image: Artifact) -> str:
    """The source's name and all numbers that tell the image from its siblings, in the order of the
    stages: ``<class>/<stem>_view3_copy1_background0_shift2``."""
    numbers = [f"{name}{value}" for name, value in image.variant.items() if isinstance(value, int)]
    return "_".join([image.name, *numbers])


def _sample(
    run: RunContext,
    item: WorkItem,
    image: Artifact,
    reject_reason: str | None,
    scores: Mapping[str, float],
) -> Sample:
    lineage, label = run.lineage(image), _label_of(image, item)
    return Sample(
        name=_below(label, sample_name(image)),
        split=item.sources[0].split,
        image=image,
        annotations=(Annotation(label=label),),
        generator=item.generator,
        sources=tuple(image.metadata.get("sources") or [source.name for source in item.sources]),
        lineage=Lineage(
            stages=_once(artifact.stage for artifact in lineage),
            models=_once(
                f"{artifact.stage}:{artifact.revision or artifact.model}"
                for artifact in lineage
                if artifact.model
            ),
            licences=_once(artifact.licence for artifact in lineage if artifact.licence),
            seed=image.seed,
            prompt=image.prompt,
        ),
        scores=dict(scores),
        reject_reason=reject_reason,
    )


def _label_of(image: Artifact, item: WorkItem) -> str:
    """The class of an image: a shard has images of several."""
    return str(image.metadata.get("counted_as") or image.variant.get("label") or item.label)


def _below(label: str, name: str) -> str:
    """The name of an image in the folder of its class, where it was made of a photo of another."""
    return name if name.partition("/")[0] == label else f"{label}/{name}"


def _size_of(image: Artifact) -> tuple[int, int]:
    """Width and height of an image in px; that of a JPEG is in its metadata."""
    if image.shape is None:
        return image.metadata["width"], image.metadata["height"]
    return image.shape[1], image.shape[0]


def _in_px_of(jpeg: Artifact, box: Box, width: float, height: float) -> Box:
    """The box in px of the JPEG that was made of an image with these sides.

    It is rounded to a millionth of a px, which every format of an export keeps.
    """
    factor_x = float(jpeg.metadata["width"]) / width
    scaled = scale_box(box, factor_x, float(jpeg.metadata["height"]) / height)
    left, top, wide, tall = (round(side, 6) for side in scaled)
    return left, top, wide, tall


def _box(mask: Artifact) -> tuple[float, float, float, float] | None:
    boxes = mask.metadata.get("boxes")
    return None if not boxes else tuple(boxes[0])


def _once(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))

"""Real objects: what placements learn of a class from its photos."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from models.data.names import shorten
from models.data.pixels import Floats, rgb
from models.data.records import Box, SourceImage
from models.placement.context import (
    Relevance,
    choose_evenly,
    crop_surroundings,
    learn_relevance,
)
from models.placement.free_places import Scene
from models.placement.place import draw_free_box
from models.placement.real_sizes import measure_boxes
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.placing import PlaceObjects

# Surroundings of real objects, and of random places; each takes about 20 ms.
_MOST_SURROUNDINGS = 200
_MOST_RANDOM_OF_PHOTO = 20


def one_per_class(
    _parameters: PlaceObjects, label: str, photos: Sequence[SourceImage]
) -> list[Job]:
    """One job for a class: its photos in the order of their bytes, each with its boxes.

    Boxes come from annotation files, so that a digest of them is part of the key.
    """
    shown = [photo for photo in photos if photo.shows(label)]
    inputs, rows = [], []
    for photo in sorted(shown, key=lambda photo: (photo.image.digest, photo.name)):
        boxes = [note.box for note in photo.annotations if note.label == label and note.box]
        others = [note.box for note in photo.annotations if note.label != label and note.box]
        known = {
            "boxes": boxes,
            "others": others,
            "size": [photo.image.metadata.get(side, 0) for side in ("width", "height")],
        }
        inputs.append(photo.image.model_copy(update={"metadata": known}))
        rows.append([photo.image.digest, boxes, others])
    if not inputs:
        return []
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return [Job(tuple(inputs), {"label": label, "objects": digest}, f"{label}/real_objects")]


def what_is_learned(parameters: PlaceObjects) -> dict[str, Any]:
    """Sizes alone, or features of the surroundings too."""
    if parameters.context == "random":
        return {"context": "random"}
    names = {"context", "context_size", "size_jitter", "vertical", "square", "margin", "max_tries"}
    return parameters.model_dump(mode="json", include=names)


@stage(
    "real_objects",
    version=1,
    media="safetensors",
    plan=one_per_class,
    key_params=what_is_learned,
    cost=Cost(ms=2000, megabytes=lambda _: 0.5),
)
def real_objects(inputs: Sequence[StageInput], parameters: PlaceObjects) -> Iterator[StageOutput]:
    """``sizes``: float32 (n, 3), of `measure_boxes`. In relevant context also ``weights``, float32
    (1280,), and ``bias``, float64 (1,): a classifier of surroundings, of `learn_relevance`.

    ``metadata``: ``objects``, the number of boxes.

    Raises:
        ValueError: no photo has a box of the class.
    """
    for item in inputs:
        label, found = str(item.job.variant["label"]), item.job.inputs
        boxes = [box for photo in found for box in photo.metadata["boxes"]]
        if not boxes:
            raise ValueError(
                f"class {shorten(label)!r}: no photo has a box of it, from which new objects get"
                " their size; give photos as a COCO, VOC or YOLO dataset"
            )
        sizes = measure_boxes(
            [(photo.metadata["boxes"], photo.metadata["size"]) for photo in found]
        )
        content = {"sizes": sizes}
        if parameters.context == "relevant":
            relevance = _learn_surroundings(item, sizes, parameters)
            content["weights"] = relevance.weights
            content["bias"] = np.array([relevance.bias])
        yield StageOutput(save(content), metadata={"objects": len(boxes)})


def _learn_surroundings(item: StageInput, sizes: Floats, parameters: PlaceObjects) -> Relevance:
    """What tells the surroundings of real objects from those of random places in the photos."""
    from models.embedding.backbone import embed

    real: list[tuple[int, Box]] = []
    random: list[tuple[int, Box]] = []
    per_photo = min(-(-_MOST_SURROUNDINGS // len(item.job.inputs)), _MOST_RANDOM_OF_PHOTO)
    rng = item.rng()
    for at, photo in enumerate(item.job.inputs):
        boxes, others = photo.metadata["boxes"], photo.metadata["others"]
        real += [(at, box) for box in boxes]
        width, height = photo.metadata["size"]
        scene = Scene(width, height, (*boxes, *others))
        free = (draw_free_box(scene, sizes, parameters, rng) for _ in range(per_photo))
        random += [(at, box) for box in free if box is not None]
    if not random:
        raise ValueError(
            f"class {shorten(str(item.job.variant['label']))!r}: its photos have no free place to"
            " learn from; use context: random"
        )
    real = choose_evenly(real, _MOST_SURROUNDINGS)
    crops = [
        crop_surroundings(rgb(item.load(at)), box, parameters.context_size)
        for at, box in (*real, *random)
    ]
    features = embed(crops)
    return learn_relevance(features[: len(real)], features[len(real) :])

"""Real objects: what placements learn of a class from its photos."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from models.data.names import shorten
from models.data.pixels import Floats, rgb
from models.data.records import SourceImage
from models.placement.real_sizes import measure_boxes
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.placing import PlaceObjects

# Real surroundings that places are compared with; each takes about 20 ms.
_MOST_SURROUNDINGS = 200


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
        size = [photo.image.metadata.get(side, 0) for side in ("width", "height")]
        inputs.append(photo.image.model_copy(update={"metadata": {"boxes": boxes, "size": size}}))
        rows.append([photo.image.digest, boxes])
    if not inputs:
        return []
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return [Job(tuple(inputs), {"label": label, "objects": digest}, f"{label}/real_objects")]


def what_is_learned(parameters: PlaceObjects) -> dict[str, Any]:
    """Sizes alone, or features of the surroundings too."""
    if parameters.context == "random":
        return {"context": "random"}
    return {"context": "relevant", "context_size": parameters.context_size}


@stage(
    "real_objects",
    version=1,
    media="safetensors",
    plan=one_per_class,
    key_params=what_is_learned,
    cost=Cost(ms=2000, megabytes=lambda _: 0.5),
)
def real_objects(inputs: Sequence[StageInput], parameters: PlaceObjects) -> Iterator[StageOutput]:
    """``sizes``: float32 (n, 3), of `measure_boxes`; ``features``: float32 (m, 1280) of the
    surroundings, m is 0 in random context. ``metadata``: ``objects``, the number of boxes.

    Raises:
        ValueError: no photo has a box of the class.
    """
    for item in inputs:
        label, found = str(item.job.variant["label"]), item.job.inputs
        boxes = [(at, box) for at, photo in enumerate(found) for box in photo.metadata["boxes"]]
        if not boxes:
            raise ValueError(
                f"class {shorten(label)!r}: no photo has a box of it, from which new objects get"
                " their size; give photos as a COCO, VOC or YOLO dataset"
            )
        sizes = measure_boxes(
            [(photo.metadata["boxes"], photo.metadata["size"]) for photo in found]
        )
        features = np.empty((0, 0), np.float32)
        if parameters.context == "relevant":
            features = _embed_surroundings(item, boxes, parameters.context_size)
        content = save({"sizes": sizes, "features": features})
        yield StageOutput(content, metadata={"objects": len(boxes)})


def _embed_surroundings(item: StageInput, boxes: Sequence[Any], context_size: float) -> Floats:
    from models.embedding.backbone import embed
    from models.placement.context import choose_evenly, crop_surroundings

    return embed(
        [
            crop_surroundings(rgb(item.load(at)), box, context_size)
            for at, box in choose_evenly(boxes, _MOST_SURROUNDINGS)
        ]
    )

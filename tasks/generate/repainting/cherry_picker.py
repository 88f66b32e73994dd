"""Cherry-picker: a classifier that scores painted objects, fitted to real ones of a class."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from models.data.pixels import Pixels, rgb
from models.data.records import Artifact, Box, SourceImage
from models.placement.free_places import Scene, draw_corner
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.generate.repainting.inputs import SQUARES, WEIGHTS, draw_artifacts, shape_of, weights_of
from tasks.settings.repaint import CherryPickerOn

STAGE = "fit_cherry_picker"
# Real squares that it learns from; more change little and take 20 ms each.
MOST_SQUARES = 1000
# DDIM steps of a drawn square.
_SPACING = "ddim25"


def one_picker(
    parameters: CherryPickerOn,
    label: str,
    photos: Sequence[SourceImage],
    squares: Sequence[Artifact],
    weights: Sequence[Artifact],
) -> list[Job]:
    """One job for a class: its photos with their boxes, its squares, and the network that draws.

    Without squares there is no job. Boxes come from annotation files, so that a digest of them is
    part of the key.
    """
    if not squares:
        return []
    found: dict[str, Artifact] = {}
    boxes: dict[str, list[Box]] = {}
    for photo in sorted(photos, key=lambda photo: (photo.image.digest, photo.name)):
        found[photo.image.digest] = photo.image
        notes = [note.box for note in photo.annotations if note.label == label and note.box]
        boxes[photo.image.digest] = notes
    images = [
        image.model_copy(update={"metadata": {**image.metadata, "boxes": boxes[digest]}})
        for digest, image in found.items()
    ]
    digest = hashlib.sha256(json.dumps(boxes, sort_keys=True).encode()).hexdigest()
    used = draw_artifacts(squares, MOST_SQUARES)
    networks = tuple(weights) if parameters.drawn else ()
    return [
        Job((*images, *used, *networks), {"label": label, "objects": digest}, f"{label}/{STAGE}")
    ]


@stage(
    STAGE,
    version=1,
    media="json",
    plan=one_picker,
    batch_size=1,
    uses_gpu=True,
    cost=Cost(ms=12_000, megabytes=lambda _: 0.05),
)
def fit_cherry_picker(
    inputs: Sequence[StageInput], parameters: CherryPickerOn
) -> Iterator[StageOutput]:
    """The fields of `models.screening.cherry_picker.CherryPicker`.

    Metadata: ``auc``, how well it tells real squares that it was not fitted on from background, 0.5
    is chance; ``drawn_auc`` from drawn squares, if it learned from some; the numbers of squares.
    """
    from models.embedding.backbone import embed
    from models.screening.cherry_picker import fit_cherry_picker as fit

    for item in inputs:
        squares = [artifact for artifact in item.job.inputs if artifact.stage in SQUARES]
        real = [rgb(item.run.load(square)) for square in squares]
        background = _background(item, squares, parameters)
        drawn = _draw(item, squares, parameters)
        picker = fit(embed(real), embed(background), embed(drawn) if parameters.drawn else None)
        metadata: dict[str, Any] = {
            "auc": picker.background.auc,
            "squares": {"real": len(real), "background": len(background), "drawn": len(drawn)},
        }
        if picker.synthetic is not None:
            metadata["drawn_auc"] = picker.synthetic.auc
        yield StageOutput(picker.model_dump(mode="json"), metadata=metadata)


def _background(
    item: StageInput, squares: Sequence[Artifact], parameters: CherryPickerOn
) -> list[Pixels]:
    """Squares as large as those of real objects, whose middle shows no object of the class."""
    from models.diffusion.ddpm.repaint.crop import crop_around_box, cut

    photos = [artifact for artifact in item.job.inputs if "boxes" in artifact.metadata]
    sides = sorted(float(square.metadata.get("side", parameters.size)) for square in squares)
    rng, found = item.rng(), list[Pixels]()
    for number in range(parameters.background):
        photo = photos[number % len(photos)]
        image = rgb(item.run.load(photo))
        height, width = image.shape[:2]
        side = min(sides[int(rng.integers(len(sides)))], width, height)
        middle = max(1, int(side / parameters.context))
        boxes = tuple((box[0], box[1], box[2], box[3]) for box in photo.metadata["boxes"])
        free, step = Scene(width, height, boxes).free_corners((middle, middle), 0)
        corner = draw_corner(free, step, rng)
        if corner is not None:
            box = (*corner, middle, middle)
            crop = crop_around_box(box, (width, height), parameters.size, parameters.context)
            found.append(cut(image, crop, parameters.size))
    return found


def _draw(
    item: StageInput, squares: Sequence[Artifact], parameters: CherryPickerOn
) -> list[Pixels]:
    """Squares that the fitted network draws, which follow real ones if it was fitted so."""
    if not parameters.drawn:
        return []
    from models.diffusion.ddpm.generator import Ddpm, DrawRequest
    from models.diffusion.ddpm.repaint.crop import Crop
    from models.diffusion.ddpm.repaint.part import Part
    from models.runtime.batching import InvalidOutput
    from models.runtime.network_pool import infer

    rng, requests, size = np.random.default_rng((item.seed, 1)), [], parameters.size
    everywhere = np.ones((size, size), np.bool_)
    for number in range(parameters.drawn):
        shape = shape_of(item.run, squares[number % len(squares)])
        part = Part(Crop(0, 0, size), shape.tight_box(), everywhere, shape.mask, shape)
        picture = part.picture(shape.image, size, parameters.condition, rng)
        seed = int(rng.integers(2**62))
        requests.append(DrawRequest(seed=seed, spacing=_SPACING, method="ddim", picture=picture))
    networks = [artifact for artifact in item.job.inputs if artifact.stage in WEIGHTS]
    drawn = infer(Ddpm, weights_of(item.run, parameters, networks), requests)
    return [image for image in drawn if not isinstance(image, InvalidOutput)]

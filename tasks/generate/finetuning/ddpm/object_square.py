"""Object square: each object of a class in a square with its surroundings, in a network's size."""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from models.data.objects import add_margin, resize_mask
from models.data.pixels import Bools, Pixels, add_alpha, rgb
from models.data.records import Artifact, SourceImage
from models.data.trimaps import solid_mask
from models.diffusion.ddpm.repaint.crop import Crop, crop_around, cut
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.ddpm import SizedSquares
from tasks.settings.segment import MASK_OF_PHOTO


def one_per_object(
    parameters: SizedSquares, label: str, photos: Sequence[SourceImage]
) -> list[Job]:
    """A job per object of the class: its box is in the variant, its mask is an input."""
    jobs = []
    for photo in photos:
        for number, note in enumerate(photo.annotations):
            if note.label != label:
                continue
            variant: dict[str, int | str] = {"square": number}
            if note.box is not None:
                variant["box"] = json.dumps([round(side, 2) for side in note.box])
            inputs: tuple[Artifact, ...] = (photo.image,)
            if note.mask is not None and (parameters.masks or note.box is None):
                inputs = (photo.image, note.mask)
                # A mask that was given is kept as it is.
                variant |= MASK_OF_PHOTO if parameters.masks else {}
            jobs.append(Job(inputs, variant, name=photo.name))
    return jobs


@stage(
    "object_square",
    version=1,
    plan=one_per_object,
    cost=Cost(
        ms=4,
        mb_per_mp=2.0,
        megapixels=lambda parameters, _: parameters.size**2 / 1e6,
    ),
    shown_as="the photo's objects, as the network learns them",
)
def object_squares(inputs: Sequence[StageInput], parameters: SizedSquares) -> Iterator[StageOutput]:
    """RGB squares, or RGB + mask of the object, uint8; objects that are too small are rejected.

    Metadata: ``box``, the object's [x, y, width, height] in px of the square; ``side``, that of the
    square in px of the photo. An object without box and mask is the middle of its photo.
    """
    for item in inputs:
        image = rgb(item.load())
        mask = solid_mask(item.load(1)) if len(item.job.inputs) > 1 else None
        whole = mask is None and "box" not in item.job.variant
        where = _middle(image) if whole else _where(item.job, image, mask)
        try:
            crop = crop_around(where, parameters.size, 1.0 if whole else parameters.context)
        except ValueError as error:
            yield StageOutput(reject_reason=f"no square: {error}")
            continue
        x, y, width, height = _box(where)
        if max(width, height) < parameters.min_side:
            yield StageOutput(reject_reason=f"object too small: {width}x{height} px")
            continue
        square, scale = cut(image, crop, parameters.size), parameters.size / crop.side
        if mask is not None and parameters.masks:
            part = resize_mask(mask[crop.slices], parameters.size, parameters.size)
            square = add_alpha(square, np.where(part, 255, 0).astype(np.uint8))
        corner = ((x - crop.left) * scale, (y - crop.top) * scale)
        box = [round(side, 2) for side in (*corner, width * scale, height * scale)]
        yield StageOutput(square, metadata={"box": box, "side": crop.side})


def _where(job: Job, image: Pixels, mask: Bools | None) -> Bools:
    """The object's mask, or without one its box within the photo, bool HxW."""
    if mask is not None:
        return mask
    height, width = image.shape[:2]
    x, y, w, h = add_margin(json.loads(str(job.variant["box"])), 0.0, width, height)
    inside = np.zeros((height, width), np.bool_)
    inside[y : y + h, x : x + w] = True
    return inside


def _middle(image: Pixels) -> Bools:
    """The largest square in the middle of a photo, bool HxW."""
    height, width = image.shape[:2]
    side = min(height, width)
    crop = Crop((width - side) // 2, (height - side) // 2, side)
    inside = np.zeros((height, width), np.bool_)
    inside[crop.slices] = True
    return inside


def _box(where: Bools) -> tuple[int, int, int, int]:
    """The box of the true px: x, y, width, height."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0]) + 1,
        int(rows[-1] - rows[0]) + 1,
    )

"""Object crop: each annotated object of a photo, as an image of its own."""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from models.data.objects import add_margin
from models.data.pixels import add_alpha, rgb
from models.data.records import NO_OBJECT_LABEL, Artifact, Box, SourceImage
from models.data.trimaps import is_trimap, solid_mask
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.copy_paste import ObjectCrop
from tasks.settings.segment import MASK_OF_PHOTO


def one_per_object(_parameters: ObjectCrop, photos: Sequence[SourceImage]) -> list[Job]:
    """A job per annotation: its mask is an input; else its box is in the variant, if it has one.

    The variant names the class of an object that is not the class that its photo is counted in.
    """
    jobs = []
    for photo in photos:
        for number, note in enumerate(photo.annotations):
            if note.label == NO_OBJECT_LABEL:
                continue
            variant: dict[str, int | str] = {"cut_out": number}
            if note.label != photo.label:
                variant["class"] = note.label
            inputs: tuple[Artifact, ...] = (photo.image,)
            if note.mask is not None:
                variant |= MASK_OF_PHOTO
                inputs = (photo.image, note.mask)
            elif note.box is not None:
                variant["box"] = json.dumps([round(side, 2) for side in note.box])
            jobs.append(Job(inputs, variant, name=photo.name))
    return jobs


@stage("object_crop", version=2, plan=one_per_object, cost=Cost(ms=1, ms_per_mp=20, mb_per_mp=1.2))
def object_crop(inputs: Sequence[StageInput], parameters: ObjectCrop) -> Iterator[StageOutput]:
    """RGB + mask where the annotation has a mask; else RGB of the box with its margin, or of the
    whole photo.
    """
    for item in inputs:
        image = rgb(item.load())
        if len(item.job.inputs) > 1:
            # A border is cut in its middle: half transparent px would keep their old background.
            mask = item.load(1)
            alpha = np.where(solid_mask(mask), 255, 0) if is_trimap(mask) else mask
            yield StageOutput(add_alpha(image, alpha.astype(np.uint8)))
        elif (box := box_of(item.job)) is not None:
            height, width = image.shape[:2]
            x, y, w, h = add_margin(box, parameters.box_margin, width, height)
            yield StageOutput(np.ascontiguousarray(image[y : y + h, x : x + w]))
        else:
            yield StageOutput(np.ascontiguousarray(image))


def box_of(job: Job) -> Box | None:
    """The box of a job's object in px of the photo; None without one."""
    text = job.variant.get("box")
    if text is None:
        return None
    x, y, width, height = json.loads(str(text))
    return x, y, width, height

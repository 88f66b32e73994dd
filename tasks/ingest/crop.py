"""Crop: one annotated object cut out of its normalised photo."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.data.objects import PixelBox
from models.data.photo_file.alpha import judge_alpha
from models.data.pixels import Pixels, rgb
from models.data.records import Artifact, Record
from models.screening.quality import describe_hashes
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.stage import stage


class Crop(Record):
    """The crop has no settings: the box of each crop is part of its key."""


@dataclass(frozen=True)
class CropRequest:
    """What to cut out of which photo: x, y, width, height in px of the photo."""

    photo: Artifact
    box: PixelBox
    name: str


def crop_per_request(_parameters: Crop, requests: Sequence[CropRequest]) -> list[Job]:
    """A job per request; its variant is the box."""
    sides = ("x", "y", "width", "height")
    return [
        Job((request.photo,), dict(zip(sides, request.box, strict=True)), request.name)
        for request in requests
    ]


@stage("crop", version=3, plan=crop_per_request)
def crop(inputs: Sequence[StageInput], _parameters: Crop) -> Iterator[StageOutput]:
    """The pixels of the box; ``metadata`` holds what that of a photo holds.

    The alpha of a photo is left out where it is no mask within the box.
    """
    for item in inputs:
        x, y, width, height = (
            int(item.job.variant[side]) for side in ("x", "y", "width", "height")
        )
        pixels = np.ascontiguousarray(item.load()[y : y + height, x : x + width])
        if pixels.shape[2] == 4 and not judge_alpha(pixels[..., 3], "mask").is_mask:
            pixels = np.ascontiguousarray(rgb(pixels))
        yield StageOutput(pixels, metadata=describe_pixels(pixels))


def describe_pixels(pixels: Pixels, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The metadata of a source image: its hashes, its sides in px, and notes about its file."""
    return {
        **describe_hashes(np.ascontiguousarray(rgb(pixels))),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "notes": list(notes),
    }

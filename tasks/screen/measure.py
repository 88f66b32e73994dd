"""Measure: what screening needs to know of each finished image, one document per scene."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from models.data.formats.polygons import decode_runs
from models.data.pixels import Pixels, add_alpha
from models.data.records import Artifact, Record
from models.screening.quality import measure as measure_image
from tasks.engine.jobs import Job, StageInput, StageOutput, pairing_key
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class Measure(Record):
    """Measuring has no settings."""


def scene_by_scene(_parameters: Measure, images: Sequence[Artifact]) -> list[Job]:
    """One job per scene, with all its shifts as inputs.

    Objects and composition are no part of an image's bytes, so their digest is part of the key.
    """
    scenes: dict[Any, list[Artifact]] = defaultdict(list)
    for image in images:
        scenes[pairing_key(image, "shift")].append(image)
    return [Job(tuple(shifts), _described(shifts)) for shifts in scenes.values()]


def _described(images: Sequence[Artifact]) -> dict[str, int | str]:
    """A digest of what the metadata of images say of their content; empty if they say nothing."""
    known = [
        {
            name: image.metadata[name]
            for name in ("objects", "composition")
            if name in image.metadata
        }
        for image in images
    ]
    if not any(known):
        return {}
    return {"described": hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()}


@stage(
    "measure",
    version=2,
    media="json",
    plan=scene_by_scene,
    cost=Cost(ms=2, ms_per_mp=2.6, reads_all_inputs=True),
)
def measure(inputs: Sequence[StageInput], parameters: Measure) -> Iterator[StageOutput]:
    """``{"images": [...]}``: per image its digest and the fields of
    `models.screening.quality.Quality`.
    """
    for item in inputs:
        rows = [
            {
                "digest": image.digest,
                **asdict(measure_image(_with_mask(item.load(position), image))),
                **_composition(image),
            }
            for position, image in enumerate(item.job.inputs)
        ]
        yield StageOutput({"images": rows})


def _with_mask(pixels: Pixels, image: Artifact) -> Pixels:
    """The image with the masks of its objects together as alpha, if its metadata has masks."""
    masks = [entry["mask"] for entry in image.metadata.get("objects", ()) if entry["mask"]]
    if not masks or pixels.shape[2] == 4:
        return pixels
    height, width = pixels.shape[:2]
    together = np.zeros((height, width), np.bool_)
    for mask in masks:
        together |= decode_runs(mask, height, width)
    return add_alpha(pixels, np.where(together, 255, 0).astype(np.uint8))


def _composition(image: Artifact) -> dict[str, str]:
    """What images have in common that are meant to be alike, such as blendings of one scene."""
    known = image.metadata.get("composition")
    return {} if known is None else {"composition": str(known)}

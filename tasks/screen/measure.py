"""Measure: what screening needs to know of each finished image, one document per scene."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from models.data.records import Artifact, Record
from models.screening.quality import measure as measure_image
from tasks.engine.stage import Job, Piece, Product, stage, whereabouts


class Measure(Record):
    """Measuring has no settings."""


def scene_by_scene(_parameters: Measure, images: Sequence[Artifact]) -> list[Job]:
    """One job per scene, with all its shifts as inputs."""
    scenes: dict[Any, list[Artifact]] = defaultdict(list)
    for image in images:
        scenes[whereabouts(image, "shift")].append(image)
    return [Job(tuple(shifts)) for shifts in scenes.values()]


@stage("measure", version=1, media="json", plan=scene_by_scene)
def measure(pieces: Sequence[Piece], parameters: Measure) -> Iterator[Product]:
    """``{"images": [...]}``: per image its digest and the fields of
    `models.screening.quality.Quality`.
    """
    for piece in pieces:
        rows = [
            {"digest": image.digest, **asdict(measure_image(piece.load(place)))}
            for place, image in enumerate(piece.job.inputs)
        ]
        yield Product({"images": rows})

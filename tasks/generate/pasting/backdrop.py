"""Backdrop: empty scenes for composing, somewhat larger than a scene, so that each cuts its own."""

import hashlib
from collections.abc import Iterator, Sequence

from models.compositing.backgrounds.photo import background_from_photo
from models.compositing.backgrounds.scene import (
    SCENES,
    procedural_background,
)
from models.data.pixels import encode_jpeg, rgb
from models.data.records import Artifact
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.copy_paste import SizedBackdrops

_QUALITY = 95


def photos_or_numbers(parameters: SizedBackdrops, photos: Sequence[Artifact]) -> list[Job]:
    """A job per background photo, at most `count` of them; without photos one per number."""

    def draw(photo: Artifact) -> str:
        return hashlib.sha256(photo.digest.encode()).hexdigest()

    if photos:
        return [Job((photo,)) for photo in sorted(photos, key=draw)[: parameters.count]]
    return [Job((), {"backdrop": number}) for number in range(parameters.count)]


@stage(
    "backdrop",
    version=1,
    media="jpg",
    plan=photos_or_numbers,
    cost=Cost(
        ms=20,
        ms_per_mp=110,
        mb_per_mp=0.4,
        megapixels=lambda parameters, _: parameters.width * parameters.height / 1e6,
    ),
)
def backdrop(inputs: Sequence[StageInput], parameters: SizedBackdrops) -> Iterator[StageOutput]:
    """RGB JPEGs of the size of the settings: a part of each photo, or procedural scenes."""
    size = (parameters.width, parameters.height)
    for item in inputs:
        rng = item.rng()
        if item.job.inputs:
            empty = background_from_photo(rgb(item.load()), size, rng)
        else:
            scene = SCENES[int(item.job.variant["backdrop"]) % len(SCENES)]
            empty = procedural_background(
                scene, size, rng, top_view_probability=parameters.top_view_probability
            )
        yield StageOutput(encode_jpeg(empty.pixels, _QUALITY))

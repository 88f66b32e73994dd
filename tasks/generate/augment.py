"""Augment: t copies of each view, changed by torchvision transforms (the study's third step)."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from models.augmentation.settings import AugmentRanges
from models.data.records import Artifact, Record
from tasks.engine.stage import Job, StageInput, StageOutput, params_per_item, stage


class Augment(Record):
    """How many copies, and how far each may differ from its view."""

    copies: int = Field(2, ge=1, le=64, description="Copies of each view (t).")
    keep_first: bool = Field(True, description="Copy 0 is the view itself, unchanged.")
    ranges: AugmentRanges = Field(default_factory=AugmentRanges, description="What may change.")


def copies_of_each(parameters: Augment, views: Sequence[Artifact]) -> list[Job]:
    """Per view, copies 0 to t - 1."""
    return [Job((view,), {"copy": copy}) for view in views for copy in range(parameters.copies)]


@stage("augment", version=1, plan=copies_of_each, key_params=params_per_item)
def augment(inputs: Sequence[StageInput], parameters: Augment) -> Iterator[StageOutput]:
    """Changed copies; geometry moves colours and matte together."""
    # torchvision takes 2 s to import; a run with nothing to augment does without.
    from models.augmentation.transforms import augment_image

    for item in inputs:
        image = item.load()
        unchanged = parameters.keep_first and item.job.variant["copy"] == 0
        yield StageOutput(
            image if unchanged else augment_image(image, parameters.ranges, item.rng())
        )

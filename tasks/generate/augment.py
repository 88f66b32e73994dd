"""Augment: t changed copies of each view (the study's third step: torchvision transforms)."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from models.augmentation.settings import AugmentRanges
from models.augmentation.transforms import augment_image
from models.data.records import Artifact, Record
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class Augment(Record):
    """How many copies are made, and how far each may differ from its view."""

    NON_KEY_FIELDS: ClassVar = frozenset({"n_augmentations"})

    n_augmentations: int = Field(2, ge=1, le=64, description="Copies of each view (t).")
    keep_first: bool = Field(True, description="Copy 0 is the view itself, unchanged.")
    ranges: AugmentRanges = Field(default_factory=AugmentRanges, description="What may change.")


def copies_of_each(parameters: Augment, views: Sequence[Artifact]) -> list[Job]:
    """Per view, copies 0 to t - 1."""
    return [
        Job((view,), {"copy": copy}) for view in views for copy in range(parameters.n_augmentations)
    ]


@stage(
    "augment",
    version=2,
    plan=copies_of_each,
    cost=Cost(ms_per_mp=25, mb_per_mp=1.0),
    shown_as="copies of the enlarged views, changed in colour and position",
)
def augment(inputs: Sequence[StageInput], parameters: Augment) -> Iterator[StageOutput]:
    """Changed copies, uint8 of the view's shape; geometry moves colours and alpha together."""
    for item in inputs:
        image = item.load()
        is_unchanged = parameters.keep_first and item.job.variant["copy"] == 0
        yield StageOutput(
            image if is_unchanged else augment_image(image, parameters.ranges, item.rng())
        )

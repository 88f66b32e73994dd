"""Changed copies of photos without an object, such as those of parts without a defect."""

from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from models.augmentation.settings import AugmentRanges
from models.data.records import NO_OBJECT_LABEL, Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.augment import Augment, augment

# Under a fixed camera, geometry would show what no photo shows.
_FIXED_CAMERA = AugmentRanges(
    flip=0.0,
    rotate=0.0,
    scale=0.0,
    shear=0.0,
    perspective=0.0,
    brightness=0.1,
    contrast=0.1,
    saturation=0.1,
    hue=0.01,
)


class Settings(Record):
    """Light, colours, blur and noise are changed; the geometry of a fixed camera stays."""

    augment: Augment = Field(
        Augment(n_augmentations=1, keep_first=False, ranges=_FIXED_CAMERA),
        description="t changed copies of each photo without an object.",
    )


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """All copies of one photo."""
    (photo,) = item.sources
    return augment(run, settings.augment, [photo.image])


def factors(settings: Any) -> tuple[Factor, ...]:
    """The number of copies per photo."""
    amount = settings.augment.n_augmentations
    return (Factor(amount=amount, name="t", note="changed copies of a photo without an object"),)


GENERATOR = Generator(
    "good_photos",
    Settings,
    (Phase("images", "image", make_images),),
    factors,
    classes=lambda _settings: (NO_OBJECT_LABEL,),
)

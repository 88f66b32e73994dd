"""Images from prompts of a class that follow the edges or the masks of each real photo."""

from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from models.data.records import Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.condition import condition
from tasks.generate.controlnet import controlnet
from tasks.generate.segment import segment
from tasks.settings.controlnet import Controlnet, ControlnetEdges
from tasks.settings.segment import Segment


class Settings(Record):
    """New images in the outlines of each photo."""

    controlnet: Controlnet = Field(ControlnetEdges(), description="The images.")
    segment: Segment | None = Field(
        None,
        description="Find the object's mask in each photo, for sd15-segmentation; none: the photos "
        "have masks of their own.",
    )


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """All images of one photo."""
    (photo,) = item.sources
    images = [photo.image]
    masks = [note.mask for note in photo.annotations if note.mask is not None]
    if settings.segment is not None:
        images, masks = segment(run, settings.segment, images), []
    conditions = condition(run, settings.controlnet.condition, images, masks, photo.label)
    return controlnet(run, settings.controlnet, conditions, photo.label)


def factors(settings: Any) -> tuple[Factor, ...]:
    """The number of images per photo."""
    amount = settings.controlnet.n_images
    return (Factor(amount=amount, name="n", note="images in the photo's outlines"),)


def needs(settings: Any) -> frozenset[str]:
    """Masks, where the images follow the masks that the photos have."""
    uses_masks = settings.controlnet.model == "sd15-segmentation" and settings.segment is None
    return frozenset({"masks"} if uses_masks else ())


GENERATOR = Generator(
    "controlnet", Settings, (Phase("images", "image", make_images),), factors, needs_of=needs
)

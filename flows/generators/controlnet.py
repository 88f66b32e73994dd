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
        description="Find the object's mask: for sd15-segmentation in each photo, for sd15-canny "
        "in each image. None: sd15-segmentation follows the photos' own masks, and images of "
        "sd15-canny have a label alone.",
    )

    @property
    def follows_masks(self) -> bool:
        """Whether the images follow masks of the photos, and not their edges."""
        return self.controlnet.model == "sd15-segmentation"


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """All images of one photo."""
    (photo,) = item.sources
    photos, masks = [photo.image], list[Artifact]()
    if settings.follows_masks and settings.segment is not None:
        photos = segment(run, settings.segment, photos)
    elif settings.follows_masks:
        masks = [note.mask for note in photo.annotations if note.mask is not None]
    conditions = condition(run, settings.controlnet.condition, photos, masks, photo.label)
    images = controlnet(run, settings.controlnet, conditions, masks, photo.label)
    if settings.follows_masks or settings.segment is None:
        return images
    return segment(run, settings.segment, images)


def factors(settings: Any) -> tuple[Factor, ...]:
    """The number of images per photo."""
    amount = settings.controlnet.n_images
    return (Factor(amount=amount, name="n", note="images in the photo's outlines"),)


def needs(settings: Any) -> frozenset[str]:
    """Masks, where the images follow the masks that the photos have."""
    return frozenset({"masks"} if settings.follows_masks and settings.segment is None else ())


GENERATOR = Generator(
    "controlnet",
    Settings,
    (Phase("images", "image", make_images),),
    factors,
    needs_of=needs,
    of_one_object=lambda _: True,
)

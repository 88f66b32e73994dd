"""Images of each class from its name alone: the fruit study's first set."""

from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from models.data.records import Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.segment import segment
from tasks.generate.text_to_image import text_to_image
from tasks.settings.segment import Segment
from tasks.settings.text_to_image import TextToImage, TextToImageSd15


class Settings(Record):
    """Images that a diffusion network generates from prompts; no photo is used."""

    text_to_image: TextToImage = Field(TextToImageSd15(), description="The images.")
    segment: Segment | None = Field(
        None,
        description="Find the object's mask in each image, and reject images without an object; "
        "none: images have a label alone.",
    )


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """All images of one class."""
    images = text_to_image(run, settings.text_to_image, item.label)
    return images if settings.segment is None else segment(run, settings.segment, images)


def factors(settings: Any) -> tuple[Factor, ...]:
    """The number of images per class."""
    amount = settings.text_to_image.n_images
    return (Factor(amount=amount, name="n", note="images from prompts"),)


GENERATOR = Generator("text_to_image", Settings, (Phase("images", "class", make_images),), factors)

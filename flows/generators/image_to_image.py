"""Images that a diffusion network generates from the whole photo (the study compares with them)."""

from typing import Any

from pydantic import Field

from flows.generators.base import Generator, Phase
from models.data.records import NO_OBJECT_LABEL, Artifact, Record
from models.reporting.metrics import Factor
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.caption import Caption, CaptionTemplate, caption
from tasks.generate.image_to_image import ImageToImage, image_to_image
from tasks.generate.segment import segment
from tasks.generate.upscale import Upscale, UpscaleLanczos, upscale
from tasks.settings.segment import Segment


class Settings(Record):
    """Variations of the whole photo, background included."""

    classes: tuple[str, ...] = Field(
        (),
        description="Classes whose photos get images; 'no object' are photos without an object;"
        " none listed: all.",
    )
    upscale: Upscale = Field(UpscaleLanczos(factor=2), description="The photo, enlarged.")
    caption: Caption = Field(CaptionTemplate(), description="The sentence that becomes the prompt.")
    image_to_image: ImageToImage = Field(ImageToImage(), description="The images.")
    segment: Segment | None = Field(
        None,
        description="Find the object's mask in each image, and reject images without an object; "
        "none: images have a label alone.",
    )


def make_images(
    run: RunContext | PlanningRun, settings: Settings, item: WorkItem, _shared: SharedInputs
) -> list[Artifact]:
    """All images of one photo."""
    (photo,) = item.sources
    large = upscale(run, settings.upscale, [photo.image])
    captions = caption(run, settings.caption, large, photo.label, photo.prompt)
    images = image_to_image(run, settings.image_to_image, large, captions)
    return images if settings.segment is None else segment(run, settings.segment, images)


def factors(settings: Any) -> tuple[Factor, ...]:
    """The number of images per photo."""
    return (
        Factor(amount=settings.image_to_image.n_images, name="n", note="variations of the photo"),
    )


GENERATOR = Generator(
    "image_to_image",
    Settings,
    (Phase("images", "image", make_images),),
    factors,
    # Photos without an object may be multiplied: their images have none either.
    of_one_object=lambda settings: settings.classes != (NO_OBJECT_LABEL,),
    classes=lambda settings: settings.classes,
)
